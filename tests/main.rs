//! Whole processes, real sockets, real files: what a user of the `grapevine` binary can rely on.
//!
//! Nothing here knows the inside of a node. Waiting is waiting for something, with a deadline that only a broken
//! node reaches; every line of the level WARN or ERROR that a test does not list fails it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(unreachable_pub, reason = "nothing outside can reach into a test")]

/// Starts nodes and talks to them.
mod harness;

/// Accidents of whole clusters: every node, every disk, the chunk store.
mod accidents;
/// Requests that must be refused: data, shared with the library's own tests.
mod bad_requests;
/// Push, ask, flush, ask again: the same answers, and packs that `zcat` reads.
mod basics;
/// The page of the ring, in a real browser.
mod browser;
/// Real clients from PyPI, npm and crates.io.
mod clients;
/// Nodes that find each other, and those that are refused.
mod cluster;
/// The commands that talk to a node.
mod commands;
/// `kill -9` under load, and a torn log.
mod crash;
/// Packs that rot: what is left is answered, and what is missing is said.
mod damage;
/// The README's first command.
mod demo;
/// How members go that are told to stop, once and twice.
mod departure;
/// Full disks and read-only ones.
mod disk;
/// Who gets in: TLS, passwords, tokens.
mod doors;
/// What real Loki answered, asked of a real node.
mod exams;
/// Clusters whose nodes are killed, paused and cut off.
mod faults;
/// Clusters that grow, shrink and have nodes replaced under load.
mod growth;
/// Merges, retention, deleting and rebuilding, against a real S3 server.
mod housekeeping;
/// An index that is gone, or noise: rebuilt from the packs.
mod index_damage;
/// The commands that look after a node that is stopped.
mod mending;
/// The chunk store is a real S3 server, and goes away.
mod outage;
/// The life of a process: start, stop, one a directory.
mod process;
/// What nodes tell of their work in the background, and orders they are given.
mod progress;
/// The README's other commands.
mod readme;
/// Each of the refused requests through a socket, with memory bounded.
mod refusals;
/// A node with Loki's limits and tenants, for the exams and the tails.
mod served;
/// Noise and strangers at a member's port.
mod strangers;
/// The unit under a booted systemd.
mod systemd;
/// Lines over a WebSocket as they arrive.
mod tails;
/// Tenants and what they must not see of each other.
mod tenants;
