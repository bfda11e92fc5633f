//! From a request to the operation that answers it. Every check that all operations need is made here, before the operation
//! runs, so that no operation can forget it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Command, Done};
use ftpish_protocol::{Algorithm, Code, Header, Refusal};
use ftpish_service::Front as _;
use ftpish_service::operations::{
    self, blocks, df, get, hash, link, ls, mkdir, mv, part, put, resume, rm, set, stat, symlink, tree,
};
use ftpish_service::upload::{Offered, is_optimistic, must_ask_first};
use ftpish_storage::met_a_link;

use super::continuation::{Continuation, continues};
use super::{SHORT_OF_MEMORY, Session};
use crate::exchange::{Exchange, Failure};
use crate::group::Group;

/// How long a request waits for a file descriptor, and how often it tries. Clients wait longer than this for a reply.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(20);
const DESCRIPTOR_CHECK: Duration = Duration::from_millis(50);

/// The digest of bodies that are digests themselves.
const DIGESTS: Algorithm = Algorithm::Blake3;

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
            let Self { channel, shared, .. } = self;
            Exchange::new(channel, &shared.limits, &shared.bodies, id).sleep(DESCRIPTOR_CHECK).await?;
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
        let adds = operations::of(&mut command).and_then(|operation| operation.adds());
        let waits_for_count = operations::waits_for_count(adds, self.caller.root());
        if waits_for_count || !self.group.admits(&command) {
            self.settle().await?;
        }
        let shared = Arc::clone(&self.shared);
        let exchange = &mut Exchange::new(&mut self.channel, &shared.limits, &shared.bodies, id);
        let (caller, group) = (&self.caller, &mut self.group);
        if waits_for_count {
            if matches!(&command, Command::Resume(args) if is_optimistic(args)) {
                return Err(must_ask_first().into());
            }
            operations::count(adds, caller.root(), exchange).await;
        }
        match command {
            Command::Hello(args) => self.hello(id, &args),
            Command::Login(args) => self.log_in(id, &args).await,
            Command::Ls(args) => {
                exchange.grant_with_listing(&Done {}, ls::list(caller, &args)?, args.digest).await
            }
            Command::Tree(args) => {
                let mut listing = tree::list(caller, &args, &mut self.cursor)?;
                if args.hash.is_some() {
                    exchange.begin_digest().await;
                    exchange.send_short_blocks();
                }
                exchange.grant_with_listing(&Done {}, &mut listing, args.digest).await?;
                listing.keep(&mut self.cursor);
                Ok(())
            }
            Command::Stat(args) => exchange.grant(&stat::stat(caller, &args)?),
            Command::Get(args) => {
                let (file, source) = get::open(caller, &args)?;
                if file.subtree {
                    exchange.grant_with_subtree(&file, source, args.offset).await
                } else {
                    exchange.grant_with_file(&file, source.digesting(args.digest), args.digest).await
                }
            }
            Command::Put(args) => {
                let is_small = Group::admits_put(&args);
                let nearby = is_small.then_some(&mut group.nearby);
                let complete = put::receive(caller, &args, offered, nearby, exchange).await?;
                if is_small {
                    group.add(id, &args.path, complete);
                    return Ok(());
                }
                let stored = complete.commit(exchange).await?;
                exchange.grant(&stored)
            }
            Command::Blocks(args) => {
                let (cut, digests) = blocks::digest(caller, &args, exchange).await?;
                exchange.grant_with_body(&cut, &digests, DIGESTS).await
            }
            Command::Resume(args) => {
                let offered = resume::offer(caller, &args, exchange).await?;
                let (cut, digests) = offered.reply(&args);
                exchange.grant_with_body(&cut, &digests, DIGESTS).await?;
                self.continuation = Continuation::Upload(Box::new(offered));
                Ok(())
            }
            Command::Part(args) => {
                let own = offered.take_if(|offered| offered.has_part(&args));
                let parts = own.as_deref().and_then(Offered::parts).cloned();
                if let Some(own) = own {
                    self.continuation = Continuation::Upload(own);
                }
                part::receive(caller, &args, parts, exchange).await?;
                exchange.grant(&Done {})
            }
            Command::Mkdir(args) => {
                group.add_made(id, mkdir::make(caller, &args)?);
                Ok(())
            }
            Command::Symlink(args) => {
                symlink::make(caller, &args)?;
                exchange.grant(&Done {})
            }
            Command::Link(args) => {
                group.add_made(id, link::link(caller, &args)?);
                Ok(())
            }
            Command::Set(args) => exchange.grant(&set::set(caller, &args)?),
            Command::Rm(args) => match rm::remove(caller, &args, exchange).await? {
                Some(names) => {
                    group.add_made(id, names);
                    Ok(())
                }
                None => exchange.grant(&Done {}),
            },
            Command::Mv(args) => {
                mv::rename(caller, &args)?;
                exchange.grant(&Done {})
            }
            Command::Hash(args) => {
                let hashed = hash::hash(caller, &args, exchange).await?;
                exchange.grant(&hashed)
            }
            Command::Df(args) => {
                let space = df::df(caller, &args, exchange).await?;
                exchange.grant(&space)
            }
            Command::Unknown => Err(Refusal::new(Code::Unsupported, "no such command").into()),
        }
    }

    /// Refuses what the client may not ask for now: in this phase, on a draining server, without memory, or at all.
    fn check(&mut self, command: &mut Command) -> Result<(), Refusal> {
        self.phase.require_hello(command)?;
        self.continuation = Continuation::of(command);
        if self.slot.is_draining() && !continues(command) {
            return Err(Refusal::new(Code::ShuttingDown, "the server is going down"));
        }
        let is_small = matches!(command, Command::Hello(_) | Command::Login(_));
        if !is_small && !continues(command) && self.shared.memory.is_short() {
            return Err(Refusal::new(Code::Busy, SHORT_OF_MEMORY));
        }
        self.caller.permit(command)
    }
}

/// Whether a request that ran out of descriptors may run again.
fn can_repeat(header: &Header) -> bool {
    let command = Command::decode(header);
    command
        .is_ok_and(|mut command| operations::of(&mut command).is_none_or(|operation| operation.can_repeat()))
}
