use ftpish_protocol::message::{
    DfArgs, Hello, LinkTarget, Mkdir, Mv, Replace, Rm, Set, StatArgs, Symlink, Tree,
};
use ftpish_protocol::{Algorithm, RemotePath};
use tempfile::TempDir;

use super::*;
use crate::{Right, Rule, Users};

/// What a caller is asked to be permitted in: a directory with `in`, `out` and `kept`.
struct Served {
    caller: Caller,
    scratch: TempDir,
}

impl Served {
    fn new(policy: Policy, accounts: Option<Accounts>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for dir in ["in", "out", "kept"] {
            std::fs::create_dir(scratch.path().join(dir)).unwrap();
        }
        let root = Root::open(scratch.path(), false).unwrap();
        let service = Arc::new(Service::new(root, policy, accounts).unwrap());
        Self { caller: Caller::anonymous(&service), scratch }
    }

    /// To somebody with all rights, but with these below `in`.
    fn with_rights(below: &[Right]) -> Self {
        let rights = Rights::new(&Rights::ALL, vec![(path("in"), below.to_vec())]);
        Self::new(Policy::default(), Some(Accounts::new(Users::default(), Some(rights))))
    }

    /// Why a command is refused.
    fn refusal(&self, mut command: Command) -> Option<(Code, String)> {
        self.caller.permit(&mut command).err().map(|refusal| (refusal.code, refusal.message))
    }

    #[track_caller]
    fn check(&self, command: Command, why: Option<&str>) {
        assert_eq!(self.refusal(command), why.map(|why| (Code::Forbidden, why.to_owned())));
    }
}

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

fn stat(at: &str) -> Command {
    Command::Stat(StatArgs { path: path(at) })
}

fn mkdir(at: &str) -> Command {
    Command::Mkdir(Mkdir { path: path(at), parents: false, mode: None })
}

fn mv(from: &str, to: &str) -> Command {
    Command::Mv(Mv { from: path(from), to: path(to), replace: Replace::Always })
}

fn set(at: &str) -> Command {
    Command::Set(Set { path: path(at), mtime: None, mode: None, limited: false })
}

fn symlink(at: &str) -> Command {
    let target = LinkTarget(b"target".into());
    Command::Symlink(Symlink { path: path(at), target, replace: Replace::Never, backup: None })
}

fn tree(top: &str, hash: Option<Algorithm>) -> Command {
    let (path, digest) = (path(top), Algorithm::Md5);
    let (after, limit, follow, same, one_file_system) = (None, 1, false, false, false);
    Command::Tree(Tree { path, digest, after, limit, follow, same, one_file_system, hash })
}

const NO_RIGHT: Option<&str> = Some("this user has no right to that here");

#[test]
fn a_read_only_server_lists_and_changes_nothing() {
    let served = Served::new(Policy::read_only(), None);
    let why = Some("the server is read-only");
    served.check(stat("a"), None);
    served.check(tree(".", None), None);
    for command in [mkdir("a"), symlink("a"), set("."), mv("a", "b")] {
        served.check(command, why);
    }
}

#[test]
fn a_client_that_must_log_in_may_do_nothing_else() {
    let served = Served::new(Policy::default(), Some(Accounts::new(Users::default(), None)));
    assert!(!served.caller.is_admitted());
    for command in [stat("a"), Command::Df(DfArgs { path: path(".") }), Command::Unknown] {
        assert_eq!(served.refusal(command).map(|(code, _)| code), Some(Code::LoginRequired));
    }
    let hello = Hello { version: 1, agent: String::new() };
    served.check(Command::Hello(hello), None);
}

#[test]
fn a_server_without_accounts_and_one_with_anonymous_rights_admit_everybody() {
    assert!(Served::new(Policy::default(), None).caller.is_admitted());
    assert!(Served::with_rights(&[]).caller.is_admitted());
}

#[test]
fn a_rename_needs_the_right_to_read_what_it_moves() {
    let served = Served::with_rights(&[Right::Write, Right::Delete]);
    served.check(mv("out/a", "b"), None);
    served.check(mv("in/a", "b"), NO_RIGHT);
    served.check(mv("out/a", "in/a"), None);
}

#[test]
fn a_tree_needs_the_right_to_list_all_of_it_and_a_link_rights_that_are_the_same_everywhere() {
    let served = Served::with_rights(&[Right::Write]);
    for (top, refused) in [(".", NO_RIGHT), ("in", NO_RIGHT), ("out", None)] {
        served.check(tree(top, None), refused);
    }
    let why = "a user whose rights differ from place to place makes no links between them";
    for at in ["out/a", "in/a"] {
        served.check(symlink(at), Some(why));
        served.check(set(at), None);
    }
}

#[test]
fn a_tree_with_digests_needs_the_right_to_read_all_of_it_too() {
    let served = Served::with_rights(&[Right::List]);
    let md5 = Some(Algorithm::Md5);
    for (top, hash, refused) in
        [(".", None, None), (".", md5, NO_RIGHT), ("in", md5, NO_RIGHT), ("out", md5, None)]
    {
        served.check(tree(top, hash), refused);
    }
}

#[test]
fn rights_hold_for_where_a_link_leads() {
    let served = Served::with_rights(&[Right::List]);
    std::os::unix::fs::symlink("in", served.scratch.path().join("door")).unwrap();
    served.check(mkdir("out/new"), None);
    served.check(mkdir("door/new"), NO_RIGHT);
    let mut command = stat("door/a");
    served.caller.permit(&mut command).unwrap();
    assert_eq!(command, stat("in/a"));
}

#[test]
fn a_rule_is_asked_where_a_link_leads_and_tells_why_it_refuses() {
    let rule = Rule::new(|access| match access.right {
        Right::Write if !access.path.is_within(&path("in")) => Err(format!("{:?} only in `in`", access.user)),
        Right::Delete if access.is_recursive && access.path.is_within(&path("kept")) => {
            Err("kept".to_owned())
        }
        _ => Ok(()),
    });
    let served = Served::new(Policy { rule: Some(rule), ..Policy::default() }, None);
    std::os::unix::fs::symlink("../out", served.scratch.path().join("in/door")).unwrap();
    let refused = Some("None only in `in`");
    served.check(mkdir("in/new"), None);
    served.check(mkdir("out/new"), refused);
    served.check(mkdir("in/door/new"), refused);
    served.check(Command::Rm(Rm { path: path("kept/a"), recursive: true, backup: None }), Some("kept"));
    served.check(stat("kept/a"), None);
}

#[test]
fn the_root_and_partial_files_are_out_of_reach() {
    let served = Served::new(Policy::default(), None);
    let rm = |at| Command::Rm(Rm { path: path(at), recursive: true, backup: None });
    served.check(rm("a"), None);
    served.check(rm("."), Some("the served root itself stays where it is"));
    served.check(rm("a/.ftpish-0123456789abcdef"), Some("this name is kept for partial files"));
    served.check(rm(".ftpish-0123456789abcdeF"), None);
    served.check(rm(".ftpish-config"), None);
}
