//! The part of a quota that takes long: where all that is there has to be counted before a command can be done, the client
//! hears meanwhile that its request is at work. Whether there is room is for the storage to say, and holds without this.

use ftpish_protocol::message::Command;
use ftpish_storage::Root;

use crate::exchange::Exchange;

/// Whether `command` is likely to wait for a count.
pub fn is_slow(command: &Command, root: &Root) -> bool {
    needs(command).is_some_and(|bytes| root.must_count(bytes))
}

/// Counts what there is, if that is to be known for `command`.
pub async fn prepare(command: &Command, root: &Root, exchange: &mut Exchange<'_>) {
    let (root, bytes) = (root.clone(), needs(command).unwrap_or(0));
    exchange.while_working(move |_| root.count(bytes)).await;
}

/// How many bytes a command makes that makes a name; as far as it says.
fn needs(command: &Command) -> Option<u64> {
    match command {
        Command::Put(args) => Some(args.size.unwrap_or(0)),
        Command::Link(args) => Some(args.size.unwrap_or(0)),
        Command::Resume(args) if args.parts => Some(args.size),
        Command::Rm(args) if args.backup.is_some() => Some(0),
        // A rename makes none, and yet waits until nothing is counted.
        Command::Resume(_) | Command::Mkdir(_) | Command::Symlink(_) | Command::Mv(_) => Some(0),
        _ => None,
    }
}
