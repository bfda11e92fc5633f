//! The disk, for both ends: a directory that cannot be left ([`Root`]), trees in it ([`Walk`]), files that notice when they change while
//! they are read ([`SourceFile`]), files that are whole under their name or not there at all ([`Stage`]), and a bound to all
//! that is there ([`Quota`]).
//!
//! Errors are [`Refusal`]s: what a peer may be told, without this machine's own paths.
//!
//! Out of scope: the wire, who may do what, and which local path a person meant.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod attributes;
mod backup;
mod count;
pub mod descriptors;
mod dir;
mod edit;
mod group;
mod known;
mod link;
mod partial;
mod permissions;
mod quota;
mod resolve;
mod root;
mod source;
mod spelling;
mod stage;
mod target;
mod tree;
mod walk;
mod without_links;

pub use backup::Backup;
pub use edit::Edit;
pub use group::{Background, Ready, commit_together};
pub use partial::is_partial;
pub use permissions::{ModePolicy, Permissions};
pub use quota::{Ledgers, Quota};
pub use resolve::Last;
pub use root::Root;
pub use root::store::Nearby;
pub use source::{Identity, RangesReader, SourceFile, SourceReader};
pub use stage::{Seeding, Stage, StageWriter};
pub use walk::{Links, Walk};
pub use without_links::met_a_link;

use std::io;

use cap_std::fs::{Metadata, MetadataExt as _};
use ftpish_protocol::Refusal;
use ftpish_protocol::message::Time;

type Outcome<T> = Result<T, Refusal>;

/// The only map from an error of the disk to a refusal.
fn refuse(error: impl Into<io::Error>) -> Refusal {
    let error = error.into();
    match error.kind() {
        // What no system call has said is said by cap-std alone.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => without_links::leads_out(),
        _ => Refusal::from_io(&error),
    }
}

fn mtime(metadata: &Metadata) -> Time {
    // The kernel keeps the nanoseconds below 10⁹.
    Time { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec().try_into().unwrap_or(0) }
}
