//! Whole processes, real sockets, real files.
