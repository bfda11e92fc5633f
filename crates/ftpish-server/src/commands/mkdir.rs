//! `mkdir`: a new directory.

use ftpish_protocol::message::{Done, Mkdir};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Mkdir, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    root.make_dir(&args.path, args.parents)?;
    exchange.grant(&Done {})
}
