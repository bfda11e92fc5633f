//! `hello` and `login`: who the server is, who the client is, and what changes with that.

use std::sync::Arc;

use ftpish_protocol::message::{Hello, Login, Welcome};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Algorithm, BLOCK, Code, FEATURES, MAX_HEADER, Refusal, VERSION};
use ftpish_service::operations::{NAMES, tree};
use ftpish_storage::Nearby;

use super::Session;
use crate::AGENT;
use crate::exchange::{Exchange, Failure};
use crate::turn::{Class, Party};

impl Session {
    pub(super) fn hello(&mut self, id: u64, args: &Hello) -> Result<(), Failure> {
        if args.version != VERSION {
            let line = format!("version {} of the protocol is not spoken here, only {VERSION}", args.version);
            return Err(Refusal::new(Code::Unsupported, line).into());
        }
        let Self { channel, shared, challenge, .. } = self;
        let accounts = shared.service.accounts();
        let commands = ["hello"].iter().chain(NAMES).chain(accounts.map(|_| &"login"));
        Exchange::new(channel, &shared.limits, &shared.bodies, id).grant(&Welcome {
            version: VERSION,
            agent: AGENT.to_owned(),
            digests: Algorithm::ALL.map(|a| a.name().to_owned()).to_vec(),
            commands: commands.map(|&name| name.to_owned()).collect(),
            features: FEATURES.map(str::to_owned).to_vec(),
            login: accounts.is_some_and(|accounts| accounts.anonymous().is_none()),
            challenge: accounts.map(|_| challenge.clone()),
        })?;
        self.phase.greet();
        tracing::debug!(agent = %brief(&args.agent), "hello");
        Ok(())
    }

    pub(super) async fn log_in(&mut self, id: u64, args: &Login) -> Result<(), Failure> {
        let Self { channel, shared, caller, peer, challenge, .. } = self;
        let exchange = &mut Exchange::new(channel, &shared.limits, &shared.bodies, id);
        let (user, reply) = caller.log_in(args, *peer, challenge, exchange).await?;
        exchange.grant(&reply)?;
        self.channel.connection().stream().set_throttle(user.throttle());
        // A listing to continue, or a directory held open, belongs to the user before.
        self.cursor = tree::Cursor::default();
        self.group.nearby = Nearby::default();
        self.caller = user;
        tracing::debug!(user = %brief(&args.user), by = args.proof.name(), "login");
        Ok(())
    }

    /// Lifts the limits of unauthenticated clients.
    pub(super) async fn admit(&mut self) {
        let connection = self.channel.connection();
        connection.set_max_header(MAX_HEADER);
        connection.stream().trust(BLOCK);
        self.slot.admit();
        if let Some(user) = self.caller.user() {
            self.channel.turn().set_party(Party::User(Arc::clone(user)));
        }
        // The client may have sent more already. A thread for unauthenticated clients must not serve it.
        self.channel.turn().go_on_as(Class::Request).await;
    }
}
