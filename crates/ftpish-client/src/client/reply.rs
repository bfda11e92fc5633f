//! Replies: which request each is to, and whether it is granted, refused, or yet to come.

use ftpish_protocol::message::ReplyEnvelope;
use ftpish_protocol::{BodyError, Code, Connection, Header, Refusal};
use ftpish_transport::{Deadline, Stream};
use serde::de::DeserializeOwned;

use super::Timeouts;
use crate::{Error, Progress};

pub(crate) fn receive_reply<T: DeserializeOwned>(
    connection: &mut Connection<Stream>,
    timeouts: &Timeouts,
    id: u64,
    body: bool,
    progress: &Progress,
) -> Result<T, Error> {
    loop {
        if let Some(reply) = receive_message(connection, timeouts, id, body, progress)? {
            return Ok(reply);
        }
    }
}

/// Receives the reply to the request `id`, or only that the server is at work on it.
pub(crate) fn receive_message<T: DeserializeOwned>(
    connection: &mut Connection<Stream>,
    timeouts: &Timeouts,
    id: u64,
    body: bool,
    progress: &Progress,
) -> Result<Option<T>, Error> {
    connection.stream().set_deadline(Deadline::after(timeouts.reply));
    let header = connection.receive()?.ok_or(ftpish_protocol::Error::Closed)?;
    let envelope: ReplyEnvelope = decode(&header)?;
    // An error alone may be about the connection, and about no request.
    let about_this = envelope.id == Some(id) || envelope.id.is_none() && envelope.error.is_some();
    if !about_this {
        return Err(Error::Protocol(format!("a reply to {:?} where {id} was due", envelope.id)));
    }
    if let Some(done) = envelope.working {
        progress.set_done(done);
        Ok(None)
    } else if let Some(refusal) = envelope.error {
        Err(Error::Refused(refusal))
    } else if !envelope.ok || envelope.body != body {
        Err(Error::Protocol("a reply that is neither granted nor refused".to_owned()))
    } else {
        decode(&header).map(Some)
    }
}

/// What was listed is no listing, or not all of one; or whoever listed wants no more of it.
pub(crate) fn of_listing(error: BodyError) -> Error {
    match error {
        BodyError::Sink(error) => match Refusal::from_io(&error) {
            refusal if refusal.code == Code::Malformed => Error::Protocol(refusal.to_string()),
            refusal if refusal.code == Code::Mismatch => Error::Unverified(refusal.to_string()),
            _ => Error::local("(listing)", error),
        },
        error => Error::of_body(error, "(listing)".as_ref()),
    }
}

fn decode<T: DeserializeOwned>(header: &Header) -> Result<T, Error> {
    header.decode().map_err(|error| Error::Protocol(error.to_string()))
}
