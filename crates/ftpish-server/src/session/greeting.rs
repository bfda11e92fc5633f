//! `hello` and `login`: the requests that move a connection from one phase to the next, and what changes with it.

use std::sync::Arc;

use ftpish_protocol::message::{Hello, Login};
use ftpish_protocol::text::brief;
use ftpish_protocol::{BLOCK, MAX_HEADER};
use ftpish_storage::{Nearby, Root};

use super::Session;
use super::phase::Phase;
use crate::accounts::Rights;
use crate::commands;
use crate::commands::tree::Cursor;
use crate::exchange::{Exchange, Failure};
use crate::turn::{Class, Party};

impl Session {
    pub(super) fn hello(&mut self, id: u64, args: &Hello) -> Result<(), Failure> {
        let Self { channel, service, challenge, .. } = self;
        let exchange = &mut Exchange::new(channel, &service.limits, &service.bodies, id);
        commands::hello::run(args, service.accounts.as_ref(), challenge, exchange)?;
        self.phase.greet();
        tracing::debug!(agent = %brief(&args.agent), "hello");
        Ok(())
    }

    pub(super) async fn log_in(&mut self, id: u64, args: &Login) -> Result<(), Failure> {
        let Self { channel, service, peer, challenge, .. } = self;
        let exchange = &mut Exchange::new(channel, &service.limits, &service.bodies, id);
        let (accounts, served) = (service.accounts.as_ref(), &service.served);
        let login = commands::login::run(args, accounts, *peer, challenge, served, exchange);
        let (rights, slot) = login.await?;
        self.channel.connection().stream().set_throttle(slot.throttle.clone());
        // A listing to continue, or a directory held open, belongs to the user before.
        self.root = root_under(&rights, &slot.root);
        self.cursor = Cursor::default();
        self.group.nearby = Nearby::default();
        self.phase = Phase::LoggedIn { rights, slot };
        tracing::debug!(user = %brief(&args.user), by = args.proof.name(), "login");
        Ok(())
    }

    /// Lifts the limits of unauthenticated clients.
    pub(super) async fn admit(&mut self) {
        let connection = self.channel.connection();
        connection.set_max_header(MAX_HEADER);
        connection.stream().trust(BLOCK);
        self.slot.admit();
        if let Phase::LoggedIn { slot, .. } = &self.phase {
            self.channel.turn().set_party(Party::User(Arc::clone(&slot.name)));
        }
        // The client may have sent more already. A thread for unauthenticated clients must not serve it.
        self.channel.turn().go_on_as(Class::Request).await;
    }
}

/// The root as these rights show it. If they differ from directory to directory, it follows no links: see
/// [`permit`](Session::permit).
pub(super) fn root_under(rights: &Rights, root: &Root) -> Root {
    if rights.are_uniform() { root.clone() } else { root.without_links() }
}
