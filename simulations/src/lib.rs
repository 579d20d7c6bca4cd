//! Many real nodes in one process, one seed, every fault.
