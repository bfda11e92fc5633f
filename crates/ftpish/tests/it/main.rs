//! The binary, from outside: wording, exit codes, wiring, and the shell in a terminal. What can be shown with less
//! than a whole process is shown in the crates below.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; clippy spares only functions that are tests themselves"
)]

mod disk;
#[cfg(target_os = "linux")]
mod fuse;
mod harness;
mod relay;
mod terminal;
mod trial;
mod tutorial;

mod accounts;
mod attack;
#[cfg(target_os = "linux")]
mod attributes;
mod batch;
mod clients;
mod crowds;
mod demo;
mod descriptors;
mod exit_codes;
mod faults;
mod get;
mod growing;
mod hash;
mod help;
mod hostile;
mod hostkeys;
mod idle;
mod interrupt;
mod jobs;
mod keys;
mod log;
mod ls;
mod modes;
mod names;
mod overwrite;
mod process;
mod put;
mod serve;
mod servers;
mod shell;
mod sizes;
mod spellings;
mod structure;
mod trees;
