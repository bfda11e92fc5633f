//! The slow part of a quota. Some commands need to know how much a root holds, and counting that can take long. It is
//! done here, where the client can be sent `working`. Storage enforces the quota, with or without this.

use ftpish_protocol::message::Command;
use ftpish_storage::Root;

use crate::exchange::Exchange;

/// Whether `command` is likely to wait for a count of the root.
pub fn is_slow(command: &Command, root: &Root) -> bool {
    needs(command).is_some_and(|bytes| root.must_count(bytes))
}

/// Counts what the root holds, if `command` needs to know.
pub async fn prepare(command: &Command, root: &Root, exchange: &mut Exchange<'_>) {
    let (root, bytes) = (root.clone(), needs(command).unwrap_or(0));
    exchange.while_working(move |_| root.count(bytes)).await;
}

/// How many bytes `command` adds, as far as it says. `None` for commands that create no name.
fn needs(command: &Command) -> Option<u64> {
    match command {
        Command::Put(args) => Some(args.size.unwrap_or(0)),
        Command::Link(args) => Some(args.size.unwrap_or(0)),
        Command::Resume(args) if args.parts => Some(args.size),
        Command::Rm(args) if args.backup.is_some() => Some(0),
        // These add no bytes, but still wait until a count is over.
        Command::Resume(_) | Command::Mkdir(_) | Command::Symlink(_) | Command::Mv(_) => Some(0),
        _ => None,
    }
}
