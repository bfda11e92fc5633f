//! `rm`: takes a name away, and what it names.

use ftpish_protocol::message::{Done, Rm};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Rm, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    if let Some(to) = &args.backup {
        root.move_away(&args.path, root.backup(&args.path, to)?)?;
    } else if args.recursive {
        exchange.while_working(|_| root.remove(&args.path, true))??;
    } else {
        root.remove(&args.path, false)?;
    }
    exchange.grant(&Done {})
}
