//! What the process gives up before it meets a peer: core dumps, root's rights, and every file but those that it
//! serves. What the kernel grants to no system call, no defect of ours can give away.

use std::io;
use std::path::Path;

use ftpish_protocol::text::escape;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::exit::Exit;
use crate::failure::Failure;

/// Keeps what is in memory out of core dumps, and other processes of the same user from reading it: keys of
/// connections, and passwords while they are typed.
pub fn forbid_core_dumps() {
    // It can only fail where the kernel has no such thing.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Who the server is to be once its ports are bound.
#[derive(Debug)]
pub struct Account {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// Looks a user up, groups included: while the files that tell of them can still be read.
    pub fn find(name: &str) -> Result<Self, Failure> {
        let tried = format!("cannot become `{}`", escape(name.as_bytes()));
        let refused = |why: &dyn std::fmt::Display| Failure::new(Exit::Denied, format!("{tried}: {why}"));
        let found = User::from_name(name).map_err(|error| refused(&error))?;
        let user = found.ok_or_else(|| Failure::usage(format!("{tried}: there is no such user")))?;
        if user.uid.is_root() {
            return Err(Failure::usage(format!("{tried}: that would drop no privileges")));
        }
        let c_name = std::ffi::CString::new(name).map_err(|error| refused(&error))?;
        let groups = getgrouplist(&c_name, user.gid).map_err(|error| refused(&error))?;
        Ok(Self { user: user.uid, group: user.gid, groups })
    }

    /// Becomes this user, for good. Called before there are other threads; the C library would tell them, too.
    pub fn assume(&self) -> Result<(), Failure> {
        self.try_assume().map_err(|error| {
            Failure::new(Exit::Denied, format!("cannot become user {}: {error}", self.user))
                .hint("only root can; started as that user, the server needs no --user")
        })?;
        // The kernel has just decided anew whether this process may be dumped.
        forbid_core_dumps();
        Ok(())
    }

    fn try_assume(&self) -> io::Result<()> {
        let (user, group) = (self.user, self.group);
        if nix::unistd::getresuid()?.real == user && !Uid::effective().is_root() {
            return Ok(());
        }
        // Groups first: who is no longer root cannot give them up.
        setgroups(&self.groups)?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
        let root = Uid::from_raw(0);
        match setresuid(root, root, root) {
            Err(_) => Ok(()),
            Ok(()) => Err(io::Error::other("the way back to root stayed open")),
        }
    }
}

/// Which files the serving process may still reach.
pub struct Reach<'a> {
    /// The served directories.
    pub roots: Vec<&'a Path>,
    /// Whether what is served may be changed.
    pub writable: bool,
    /// Where keys and the like are kept; need not exist.
    pub state: &'a Path,
    /// The Unix sockets that are removed at the end.
    pub sockets: Vec<&'a Path>,
}

/// Takes from this thread, and from those it will start, all other files, programs, and connections of their own
/// making. `false` where the kernel has no Landlock, or one so old that it would forbid to rename between
/// directories (before Linux 5.19).
#[cfg(target_os = "linux")]
pub fn confine(reach: &Reach<'_>) -> io::Result<bool> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    };
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let Ok(ruleset) = ruleset.handle_access(AccessFs::Refer) else { return Ok(false) };
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let mut allow = |path: &Path, access| {
        let beneath = PathBeneath::new(PathFd::new(path).map_err(io::Error::other)?, access);
        (&mut ruleset).add_rule(beneath).map(drop).map_err(io::Error::other)
    };
    for root in &reach.roots {
        allow(root, if reach.writable { read | write } else { read })?;
    }
    if reach.state.is_dir() {
        allow(reach.state, read | write)?;
    }
    for socket in &reach.sockets {
        let dir = socket.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        allow(dir, AccessFs::RemoveFile.into())?;
    }
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Elsewhere there is no Landlock.
#[cfg(not(target_os = "linux"))]
pub fn confine(_: &Reach<'_>) -> io::Result<bool> {
    Ok(false)
}

/// Gives up what a server never needs: core files, and new rights through programs it might be tricked to run.
pub fn harden() -> io::Result<()> {
    forbid_core_dumps();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_dumps_are_off() {
        forbid_core_dumps();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn nobody_becomes_root_or_somebody_unknown() {
        for name in ["root", "no such user", "", "a\0b"] {
            assert!(Account::find(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_confined_thread_reaches_what_it_serves_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [root, apart, state, outside] =
            ["root", "apart", "state", "outside"].map(|name| dir.path().join(name));
        for dir in [&root, &apart, &state, &outside] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("file"), "").unwrap();
        }
        // Only a thread of its own is confined, and the other tests are not.
        let confined = std::thread::spawn(move || {
            let reach = Reach { roots: vec![&root, &apart], writable: false, state: &state, sockets: vec![] };
            if !confine(&reach).unwrap() {
                use std::io::Write as _;
                let _ = writeln!(io::stderr(), "SKIPPED: this kernel has no Landlock");
                return;
            }
            assert!(std::fs::read(root.join("file")).is_ok() && std::fs::read(apart.join("file")).is_ok());
            assert!(std::fs::write(root.join("new"), "").is_err());
            assert!(std::fs::write(state.join("new"), "").is_ok());
            assert!(std::fs::read(outside.join("file")).is_err());
            assert!(std::fs::read_dir(&outside).is_err());
            assert!(std::fs::write(outside.join("new"), "").is_err());
            assert!(std::process::Command::new("true").status().is_err());
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
        });
        confined.join().unwrap();
    }
}
