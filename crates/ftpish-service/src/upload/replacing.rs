//! What an upload does to the file that has its name already: back it up, and check that it is the one the client expects.

use ftpish_protocol::message::Put;
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::{Root, Stage, met_a_link};

use crate::front::Front;

/// Has the commit keep the existing file, if the client asks for a backup.
pub fn back_up(args: &Put, root: &Root, stage: &mut Stage) -> Result<(), Refusal> {
    if let Some(to) = &args.backup {
        stage.back_up(root.backup(&args.path, to)?);
    }
    Ok(())
}

/// Checks that the existing file has the digest that the client expects, if it expects one. The commit then replaces that
/// very file or fails.
///
/// This comes after the body. A client that sends a body does not read, so nobody could tell it to wait while a large file
/// is digested.
pub async fn require_expected<F: Front>(
    args: &Put,
    root: &Root,
    stage: &mut Stage,
    front: &mut F,
) -> Result<(), F::Failure> {
    let Some(expect) = args.expect else { return Ok(()) };
    // The identity of a link is its own: the commit replaces the link, not its target.
    stage.replace_only(root.identity(&args.path)?);
    let file = root.open_file(&args.path).map_err(|refusal| match met_a_link(&refusal) {
        true => Refusal::new(
            Code::NotRegular,
            "the existing name is a link, which this user may not compare through",
        ),
        false => refusal,
    })?;
    let (size, mut hasher) = (file.size(), expect.algorithm().hasher());
    front.digest(&mut file.reader(), size, |bytes| hasher.update(bytes)).await?;
    let found = hasher.finish();
    if found == expect {
        return Ok(());
    }
    Err(Refusal::new(Code::Changed, format!("the existing file is {found}, not {expect}")).into())
}
