//! From a request to the command that answers it. Every check that all commands need is made here, before the command runs,
//! so that no command can forget it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::Command;
use ftpish_protocol::{Code, Header, Refusal};
use ftpish_storage::met_a_link;

use super::continuation::{Continuation, continues};
use super::phase::Access;
use super::{SHORT_OF_MEMORY, Service, Session};
use crate::commands;
use crate::exchange::{Exchange, Failure};
use crate::policy::paths;
use crate::quota_check;
use crate::upload::{Offered, is_optimistic, must_ask_first};

/// How long a request waits for a file descriptor, and how often it tries. Clients wait longer than this for a reply.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(20);
const DESCRIPTOR_CHECK: Duration = Duration::from_millis(50);

/// How often a request is tried again because a link appeared on its path after the path was resolved.
const MAX_LINKS_MET: usize = 8;

impl Session {
    /// Answers a request. One that fails without effect is tried again, if another try can succeed: the server was out of
    /// file descriptors, or a link appeared on the path.
    pub(super) async fn answer(&mut self, id: u64, header: &Header) -> Result<(), Failure> {
        let until = Instant::now() + DESCRIPTOR_PATIENCE;
        let (has_body, mut links) = (self.channel.connection().in_body(), 0);
        loop {
            let outcome = self.answer_once(id, header).await;
            let Err(Failure::Refused(refusal)) = &outcome else { return outcome };
            let is_untouched = !has_body || self.channel.connection().is_at_start_of_body();
            if is_untouched && met_a_link(refusal) && links < MAX_LINKS_MET {
                // The link was met before anything was changed.
                links += 1;
                continue;
            }
            let is_out = refusal.is_out_of_descriptors() && can_repeat(header);
            if !is_out || !is_untouched || Instant::now() >= until {
                return outcome;
            }
            // This session's own files go first. Other sessions close theirs soon.
            self.settle().await?;
            let Self { channel, service, .. } = self;
            Exchange::new(channel, &service.limits, &service.bodies, id).sleep(DESCRIPTOR_CHECK).await?;
        }
    }

    async fn answer_once(&mut self, id: u64, header: &Header) -> Result<(), Failure> {
        // An upload waits for the very next request. If that does not continue it, the upload is abandoned.
        let mut offered = self.continuation.take_upload();
        let answered = self.dispatch(id, header, &mut offered).await;
        if let Some(offered) = offered {
            offered.abandon();
        }
        answered
    }

    async fn dispatch(
        &mut self,
        id: u64,
        header: &Header,
        offered: &mut Option<Box<Offered>>,
    ) -> Result<(), Failure> {
        let mut command = Command::decode(header)?;
        tracing::debug!(id, ?command, "request");
        self.check(&mut command)?;
        let waits_for_count = quota_check::is_slow(&command, &self.root);
        if waits_for_count || !self.group.admits(&command) {
            self.settle().await?;
        }
        let service = Arc::clone(&self.service);
        let exchange = &mut Exchange::new(&mut self.channel, &service.limits, &service.bodies, id);
        let root = &self.root;
        if waits_for_count {
            if matches!(&command, Command::Resume(args) if is_optimistic(args)) {
                return Err(must_ask_first().into());
            }
            quota_check::prepare(&command, root, exchange).await;
        }
        match command {
            Command::Hello(args) => self.hello(id, &args),
            Command::Login(args) => self.log_in(id, &args).await,
            Command::Ls(args) => commands::ls::run(&args, root, exchange).await,
            Command::Tree(args) => commands::tree::run(&args, root, &mut self.cursor, exchange).await,
            Command::Stat(args) => commands::stat::run(&args, root, exchange),
            Command::Get(args) => commands::get::run(&args, root, exchange).await,
            Command::Put(args) => commands::put::run(&args, root, offered, &mut self.group, exchange).await,
            Command::Blocks(args) => commands::blocks::run(&args, root, exchange).await,
            Command::Resume(args) => {
                let offered = commands::resume::run(&args, root, &service.uploads, exchange).await?;
                self.continuation = Continuation::Upload(offered);
                Ok(())
            }
            Command::Part(args) => {
                let own = offered.take_if(|offered| offered.has_part(&args));
                let parts = own.as_deref().and_then(Offered::parts).cloned();
                if let Some(own) = own {
                    self.continuation = Continuation::Upload(own);
                }
                commands::part::run(&args, parts, &service.uploads, exchange).await
            }
            Command::Mkdir(args) => commands::mkdir::run(&args, root, &mut self.group, exchange),
            Command::Symlink(args) => commands::symlink::run(&args, root, exchange),
            Command::Link(args) => commands::link::run(&args, root, &mut self.group, exchange),
            Command::Set(args) => commands::set::run(&args, root, exchange),
            Command::Rm(args) => commands::rm::run(&args, root, &mut self.group, exchange).await,
            Command::Mv(args) => commands::mv::run(&args, root, exchange),
            Command::Hash(args) => commands::hash::run(&args, root, exchange).await,
            Command::Df(args) => commands::df::run(&args, root, exchange).await,
            Command::Unknown => Err(Refusal::new(Code::Unsupported, "no such command").into()),
        }
    }

    /// Refuses what the client may not ask for now: in this phase, on a draining server, without memory, or at all.
    fn check(&mut self, command: &mut Command) -> Result<(), Refusal> {
        self.access().require_hello(command)?;
        self.continuation = Continuation::of(command);
        if self.slot.is_draining() && !continues(command) {
            return Err(Refusal::new(Code::ShuttingDown, "the server is going down"));
        }
        let is_small = matches!(command, Command::Hello(_) | Command::Login(_));
        if !is_small && !continues(command) && self.service.memory.is_short() {
            return Err(Refusal::new(Code::Busy, SHORT_OF_MEMORY));
        }
        self.permit(command)
    }

    /// Whether the client's rights allow `command`. Rights hold for where a file is, not for what it is called. If they
    /// differ from directory to directory, the paths of `command` are resolved here, and the root follows no links later.
    fn permit(&self, command: &mut Command) -> Result<(), Refusal> {
        let Service { policy, .. } = &*self.service;
        match self.access() {
            Access::Hello | Access::Login => policy.permit_client(command, None),
            Access::Rights(rights) => {
                if !rights.are_uniform() {
                    policy.permit(command)?;
                    for (path, last) in paths(command) {
                        *path = self.root.real_path(path, last)?;
                    }
                }
                policy.permit_client(command, Some(rights))
            }
            Access::Open => policy.permit(command),
        }
    }
}

/// Whether a request that ran out of descriptors may run again: it has changed nothing, or only what it would change in the
/// same way again.
fn can_repeat(header: &Header) -> bool {
    let command = Command::decode(header);
    command.is_ok_and(|command| !matches!(command, Command::Mv(_) | Command::Rm(_) | Command::Symlink(_)))
}
