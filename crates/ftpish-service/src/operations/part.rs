//! `part`: one part of a file, over one connection of several.

use std::sync::Arc;

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::PartArgs;
use ftpish_storage::Last;

use super::Operation;
use crate::front::BodySource;
use crate::upload::{Parts, bad_part};
use crate::{Caller, Right};

impl Operation for PartArgs {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Write, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Kept)]
    }
}

/// Receives a part and writes it. One that names no upload is for `own`, the upload that this connection has announced.
pub async fn receive<F: BodySource>(
    caller: &Caller,
    args: &PartArgs,
    own: Option<Arc<Parts>>,
    front: &mut F,
) -> Result<(), F::Failure> {
    let parts = match &args.upload {
        Some(name) => caller.service().uploads.find(name),
        None => own,
    };
    let parts = parts.filter(|parts| parts.are_of(&args.path));
    let parts = parts.ok_or_else(|| bad_part("there is no such upload, or none any more"))?;
    let end = args.offset.checked_add(args.length);
    let range = args.offset..end.ok_or_else(|| bad_part("it is beyond the end of the file"))?;
    // Another connection has brought it: the front drains the body.
    let Some(mut writer) = parts.claim(range.clone(), args.attempt)? else { return Ok(()) };
    match front.receive_part(&mut writer, parts.blocks(), range).await {
        Ok(part) => Ok(writer.finish(part)?),
        Err(failure) => {
            writer.abandon();
            Err(failure)
        }
    }
}
