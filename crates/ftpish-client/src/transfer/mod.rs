//! The transfer engine: what moves files, one or many, large or small, either way.
//!
//! From the bottom: [`piece`] is a file to be moved; [`parts`] are those of a large one; the [`board`] is what the lanes share;
//! [`fetch`] and [`store`] move one file over one connection, and its parts over others; a [`lane`] keeps many files in flight
//! on a connection; the [`scheduler`] runs the lanes; [`files`] are what an embedder calls.

mod board;
mod download;
mod fetch;
mod files;
mod lane;
mod parts;
mod piece;
mod scaling;
mod scheduler;
mod store;
mod upload;

pub use download::Download;
pub(crate) use download::local;
pub use files::{Batch, Report};
pub(crate) use lane::Lane;
pub(crate) use piece::{Answer, Incoming, Moving, Outgoing};
pub use scaling::Jobs;
pub(crate) use scheduler::Transfer;
pub use upload::{Ahead, Upload};
