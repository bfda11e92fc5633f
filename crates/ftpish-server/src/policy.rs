//! Who may do what, as a table. The dispatcher asks before it calls, so no command can forget to.

use ftpish_protocol::message::Command;
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::{Last, is_partial};

use crate::accounts::{Right as Access, Rights};

/// What a client may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Nothing may be changed.
    pub read_only: bool,
}

/// The table: every command, and what it does to which path.
fn accesses(command: &Command) -> Vec<(Access, &RemotePath)> {
    match command {
        Command::Hello(_) | Command::Login(_) | Command::Unknown => vec![],
        Command::Ls(args) => vec![(Access::List, &args.path)],
        // A digest tells of the content.
        Command::Tree(args) => [(Access::List, &args.path)]
            .into_iter()
            .chain(args.hash.map(|_| (Access::Read, &args.path)))
            .collect(),
        Command::Stat(args) | Command::Df(args) => vec![(Access::List, &args.path)],
        Command::Get(args) => vec![(Access::Read, &args.path)],
        Command::Hash(args) => vec![(Access::Read, &args.path)],
        Command::Blocks(args) => vec![(Access::Read, &args.path)],
        // A condition tells of the content that is there.
        Command::Put(args) => replacing(&args.path, args.backup.as_ref())
            .into_iter()
            .chain(args.expect.map(|_| (Access::Read, &args.path)))
            .collect(),
        Command::Part(args) => vec![(Access::Write, &args.path)],
        // It tells of a file that is there already, too.
        Command::Resume(args) => vec![(Access::Read, &args.path), (Access::Write, &args.path)],
        Command::Mkdir(args) => vec![(Access::Write, &args.path)],
        Command::Symlink(args) => replacing(&args.path, args.backup.as_ref()),
        // Under either name it can be read, and its time and its bits be set.
        Command::Link(args) => [(Access::Read, &args.from), (Access::Write, &args.from)]
            .into_iter()
            .chain(replacing(&args.to, args.backup.as_ref()))
            .collect(),
        Command::Set(args) => vec![(Access::Write, &args.path)],
        Command::Rm(args) => match &args.backup {
            None => vec![(Access::Delete, &args.path)],
            // As if it were renamed.
            Some(to) => vec![(Access::Delete, &args.path), (Access::Read, &args.path), (Access::Write, to)],
        },
        Command::Mv(args) => vec![(Access::Delete, &args.from), (Access::Write, &args.to)],
    }
}

/// The paths of a command, and whether a link that is the last of one is followed: all that [`accesses`] asks about.
pub(crate) fn paths(command: &mut Command) -> Vec<(&mut RemotePath, Last)> {
    let (followed, kept) = (Last::Followed, Last::Kept);
    match command {
        Command::Hello(_) | Command::Login(_) | Command::Unknown => vec![],
        Command::Ls(args) => vec![(&mut args.path, followed)],
        Command::Tree(args) => vec![(&mut args.path, followed)],
        Command::Stat(args) => vec![(&mut args.path, kept)],
        Command::Df(args) => vec![(&mut args.path, followed)],
        Command::Get(args) => vec![(&mut args.path, followed)],
        Command::Hash(args) => vec![(&mut args.path, followed)],
        Command::Blocks(args) => vec![(&mut args.path, followed)],
        Command::Put(args) => with_backup(&mut args.path, args.backup.as_mut()),
        Command::Part(args) => vec![(&mut args.path, kept)],
        Command::Resume(args) => vec![(&mut args.path, kept)],
        Command::Mkdir(args) => vec![(&mut args.path, kept)],
        Command::Symlink(args) => with_backup(&mut args.path, args.backup.as_mut()),
        Command::Link(args) => {
            let mut paths = with_backup(&mut args.to, args.backup.as_mut());
            paths.push((&mut args.from, kept));
            paths
        }
        Command::Set(args) => vec![(&mut args.path, kept)],
        Command::Rm(args) => with_backup(&mut args.path, args.backup.as_mut()),
        Command::Mv(args) => vec![(&mut args.from, kept), (&mut args.to, kept)],
    }
}

fn with_backup<'a>(
    path: &'a mut RemotePath,
    backup: Option<&'a mut RemotePath>,
) -> Vec<(&'a mut RemotePath, Last)> {
    [Some(path), backup].into_iter().flatten().map(|path| (path, Last::Kept)).collect()
}

/// What is replaced can be read under the name of its backup.
fn replacing<'a>(path: &'a RemotePath, backup: Option<&'a RemotePath>) -> Vec<(Access, &'a RemotePath)> {
    let kept = backup.map(|backup| [(Access::Read, path), (Access::Write, backup)]);
    [(Access::Write, path)].into_iter().chain(kept.into_iter().flatten()).collect()
}

impl Policy {
    /// Whether `command` may be done.
    pub fn permit(&self, command: &Command) -> Result<(), Refusal> {
        accesses(command).into_iter().try_for_each(|(access, path)| self.permit_access(access, path))
    }

    /// Whether a client with these rights may do `command`; `None` is one that has to log in first.
    pub(crate) fn permit_client(&self, command: &Command, rights: Option<&Rights>) -> Result<(), Refusal> {
        self.permit(command)?;
        let Some(rights) = rights else {
            return match command {
                Command::Hello(_) | Command::Login(_) => Ok(()),
                _ => Err(Refusal::new(Code::LoginRequired, "log in first")),
            };
        };
        // What is renamed can be read under its new name.
        let renamed = match command {
            Command::Mv(args) => Some((Access::Read, &args.from)),
            _ => None,
        };
        // Where it leads is looked at by whoever follows it, which may be somebody with fewer rights, or a program.
        if matches!(command, Command::Symlink(_)) && !rights.are_uniform() {
            let why = "a user whose rights differ from place to place makes no links between them";
            return Err(Refusal::new(Code::Forbidden, why));
        }
        let takes_all = matches!(command, Command::Tree(_) | Command::Rm(_) | Command::Mv(_));
        let mut needed = accesses(command).into_iter().chain(renamed);
        let allowed = needed.all(|(access, path)| match takes_all {
            true => rights.allow_below(access, path),
            false => rights.allow(access, path),
        });
        match allowed {
            true => Ok(()),
            false => Err(Refusal::new(Code::Forbidden, "this user has no right to that here")),
        }
    }

    fn permit_access(self, access: Access, path: &RemotePath) -> Result<(), Refusal> {
        let changes = matches!(access, Access::Write | Access::Delete);
        let why = if changes && self.read_only {
            "the server is read-only"
        } else if access == Access::Delete && path.is_root() {
            "the served root itself stays where it is"
        } else if path.components().any(is_partial) {
            "this name is kept for partial files"
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::Forbidden, why))
    }
}

#[cfg(test)]
mod tests {
    use ftpish_protocol::Algorithm;
    use ftpish_protocol::message::{Hello, LinkTarget, Mkdir, Mv, PathArgs, Replace, Rm, Set, Symlink, Tree};

    use super::*;

    #[track_caller]
    fn check(policy: Policy, command: &Command, refused: Option<&str>) {
        let outcome = policy.permit(command).err();
        assert_eq!(outcome.as_ref().map(|r| r.message.as_str()), refused);
        assert!(outcome.is_none_or(|r| r.code == Code::Forbidden));
    }

    fn path(text: &str) -> RemotePath {
        text.parse().unwrap()
    }

    fn tree(top: &str) -> Command {
        let (path, digest) = (path(top), Algorithm::Md5);
        Command::Tree(Tree {
            path,
            digest,
            after: None,
            limit: 1,
            follow: false,
            same: false,
            one_file_system: false,
            hash: None,
        })
    }

    #[test]
    fn a_read_only_server_lists_and_changes_nothing() {
        let policy = Policy { read_only: true };
        check(policy, &Command::Stat(PathArgs { path: path("a") }), None);
        let why = Some("the server is read-only");
        check(policy, &Command::Mkdir(Mkdir { path: path("a"), parents: false, mode: None }), why);
        let target = LinkTarget(b"b".into());
        let link = Symlink { path: path("a"), target, replace: Replace::Never, backup: None };
        check(policy, &Command::Symlink(link), why);
        check(policy, &Command::Set(Set { path: path("."), mtime: None, mode: None, limited: false }), why);
        check(policy, &tree("."), None);
        check(policy, &Command::Mv(Mv { from: path("a"), to: path("b"), replace: Replace::Always }), why);
    }

    #[test]
    fn a_client_without_rights_may_only_log_in() {
        let stat = Command::Stat(PathArgs { path: path("a") });
        let code = |command| Policy::default().permit_client(command, None).map_err(|r| r.code);
        assert_eq!(code(&stat), Err(Code::LoginRequired));
        assert_eq!(code(&Command::Unknown), Err(Code::LoginRequired));
        let hello = Hello { version: 1, agent: String::new() };
        assert_eq!(code(&Command::Hello(hello)), Ok(()));
    }

    #[test]
    fn a_rename_needs_the_right_to_read_what_it_moves() {
        let below = vec![(path("in"), vec![Access::Write, Access::Delete])];
        let rights = Rights::new(&Rights::ALL, below);
        let mv = |from: &str, to: &str| {
            let mv = Mv { from: path(from), to: path(to), replace: Replace::Always };
            Policy::default().permit_client(&Command::Mv(mv), Some(&rights)).is_ok()
        };
        assert!(mv("a", "b"));
        assert!(!mv("in/a", "b"));
        assert!(mv("a", "in/a"));
    }

    #[test]
    fn a_tree_needs_the_right_to_list_all_of_it_and_a_link_rights_that_are_the_same_everywhere() {
        let rights = Rights::new(&Rights::ALL, vec![(path("in"), vec![Access::Write])]);
        let code = |command: &Command| {
            Policy::default().permit_client(command, Some(&rights)).err().map(|refusal| refusal.code)
        };
        for (top, refused) in [(".", true), ("in", true), ("in/a", true), ("out", false)] {
            assert_eq!(code(&tree(top)), refused.then_some(Code::Forbidden), "{top}");
        }
        for at in ["out/a", "in/a"] {
            let link = Symlink {
                path: path(at),
                target: LinkTarget(b"x".into()),
                replace: Replace::Always,
                backup: None,
            };
            assert_eq!(code(&Command::Symlink(link)), Some(Code::Forbidden), "{at}");
            let set = Set { path: path(at), mtime: None, mode: None, limited: false };
            assert_eq!(code(&Command::Set(set)), None, "{at}");
        }
    }

    #[test]
    fn a_tree_with_digests_needs_the_right_to_read_all_of_it_too() {
        let rights = Rights::new(&Rights::ALL, vec![(path("in"), vec![Access::List])]);
        for (top, hash, permitted) in
            [(".", false, true), (".", true, false), ("in/a", true, false), ("out", true, true)]
        {
            let Command::Tree(mut tree) = tree(top) else { unreachable!() };
            tree.hash = hash.then_some(Algorithm::Md5);
            let permit = Policy::default().permit_client(&Command::Tree(tree), Some(&rights));
            assert_eq!(permit.is_ok(), permitted, "{top} {hash}");
        }
    }

    #[test]
    fn the_root_and_partial_files_are_out_of_reach() {
        let policy = Policy::default();
        let rm = |p: &str| Command::Rm(Rm { path: path(p), recursive: true, backup: None });
        check(policy, &rm("a"), None);
        check(policy, &rm("."), Some("the served root itself stays where it is"));
        check(policy, &rm("a/.ftpish-0123456789abcdef"), Some("this name is kept for partial files"));
        check(policy, &rm(".ftpish-0123456789abcdeF"), None);
        check(policy, &rm(".ftpish-config"), None);
    }
}
