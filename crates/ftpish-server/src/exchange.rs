//! One request and its answer, as a command sees them: the connection, without the freedom to get out of step.

use std::ops::Range;

use ftpish_protocol::blocks::{Assembly, Blocks, Part, WriteAt};
use ftpish_protocol::message::{Envelope, Granted, Put, Refused, Working};
use ftpish_protocol::{
    Algorithm, BodyError, Code, Connection, Digest, Error, Line, Meter, Refusal, SendError, Sent, Verified,
    receive_body, receive_part, receive_ranges, send_body, send_listing, send_subtree,
};
use ftpish_transport::{Stream, attend};
use serde::Serialize;

use crate::Limits;
use crate::limits::WORKING_EVERY;

/// Why a request was not answered as asked.
#[derive(Debug)]
pub enum Failure {
    /// The client is told, and the connection goes on.
    Refused(Refusal),
    /// The connection is over.
    Broken(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// A request that was received, and the right to answer it.
pub struct Exchange<'a> {
    connection: &'a mut Connection<Stream>,
    limits: &'a Limits,
    id: u64,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(connection: &'a mut Connection<Stream>, limits: &'a Limits, id: u64) -> Self {
        Self { connection, limits, id }
    }

    /// Grants the request with `fields` for an answer.
    pub fn grant(&mut self, fields: &impl Serialize) -> Result<(), Failure> {
        self.send_granted(fields, false)
    }

    /// Refuses the request.
    pub fn refuse(&mut self, error: Refusal) -> Result<(), Failure> {
        Ok(self.connection.send(&Refused { id: Some(self.id), error })?)
    }

    /// The server's patience.
    pub fn limits(&self) -> &Limits {
        self.limits
    }

    /// The request's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Grants the request with `fields`, and `source` for a body. A source that fails is told in-band.
    pub fn grant_with_body(
        &mut self,
        fields: &impl Serialize,
        source: &mut impl std::io::Read,
        algorithm: Algorithm,
    ) -> Result<Option<Sent>, Failure> {
        self.send_granted(fields, true)?;
        match send_body(self.connection, source, algorithm, &mut |_, _| true) {
            Ok(sent) => Ok(Some(sent)),
            Err(SendError::Connection(error)) => Err(error.into()),
            Err(SendError::Source(_) | SendError::Stopped) => Ok(None),
        }
    }

    /// Grants the request with `fields`, and `source` for a body, which is a subtree of a file and begins at `offset`.
    pub fn grant_with_subtree(
        &mut self,
        fields: &impl Serialize,
        source: &mut impl std::io::Read,
        offset: u64,
    ) -> Result<(), Failure> {
        self.send_granted(fields, true)?;
        match send_subtree(self.connection, source, offset, &mut |_, _| true) {
            Err(SendError::Connection(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Grants the request with a listing for a body.
    pub fn grant_with_listing(
        &mut self,
        fields: &impl Serialize,
        entries: impl Iterator<Item = std::io::Result<impl Line>>,
        algorithm: Algorithm,
    ) -> Result<(), Failure> {
        self.send_granted(fields, true)?;
        match send_listing(self.connection, entries, algorithm) {
            Err(SendError::Connection(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Receives and verifies the request's body.
    pub fn receive(&mut self, put: &Put, sink: &mut impl std::io::Write) -> Result<Verified, Failure> {
        self.require_body()?;
        if put.size.is_none() {
            // Whoever produces it may pause.
            self.connection.stream().set_deadline(self.limits.streaming());
        }
        receive_body(self.connection, sink, put.digest, put.size, &mut |_, _| true).map_err(failure)
    }

    /// Receives and verifies `ranges` of a file, which are the request's body. Tells the digest of the whole file, if
    /// the client did.
    pub fn receive_ranges(
        &mut self,
        put: &Put,
        sink: &mut impl WriteAt,
        assembly: &mut Assembly,
        ranges: Vec<Range<u64>>,
    ) -> Result<Option<Digest>, Failure> {
        self.require_body()?;
        receive_ranges(self.connection, sink, assembly, ranges, put.digest, &mut |_, _| true).map_err(failure)
    }

    /// Receives and verifies a part of a file, which is the request's body.
    pub fn receive_part(
        &mut self,
        sink: &mut impl WriteAt,
        blocks: Blocks,
        range: Range<u64>,
    ) -> Result<Part, Failure> {
        self.require_body()?;
        receive_part(self.connection, sink, blocks, range, None, &mut |_, _| true).map_err(failure)
    }

    fn require_body(&self) -> Result<(), Refusal> {
        if self.connection.in_body() {
            return Ok(());
        }
        Err(Refusal::new(Code::Malformed, "it needs `\"body\":true`, and a body"))
    }

    /// Does slow work on a second thread, and lets the client know that it goes on. The work may tell how many bytes
    /// are done, and is told to stop when the client is gone.
    pub fn while_working<T: Send>(&mut self, work: impl FnOnce(&Meter) -> T + Send) -> Result<T, Failure> {
        let told = attend(&Meter::default(), WORKING_EVERY, work, |meter| {
            let working = Working { id: self.id, working: meter.done() };
            self.connection.send(&working).and_then(|()| self.connection.flush())
        });
        told.map_err(Failure::Broken)
    }

    fn send_granted(&mut self, fields: &impl Serialize, body: bool) -> Result<(), Failure> {
        let envelope = Envelope { id: self.id, body };
        Ok(self.connection.send(&Granted { envelope, ok: true, fields })?)
    }
}

/// What a body that did not arrive means to its request.
fn failure(error: BodyError) -> Failure {
    match error {
        BodyError::Connection(error) => Failure::Broken(error),
        BodyError::Aborted(refusal) => {
            Refusal::new(Code::Cancelled, format!("the client gave up: {}", refusal.message)).into()
        }
        error => Failure::Refused(error.refusal().unwrap_or(Refusal::new(Code::Internal, error.to_string()))),
    }
}
