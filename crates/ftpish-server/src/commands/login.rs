//! `login`: who the client is, so that its rights are known.

use std::net::IpAddr;
use std::sync::Arc;

use ftpish_protocol::message::{LoggedIn, Login};
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::Root;

use crate::accounts::{Accounts, Rights, Seat};
use crate::exchange::{Exchange, Failure};

/// Where a client is, as far as a login depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// None behind a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) encrypted: bool,
}

impl Peer {
    /// Whether nobody on the way can read what it sends.
    fn is_private(self) -> bool {
        self.encrypted || self.address.is_none_or(|address| address.to_canonical().is_loopback())
    }
}

pub fn run(
    args: &Login,
    accounts: Option<&Accounts>,
    peer: Peer,
    served: &Root,
    exchange: &mut Exchange<'_>,
) -> Result<(Arc<Rights>, Seat), Failure> {
    let Some(accounts) = accounts else {
        return Err(Refusal::new(Code::LoginFailed, "there are no accounts here").into());
    };
    if !peer.is_private() {
        let line = "a password in the clear is not taken: others may have read it, so change it";
        return Err(Refusal::new(Code::LoginFailed, line).into());
    }
    let (rights, ticket) = accounts.login(args, peer.address)?;
    let seat = accounts.enter(&args.user, served)?;
    exchange.grant(&LoggedIn { user: args.user.clone(), ticket })?;
    Ok((rights, seat))
}
