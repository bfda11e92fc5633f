//! The client library against servers that lie, stall, break off and talk nonsense. What it does with an honest one is
//! shown in the server's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "this is how a test fails")]

mod script;

mod ahead;
mod downloads;
mod fixtures;
mod interrupts;
mod jobs;
mod lessons;
mod listings;
mod replies;
mod targets;
mod trees;
mod uploads;
