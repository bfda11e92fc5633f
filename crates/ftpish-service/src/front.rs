//! What an operation asks of the front that runs it.

use std::future::Future;
use std::io::{Read, Write};
use std::ops::Range;
use std::time::Duration;

use ftpish_protocol::blocks::{Assembly, Blocks, Part, WriteAt};
use ftpish_protocol::message::Put;
use ftpish_protocol::{Digest, Meter, Refusal, Verified};

/// Time on the front's threads. While an operation takes long, the front lets its client know that it goes on.
pub trait Front: Send {
    /// Why a request was not answered as asked: a refusal, or whatever else can end a request on this front.
    type Failure: From<Refusal> + Send;

    /// Does slow work on the disk on another thread. The work may tell how many bytes are done, and is told to stop when the
    /// client is gone.
    fn while_working<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Meter) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// Waits. An error says that the client is gone.
    fn sleep(&mut self, duration: Duration) -> impl Future<Output = Result<(), Self::Failure>> + Send;

    /// Gives all that `source` yields, about `size` bytes, to `take`, in turn with all else that is hashed. Returns how many
    /// bytes there were.
    fn digest(
        &mut self,
        source: &mut (impl Read + Send),
        size: u64,
        take: impl FnMut(&[u8]) + Send,
    ) -> impl Future<Output = Result<u64, Self::Failure>> + Send;

    /// Waits for a turn among all that hashes passwords.
    fn begin_password(&mut self) -> impl Future<Output = ()> + Send;

    /// How long a client may be gone before the front notices.
    fn pace(&self) -> Duration;
}

/// The bytes of a request. Each of these receives them once, and verifies them against what the client says of them.
pub trait BodySource: Front {
    /// Receives a whole file.
    fn receive(
        &mut self,
        put: &Put,
        sink: &mut (impl Write + Send),
    ) -> impl Future<Output = Result<Verified, Self::Failure>> + Send;

    /// Receives `ranges` of a file into `sink` and `assembly`. Returns the digest of the whole file, if the client tells it.
    fn receive_ranges(
        &mut self,
        put: &Put,
        sink: &mut (impl WriteAt + Send),
        assembly: &mut Assembly,
        ranges: Vec<Range<u64>>,
    ) -> impl Future<Output = Result<Option<Digest>, Self::Failure>> + Send;

    /// Receives one part of a file that has `blocks`.
    fn receive_part(
        &mut self,
        sink: &mut (impl WriteAt + Send),
        blocks: Blocks,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Part, Self::Failure>> + Send;
}
