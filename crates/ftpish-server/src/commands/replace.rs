//! What every `put` has in common, be it of a whole file or of the parts that were missing: what it replaces, and what is
//! replied.

use ftpish_protocol::message::{Put, Stored, Unset};
use ftpish_protocol::{Code, Refusal, Verified};
use ftpish_storage::{Root, Stage, met_a_link};

use crate::exchange::{Exchange, Failure};

/// Has the existing file kept, where the client says so.
pub fn back_up(args: &Put, root: &Root, stage: &mut Stage) -> Result<(), Refusal> {
    if let Some(to) = &args.backup {
        stage.back_up(root.backup(&args.path, to)?);
    }
    Ok(())
}

/// Makes sure that the existing file is what the client expects, where it does, and that only that one is replaced.
/// Behind the body, because a client that sends one does not wait: reading a large file in front of it would take
/// longer than a peer may be silent.
pub async fn require_expected(
    args: &Put,
    root: &Root,
    stage: &mut Stage,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let Some(expect) = args.expect else { return Ok(()) };
    // Of a link that is the link itself: what it points at is not replaced.
    stage.replace_only(root.identity(&args.path)?);
    let file = root.open_file(&args.path).map_err(|refusal| match met_a_link(&refusal) {
        true => Refusal::new(
            Code::NotRegular,
            "the existing name is a link, which this user may not compare through",
        ),
        false => refusal,
    })?;
    let (size, mut hasher) = (file.size(), expect.algorithm().hasher());
    exchange.digest(&mut file.reader(), size, |bytes| hasher.update(bytes)).await?;
    let found = hasher.finish();
    if found == expect {
        return Ok(());
    }
    Err(Refusal::new(Code::Changed, format!("the existing file is {found}, not {expect}")).into())
}

/// What is replied once the file has its name, as far as that is known before.
pub fn stored(verified: &Verified) -> Stored {
    Stored { size: verified.length(), digest: verified.digest(), unset: Unset::default() }
}
