//! Who is here, who owns what, and how peers talk: membership, ring, transport and identity.
#![deny(missing_docs)]

pub mod endpoint;
pub mod identity;
pub mod limits;
pub mod membership;
pub mod ring;
pub mod rpc;
