//! Bodies: chunks of bytes with a trailer. Each end hashes the bytes in the same pass in which it reads or writes them.
//! Sender and receiver are roles: either end of a connection can take either.
//!
//! There are two ways to move a body. [`BodySender`], [`BodyReceiver`] and what is built on them move one block a step;
//! over a stream that does not wait, a step may fail with `WouldBlock` and is then repeated. [`send_body`],
//! [`receive_body`] and the like move the whole body.
//!
//! Deliberately elsewhere: how chunks are framed (`connection`), and which blocks of a file are right (`blocks`).

mod error;
mod part;
mod ranges;
mod receive;
mod send;

pub use error::{BodyError, SendError};
pub use part::{PartReceiver, receive_part, send_part, send_subtree};
pub use ranges::{RangesReceiver, receive_ranges, send_ranges};
pub(crate) use receive::receive_with_trailer;
pub use receive::{BodyReceiver, receive_body};
pub use send::{BodySender, Digested, Sent, send_body, send_digested};

use crate::{Connection, Hasher};

/// A callback between two blocks, with the number of bytes that have moved so far. It stops the body by returning
/// `false`. A sender's callback may receive messages from the peer: the two directions are independent.
pub type Watch<'a, S> = dyn FnMut(&mut Connection<S>, u64) -> bool + 'a;

/// Hashes `bytes`, unless the body's digest is merged from those of its blocks.
fn update(hasher: &mut Option<Hasher>, bytes: &[u8]) {
    if let Some(hasher) = hasher {
        hasher.update(bytes);
    }
}
