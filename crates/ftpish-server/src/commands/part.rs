//! `part`: one part of a file, over one connection of several.

use std::sync::Arc;

use ftpish_protocol::message::{Done, PartArgs};

use crate::exchange::{Exchange, Failure};
use crate::upload::{Parts, Uploads, bad_part};

/// A part that names no upload is for `own`, the upload that this connection has announced.
pub async fn run(
    args: &PartArgs,
    own: Option<Arc<Parts>>,
    uploads: &Uploads,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let parts = match &args.upload {
        Some(name) => uploads.find(name),
        None => own,
    };
    let parts = parts.filter(|parts| parts.are_of(&args.path));
    let parts = parts.ok_or_else(|| bad_part("there is no such upload, or none any more"))?;
    let end = args.offset.checked_add(args.length);
    let range = args.offset..end.ok_or_else(|| bad_part("it is beyond the end of the file"))?;
    let Some(mut writer) = parts.claim(range.clone(), args.attempt)? else { return exchange.grant(&Done {}) };
    match exchange.receive_part(&mut writer, parts.blocks(), range).await {
        Ok(part) => {
            writer.finish(part)?;
            exchange.grant(&Done {})
        }
        Err(failure) => {
            writer.abandon();
            Err(failure)
        }
    }
}
