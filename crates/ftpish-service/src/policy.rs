//! What nobody may do, whatever rights they have; and the rules of a program that embeds the server.

use std::fmt;
use std::sync::Arc;

use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::is_partial;

use crate::Right;
use crate::operations::Operation;

/// What clients may do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Nothing may be changed.
    pub read_only: bool,
    /// A rule of one's own, which is asked besides.
    pub rule: Option<Rule>,
}

/// What a client is about to do.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The user's name; none for an anonymous client.
    pub user: Option<&'a str>,
    /// What is done to the path.
    pub right: Right,
    /// Where the file is, below the client's root. Links on the way to it have been resolved.
    pub path: &'a RemotePath,
    /// Whether it is done to all that is below the path, too.
    pub is_recursive: bool,
}

/// A rule of a program that embeds the server. It may refuse an [`Access`], with a reason that the client is told.
#[derive(Clone)]
pub struct Rule(Arc<Ask>);

type Ask = dyn Fn(&Access<'_>) -> Result<(), String> + Send + Sync;

impl Rule {
    /// `rule` is asked for each path of each request, by any thread, and has to be fast.
    pub fn new(rule: impl Fn(&Access<'_>) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").finish_non_exhaustive()
    }
}

impl Policy {
    /// A policy under which nothing may be changed.
    pub fn read_only() -> Self {
        Self { read_only: true, rule: None }
    }

    /// Whether anybody may do this, be the paths resolved or not.
    pub(crate) fn permit(&self, operation: &dyn Operation) -> Result<(), Refusal> {
        operation.accesses().into_iter().try_for_each(|(right, path)| self.permit_access(right, path))
    }

    /// Whether the rule lets `user` do this. The paths of `operation` are resolved.
    pub(crate) fn ask_rule(&self, operation: &dyn Operation, user: Option<&str>) -> Result<(), Refusal> {
        let Some(Rule(rule)) = &self.rule else { return Ok(()) };
        let is_recursive = operation.is_recursive();
        operation.accesses().into_iter().try_for_each(|(right, path)| {
            let asked = rule(&Access { user, right, path, is_recursive });
            asked.map_err(|why| Refusal::new(Code::Forbidden, why))
        })
    }

    fn permit_access(&self, right: Right, path: &RemotePath) -> Result<(), Refusal> {
        let changes = matches!(right, Right::Write | Right::Delete);
        let why = if changes && self.read_only {
            "the server is read-only"
        } else if right == Right::Delete && path.is_root() {
            "the served root itself stays where it is"
        } else if path.components().any(is_partial) {
            "this name is kept for partial files"
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::Forbidden, why))
    }
}
