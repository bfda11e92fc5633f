//! `login`: who the client is, so that its rights are known.

use std::net::IpAddr;
use std::sync::Arc;

use ftpish_protocol::message::{LoggedIn, Login, Proof};
use ftpish_protocol::{Code, Refusal, Statement};
use ftpish_storage::Root;
use ftpish_transport::Fingerprint;

use crate::accounts::{Accounts, Rights, UserSlot};
use crate::exchange::{Exchange, Failure};

/// Where a client is, as far as a login depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// None behind a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// What we have proven to be in TLS; none in the clear.
    pub(crate) host_key: Option<Fingerprint>,
}

impl Peer {
    /// Whether nobody on the way can read what it sends.
    fn is_private(self) -> bool {
        self.host_key.is_some() || self.address.is_none_or(|address| address.to_canonical().is_loopback())
    }
}

pub async fn run(
    args: &Login,
    accounts: Option<&Accounts>,
    peer: Peer,
    challenge: &str,
    served: &Root,
    exchange: &mut Exchange<'_>,
) -> Result<(Arc<Rights>, UserSlot), Failure> {
    let Some(accounts) = accounts else {
        return Err(Refusal::new(Code::LoginFailed, "there are no accounts here").into());
    };
    if !peer.is_private() {
        let line = "a login in the clear is not taken: others may have read the password, so change it";
        return Err(Refusal::new(Code::LoginFailed, line).into());
    }
    if matches!(args.proof, Proof::Password(_)) {
        exchange.begin_password().await;
    }
    let host_key = peer.host_key.map(|key| key.to_string());
    let statement = Statement { challenge, host_key: host_key.as_deref(), user: &args.user };
    let (rights, ticket) = accounts.login(args, statement, peer.address)?;
    let slot = accounts.enter(&args.user, served)?;
    exchange.grant(&LoggedIn { user: args.user.clone(), ticket })?;
    Ok((rights, slot))
}
