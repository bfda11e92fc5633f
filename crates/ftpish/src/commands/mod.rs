//! The verbs, one file each, for the command line and the shell alike.

mod cat;
mod df;
mod files;
mod get;
mod glob;
mod hash;
mod ls;
mod mkdir;
mod mv;
mod output;
mod put;
mod rm;
mod stat;
mod summary;
mod sync;
mod tree;
mod verify;

use std::sync::Arc;

use ftpish_protocol::Code;
use ftpish_protocol::message::Replace;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Global, Overwrite, Verb};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::ui::Ui;

/// Does what the verb says.
pub fn run(verb: &Verb, session: &mut Session) -> Result<(), Failure> {
    match verb {
        Verb::Ls(args) => ls::run(args, session),
        Verb::Stat(args) => stat::run(args, session),
        Verb::Cat(args) => cat::run(args, session),
        Verb::Get(args) => get::run(args, session),
        Verb::Put(args) => put::run(args, session),
        Verb::Sync(args) => sync::run(args, session),
        Verb::Mkdir(args) => mkdir::run(args, session),
        Verb::Rm(args) => rm::run(args, session),
        Verb::Mv(args) => mv::run(args, session),
        Verb::Hash(args) => hash::run(args, session),
        Verb::Verify(args) => verify::run(args, session),
        Verb::Df(args) => df::run(args, session),
    }
}

/// One command, and the end of the process. The first Ctrl-C lets it clean up; the second does not.
pub fn run_once(verb: &Verb, global: &Global, ui: &Ui) -> Result<(), Failure> {
    let mut session = Session::new(global, ui)?;
    for signal in [SIGINT, SIGTERM] {
        let flag = session.interrupt.flag();
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, flag))
            .map_err(|error| Failure::new(Exit::Other, format!("cannot handle signals: {error}")))?;
    }
    run(verb, &mut session)
}

/// Does `step` for each item: one that fails does not stop the others, unless the server is out of reach.
fn each<T>(
    items: &[T],
    session: &mut Session,
    mut step: impl FnMut(&T, &mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut failed = 0;
    for item in items {
        match step(item, session) {
            Ok(()) => {}
            Err(failure) if items.len() == 1 || !failure.goes_on => return Err(failure),
            Err(failure) => {
                session.ui.failure(&failure);
                failed += 1;
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Partial, format!("{failed} of {} were not done", items.len())))
}

/// What a transfer may replace; asking is for the caller, who does not replace before.
fn replace(overwrite: Overwrite) -> Replace {
    match overwrite {
        Overwrite::Always => Replace::Always,
        Overwrite::Never | Overwrite::Ask => Replace::Never,
        Overwrite::Newer => Replace::Older,
    }
}

/// Whether a transfer that was refused so did what was asked: to replace nothing.
fn is_kept(code: Code, overwrite: Overwrite) -> bool {
    matches!(
        (code, overwrite),
        (Code::Exists, Overwrite::Never | Overwrite::Ask) | (Code::NotNewer, Overwrite::Newer)
    )
}
