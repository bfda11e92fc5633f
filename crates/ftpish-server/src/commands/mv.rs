//! `mv`: a new name for what is there.

use ftpish_protocol::message::{Done, Mv, Replace};
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Mv, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    if args.replace == Replace::Older {
        return Err(Refusal::new(Code::Unsupported, "mv replaces `always` or `never`").into());
    }
    root.rename(&args.from, &args.to, args.replace)?;
    exchange.grant(&Done {})
}
