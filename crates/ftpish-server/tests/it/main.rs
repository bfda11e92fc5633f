//! The server library over real sockets, against raw bytes and against the client library. One file a concern; the
//! first three are not tests: a server in this process, a client that sends whatever bytes it likes, and what a
//! directory holds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "this is how a test fails")]

mod harness;
mod raw;
mod tree;

mod accounts;
mod backups;
mod commands;
mod confinement;
mod crowd;
mod deadlines;
mod drain;
mod get;
mod hard_links;
mod lessons;
mod limits;
mod malformed;
mod numbers;
mod parts;
mod pipeline;
mod put;
mod quotas;
mod refusals;
mod resume;
mod rights_and_links;
mod special;
mod tls;
mod transfers;
mod trees;
