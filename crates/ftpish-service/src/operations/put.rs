//! `put`: a body becomes a file, if it verifies. It brings the whole file, or the ranges that are missing after a `resume`.

use ftpish_protocol::message::Put;
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::{Last, Nearby};

use super::{Operation, replacing, with_backup};
use crate::front::BodySource;
use crate::upload::{Complete, Offered, Receiving};
use crate::{Caller, Right};

impl Operation for Put {
    /// A condition tells of the content that is there.
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        replacing(&self.path, self.backup.as_ref())
            .into_iter()
            .chain(self.expect.map(|_| (Right::Read, &self.path)))
            .collect()
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        with_backup(&mut self.path, self.backup.as_mut())
    }

    fn adds(&self) -> Option<u64> {
        Some(self.size.unwrap_or(0))
    }
}

/// Receives and verifies a file, which has no name until it is [committed](Complete::commit).
///
/// `offered` is the upload that this connection has announced. It is left there if `args` does not complete it. `nearby` is the
/// directory of the file before, for a small one that is committed soon: while a large one arrives, the path can come to lead
/// to another directory.
pub async fn receive<F: BodySource>(
    caller: &Caller,
    args: &Put,
    offered: &mut Option<Box<Offered>>,
    nearby: Option<&mut Nearby>,
    front: &mut F,
) -> Result<Complete, F::Failure> {
    let root = caller.root();
    let receiving = match &args.ranges {
        None => {
            let stage = match nearby {
                Some(nearby) => root.stage_near(nearby, &args.path, args.replace, args.mtime)?,
                None => root.stage(&args.path, args.replace, args.mtime)?,
            };
            Receiving::whole(stage, args, root)?
        }
        Some(ranges) => {
            let line = "ranges of a file follow a `resume` of the same path and size";
            let offered = offered.take_if(|offered| offered.is_for(args));
            let offered = offered.ok_or_else(|| Refusal::new(Code::BadRange, line))?;
            offered.accept(args, ranges, root, front).await?
        }
    };
    receiving.receive(args, root, front).await
}
