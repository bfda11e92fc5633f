//! The transfer engine: what moves files, one or many, large or small, either way.

mod ahead;
mod download;
mod lane;
mod lanes;
mod many;
mod parts;
mod put;
mod scaling;
mod upload;

pub use download::Download;
pub use scaling::Jobs;
pub use upload::{Ahead, Upload};
pub(crate) use download::local;
pub(crate) use lane::{Answer, Lane, Moving};
pub(crate) use lanes::Transfer;
pub(crate) use parts::Leaves;
