//! One request and its answer, as a command sees them: the connection, without the freedom to get out of step.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ftpish_protocol::blocks::{Assembly, Blocks, Part, WriteAt};
use ftpish_protocol::message::{Envelope, Granted, Put, Working};
use ftpish_protocol::{
    Algorithm, BLOCK, BodyError, BodyReceiver, BodySender, Code, Digest, Digested, Error, Line, Lines, Meter,
    PartReceiver, RangesReceiver, Reading, Refusal, SendError, Verified,
};
use ftpish_service::{BodySource, Front};
use serde::Serialize;

use crate::Limits;
use crate::channel::Channel;
use crate::limits::WORKING_EVERY;
use crate::turn::Class;

/// From how many bytes on hashing waits for a turn of its own kind: less takes less time than that.
const LARGE: u64 = 1024 * 1024;

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

/// How many bodies move, over all connections: they share the memory for what is under way.
#[derive(Debug, Default)]
pub struct Bodies(AtomicUsize);

/// A body that moves.
struct Moving(Arc<Bodies>);

impl Bodies {
    /// Counts one more, and tells how many bytes of it may be held at a time, where all together have `memory`.
    fn enter(self: &Arc<Self>, memory: usize) -> (Moving, usize) {
        let others = self.0.fetch_add(1, Ordering::Relaxed);
        let share = memory / (others + 1);
        // A power of two, as BLAKE3 likes it.
        let block = if share >= BLOCK { BLOCK } else { (share + 1).next_power_of_two() / 2 };
        (Moving(Arc::clone(self)), block)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that was received, and the right to answer it.
pub struct Exchange<'a> {
    channel: &'a mut Channel,
    limits: &'a Limits,
    bodies: &'a Arc<Bodies>,
    id: u64,
    /// When the client last heard of the request.
    told: Instant,
    /// Whether a body is sent in small pieces.
    short: bool,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        channel: &'a mut Channel,
        limits: &'a Limits,
        bodies: &'a Arc<Bodies>,
        id: u64,
    ) -> Self {
        Self { channel, limits, bodies, id, told: Instant::now(), short: false }
    }

    /// Grants the request with `fields` for an answer.
    pub fn grant(&mut self, fields: &impl Serialize) -> Result<(), Failure> {
        self.queue_granted(fields, false);
        Ok(())
    }

    /// Grants the request with `fields`, and `bytes` for a body.
    pub async fn grant_with_body(
        &mut self,
        fields: &impl Serialize,
        mut bytes: &[u8],
        algorithm: Algorithm,
    ) -> Result<(), Failure> {
        self.queue_granted(fields, true);
        let sender = BodySender::new(self.channel.connection(), algorithm);
        let sent = self.send(sender, &mut bytes).await?;
        sent.map(|sender| sender.finish(self.channel.connection(), None));
        Ok(())
    }

    /// Grants the request with `fields`, and `source` for a body. A source that fails is told in-band.
    pub async fn grant_with_file(
        &mut self,
        fields: &impl Serialize,
        mut source: impl Digested,
        algorithm: Algorithm,
    ) -> Result<(), Failure> {
        self.queue_granted(fields, true);
        let sender = BodySender::undigested(self.channel.connection(), algorithm);
        let sent = self.send(sender, &mut source).await?;
        sent.map(|sender| sender.finish_as(self.channel.connection(), source.digest()));
        Ok(())
    }

    /// The same with a `source` that is a subtree of a file and begins at `offset`.
    pub async fn grant_with_subtree(
        &mut self,
        fields: &impl Serialize,
        mut source: impl Read,
        offset: u64,
    ) -> Result<(), Failure> {
        self.queue_granted(fields, true);
        let sender = BodySender::of_subtree(self.channel.connection(), offset);
        let sent = self.send(sender, &mut source).await?;
        sent.map(|sender| sender.finish(self.channel.connection(), None));
        Ok(())
    }

    /// Grants the request with a listing for a body.
    pub async fn grant_with_listing(
        &mut self,
        fields: &impl Serialize,
        entries: impl Iterator<Item = io::Result<impl Line>>,
        algorithm: Algorithm,
    ) -> Result<(), Failure> {
        self.queue_granted(fields, true);
        let sender = BodySender::new(self.channel.connection(), algorithm);
        let mut lines = Lines::new(entries);
        let sent = self.send(sender, &mut lines).await?;
        sent.map(|sender| sender.finish(self.channel.connection(), Some(lines.count())));
        Ok(())
    }

    /// Sends all that `source` yields; the trailer is still to come. `None` where the source has failed, which the client is
    /// told in its place.
    async fn send(
        &mut self,
        mut sender: BodySender,
        source: &mut impl Read,
    ) -> Result<Option<BodySender>, Failure> {
        let _moving = self.begin_body();
        loop {
            match self.channel.step(|connection| sender.step(connection, source)).await {
                Ok(true) => self.channel.breathe().await,
                Ok(false) => return Ok(Some(sender)),
                Err(SendError::Connection(error)) => return Err(error.into()),
                Err(SendError::Source(_) | SendError::Stopped) => return Ok(None),
            }
        }
    }

    /// Begins to move a body, as much at a time as there is memory for.
    fn begin_body(&mut self) -> Moving {
        let (moving, block) = self.bodies.enter(self.limits.body_memory);
        let connection = self.channel.connection();
        connection.set_block(if self.short { 0 } else { block });
        connection.stream().trust(block);
        moving
    }

    fn require_body(&mut self) -> Result<(), Refusal> {
        if self.channel.connection().in_body() {
            return Ok(());
        }
        Err(Refusal::new(Code::Malformed, "it needs `\"body\":true`, and a body"))
    }

    /// Has bodies sent in small pieces from now on: what is read for each costs much.
    pub fn send_short_blocks(&mut self) {
        self.short = true;
    }

    /// Has what follows wait for its turn among all that hashes for nobody who receives it.
    pub async fn begin_digest(&mut self) {
        self.channel.turn().go_on_as(Class::Digest).await;
    }

    async fn tell(&mut self, done: u64) -> Result<(), Error> {
        self.told = Instant::now();
        self.channel.queue(&Working { id: self.id, working: done });
        self.channel.flush().await
    }

    fn queue_granted(&mut self, fields: &impl Serialize, body: bool) {
        let envelope = Envelope { id: self.id, body };
        self.channel.queue(&Granted { envelope, ok: true, fields });
    }
}

impl Front for Exchange<'_> {
    type Failure = Failure;

    async fn while_working<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Meter) -> T + Send + 'static,
    ) -> T {
        let job = self.channel.turn().hand_over(work);
        while !self.channel.turn().is_done_by(&job, self.told + WORKING_EVERY).await {
            // A connection that broke is noticed again by whatever is sent next.
            if self.tell(job.meter.done()).await.is_err() {
                job.meter.stop();
            }
        }
        job.outcome()
    }

    async fn sleep(&mut self, duration: Duration) -> Result<(), Failure> {
        if self.told.elapsed() >= WORKING_EVERY {
            self.tell(0).await?;
        }
        self.channel.turn().sleep(duration).await;
        Ok(())
    }

    async fn digest(
        &mut self,
        source: &mut (impl Read + Send),
        size: u64,
        mut take: impl FnMut(&[u8]) + Send,
    ) -> Result<u64, Failure> {
        if size >= LARGE {
            self.begin_digest().await;
        }
        let (mut reading, mut done) = (Reading::default(), 0);
        loop {
            let read = reading.step(source, &mut take).map_err(|error| Refusal::from_io(&error))?;
            if read == 0 {
                return Ok(done);
            }
            done += read as u64;
            if self.told.elapsed() >= WORKING_EVERY {
                self.tell(done).await?;
            }
            if self.channel.turn().is_over() {
                reading.rest();
                self.channel.breathe().await;
            }
        }
    }

    async fn begin_password(&mut self) {
        self.channel.turn().go_on_as(Class::Password).await;
    }

    fn pace(&self) -> Duration {
        self.limits.pace
    }
}

impl BodySource for Exchange<'_> {
    async fn receive(&mut self, put: &Put, sink: &mut (impl Write + Send)) -> Result<Verified, Failure> {
        self.require_body()?;
        if put.size.is_none() {
            // Whoever produces it may pause.
            let streaming = self.limits.streaming();
            self.channel.set_deadline(streaming);
        }
        let _moving = self.begin_body();
        let mut body = BodyReceiver::new(self.channel.connection(), put.digest, put.size);
        while self.channel.step(|connection| body.step(connection, sink)).await.map_err(failure)? {
            if self.channel.turn().is_over() {
                body.rest();
                self.channel.breathe().await;
            }
        }
        let (verified, _) = self.channel.step(|connection| body.finish(connection)).await.map_err(failure)?;
        Ok(verified)
    }

    async fn receive_ranges(
        &mut self,
        put: &Put,
        sink: &mut (impl WriteAt + Send),
        assembly: &mut Assembly,
        ranges: Vec<Range<u64>>,
    ) -> Result<Option<Digest>, Failure> {
        self.require_body()?;
        let _moving = self.begin_body();
        let connection = self.channel.connection();
        let mut body = RangesReceiver::new(connection, sink, assembly, ranges, put.digest);
        while self.channel.step(|connection| body.step(connection)).await.map_err(failure)? {
            if self.channel.turn().is_over() {
                body.rest();
                self.channel.breathe().await;
            }
        }
        self.channel.step(|connection| body.finish(connection, assembly)).await.map_err(failure)
    }

    async fn receive_part(
        &mut self,
        sink: &mut (impl WriteAt + Send),
        blocks: Blocks,
        range: Range<u64>,
    ) -> Result<Part, Failure> {
        self.require_body()?;
        let _moving = self.begin_body();
        let connection = self.channel.connection();
        let mut body = PartReceiver::new(connection, sink, blocks, range);
        while self.channel.step(|connection| body.step(connection)).await.map_err(failure)? {
            if self.channel.turn().is_over() {
                body.rest();
                self.channel.breathe().await;
            }
        }
        self.channel.step(|connection| body.finish(connection)).await.map_err(failure)
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
