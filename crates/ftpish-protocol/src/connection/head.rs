//! Heads: the messages that a body belongs to. A body's trailer has a digest of them, so that damage to the message in
//! front of the body, or to the request that it answers, is noticed with the body.

use std::io::{Read, Write};

use super::Connection;
use crate::frame::LENGTH;
use crate::{Algorithm, Digest, Header};

/// The messages that the next and the current body of each direction belong to.
#[derive(Default)]
pub(super) struct Heads {
    /// The request that the next body answers; empty where the body is a request's own.
    asked: Vec<u8>,
    /// The last message sent, with its length in front: the next body that is sent belongs to it.
    sent: Vec<u8>,
    /// The last message received: the next body that is begun belongs to it.
    received: Vec<u8>,
    /// The message that the body which is being received belongs to.
    begun: Vec<u8>,
}

impl Heads {
    /// Records a message that was sent, with its length in front.
    pub(super) fn note_sent(&mut self, frame: Vec<u8>) {
        self.sent = frame;
    }

    /// Records a message that was received.
    pub(super) fn note_received(&mut self, json: &[u8]) {
        self.received.clear();
        self.received.extend_from_slice(json);
    }

    /// Records that the body of the last message received begins.
    pub(super) fn begin_body(&mut self) {
        std::mem::swap(&mut self.begun, &mut self.received);
    }

    fn last_sent(&self) -> &[u8] {
        self.sent.get(LENGTH..).unwrap_or_default()
    }
}

impl<S: Read + Write> Connection<S> {
    /// Sets the request that the next body answers, be it sent or received. `None` where the body is a request's own.
    /// The trailer's `head` covers the request.
    pub fn answer(&mut self, request: Option<&Header>) {
        self.heads.asked.clear();
        self.heads.asked.extend(request.map_or(&[][..], |header| &header.0));
    }

    /// The last message sent.
    pub fn last_sent(&self) -> Header {
        Header(self.heads.last_sent().to_vec())
    }

    /// The `head` for the trailer of a body that is sent next.
    pub(crate) fn sent_head(&self, algorithm: Algorithm) -> Digest {
        digest_of(algorithm, &self.heads.asked, self.heads.last_sent())
    }

    /// The `head` that the trailer of the body which is being received must have.
    pub(crate) fn received_head(&self, algorithm: Algorithm) -> Digest {
        digest_of(algorithm, &self.heads.asked, &self.heads.begun)
    }
}

fn digest_of(algorithm: Algorithm, asked: &[u8], message: &[u8]) -> Digest {
    let mut hasher = algorithm.hasher();
    hasher.update(asked);
    hasher.update(message);
    hasher.finish()
}
