//! Where a path really leads. Links inside a root are followed by the kernel, below the root's handle; but whoever may do one
//! thing here and another there has rights for where a file is, and not for what it is called. For such a client, a path is
//! resolved first, the right to the result is asked for, and then no link is followed any more: the kernel walks the very
//! names that were asked about, or refuses.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use ftpish_protocol::{Code, Refusal, RemotePath};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::dir::os_path;
use crate::root::Root;
use crate::without_links::{leads_out, open_without_links, refuse_link};
use crate::{Outcome, refuse};

/// How many links one path may lead through: as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// How often resolving one path may start at the root again: once a link, and a few times for `a/../b` in their targets.
const MOST_OPENED: usize = 2 * MOST_LINKS;

/// What becomes of a link that is the last of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is followed.
    Followed,
    /// It is what is meant.
    Kept,
}

impl Root {
    /// The path without links that `path` leads to now; what does not exist is left as it is.
    pub fn real_path(&self, path: &RemotePath, last: Last) -> Outcome<RemotePath> {
        let looked_at = match last {
            Last::Followed => Some(path.clone()),
            Last::Kept => path.parent(),
        };
        // One call tells, in nearly all cases, that there is no link. What else is wrong, the command finds, too.
        match looked_at.map(|path| open_without_links(self.dir(), os_path(&path), OFlags::PATH)) {
            Some(Err(Errno::LOOP)) => self.resolve(path, last),
            _ => Ok(path.clone()),
        }
    }

    fn resolve(&self, path: &RemotePath, last: Last) -> Outcome<RemotePath> {
        let mut todo: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (Position::new(self), 0);
        while let Some(component) = todo.pop_front() {
            match &component[..] {
                b"" | b"." => continue,
                b".." => {
                    at.up()?;
                    continue;
                }
                _ => {}
            }
            let target = match last {
                Last::Kept if todo.is_empty() => None,
                _ => at.link(&component)?,
            };
            let Some(target) = target else {
                at.down(&component)?;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(refuse(Errno::LOOP));
            }
            if target.starts_with(b"/") {
                return Err(leads_out());
            }
            target.split(|byte| *byte == b'/').rev().for_each(|part| todo.push_front(part.to_vec()));
        }
        Ok(at.path)
    }
}

/// How far a path has been resolved. The directory stays open, so that the next step does not begin at the root again.
struct Position<'a> {
    root: &'a Root,
    path: RemotePath,
    dir: Place,
    /// How often the directory was opened from the root.
    opened: usize,
}

enum Place {
    Open(File),
    /// Not opened yet, since the way led up. The parent is not opened by `..`: the directory may have been moved.
    Unopened,
    /// Nothing is there, so no link is below.
    Missing,
}

impl<'a> Position<'a> {
    fn new(root: &'a Root) -> Self {
        Self { root, path: RemotePath::root(), dir: Place::Unopened, opened: 0 }
    }

    fn up(&mut self) -> Outcome<()> {
        self.path = self.path.parent().ok_or_else(leads_out)?;
        self.dir = Place::Unopened;
        Ok(())
    }

    fn down(&mut self, name: &[u8]) -> Outcome<()> {
        self.path = self.path.resolve(name).map_err(bad_path)?;
        if let Place::Open(dir) = &self.dir {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.dir = match rustix::fs::openat(dir, OsStr::from_bytes(name), flags, Mode::empty()) {
                Ok(dir) => Place::Open(dir.into()),
                Err(Errno::NOENT | Errno::NOTDIR) => Place::Missing,
                Err(error) => return Err(refuse_link(error)),
            };
        }
        Ok(())
    }

    /// What the link holds that has this name; none where it is no link, or nothing.
    fn link(&mut self, name: &[u8]) -> Outcome<Option<Vec<u8>>> {
        if let Place::Unopened = self.dir {
            self.opened += 1;
            if self.opened > MOST_OPENED {
                return Err(refuse(Errno::LOOP));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            self.dir = match open_without_links(self.root.dir(), os_path(&self.path), flags) {
                Ok(dir) => Place::Open(dir),
                Err(Errno::NOENT | Errno::NOTDIR) => Place::Missing,
                Err(error) => return Err(refuse_link(error)),
            };
        }
        let Place::Open(dir) = &self.dir else { return Ok(None) };
        match rustix::fs::readlinkat(dir, OsStr::from_bytes(name), Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(refuse(error)),
        }
    }
}

fn bad_path(error: ftpish_protocol::PathError) -> Refusal {
    Refusal::new(Code::BadPath, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{Permissions, met_a_link};

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for made in ["in/deep", "ro"] {
            std::fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        std::fs::write(dir.path().join("in/file"), "secret").unwrap();
        for (target, link) in [
            ("../in", "ro/inc"),
            ("inc/file", "ro/file"),
            ("ro/inc", "chain"),
            ("/etc", "absolute"),
            ("../..", "ro/out"),
            ("loop", "loop"),
            ("missing", "dangling"),
            ("in/deep/..", "ro/dots"),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        let root = Root::open(dir.path(), false).unwrap();
        (dir, root)
    }

    #[test]
    fn a_path_is_what_it_leads_to() {
        let (_dir, root) = root();
        let real = |path: &str, last| {
            root.real_path(&path.parse().unwrap(), last).map(|path| path.to_string()).map_err(|r| r.code)
        };
        for (path, followed, kept) in [
            (".", ".", "."),
            ("in/file", "in/file", "in/file"),
            ("ro/inc", "in", "ro/inc"),
            ("ro/inc/file", "in/file", "in/file"),
            ("ro/file", "in/file", "ro/file"),
            ("chain/deep/new", "in/deep/new", "in/deep/new"),
            ("chain/missing/new", "in/missing/new", "in/missing/new"),
            ("dangling", "missing", "dangling"),
            ("in/file/below", "in/file/below", "in/file/below"),
        ] {
            assert_eq!(real(path, Last::Followed).as_deref(), Ok(followed), "{path}");
            assert_eq!(real(path, Last::Kept).as_deref(), Ok(kept), "{path}");
        }
        for path in ["absolute/passwd", "ro/out/x", "loop/x"] {
            assert!(real(path, Last::Followed).is_err() && real(path, Last::Kept).is_err(), "{path}");
        }
    }

    #[test]
    fn the_longest_path_is_resolved_and_a_link_that_leads_back_and_forth_without_end_is_not() {
        let (dir, root) = root();
        let deep = "in/../".repeat(MOST_OPENED + 1);
        symlink(deep.trim_end_matches('/'), dir.path().join("restless")).unwrap();
        let path: RemotePath = format!("ro/inc{}", "/x".repeat(2000)).parse().unwrap();
        let real = root.real_path(&path, Last::Followed).unwrap();
        assert_eq!(real.to_string(), format!("in{}", "/x".repeat(2000)));
        assert!(root.real_path(&"restless/in".parse().unwrap(), Last::Followed).is_err());
    }

    #[test]
    fn a_root_without_links_follows_none_in_any_operation() {
        let (_dir, root) = root();
        let strict = root.without_links();
        let path = |text: &str| text.parse::<RemotePath>().unwrap();
        let met = |outcome: Outcome<()>| outcome.err().is_some_and(|refusal| met_a_link(&refusal));
        assert!(strict.open_file(&path("in/file")).is_ok() && strict.list(&path("in")).is_ok());
        for at in ["ro/inc/file", "chain/file"] {
            let at = &path(at);
            assert!(root.stat(at).is_ok());
            assert!(met(strict.stat(at).map(drop)), "{at}");
            assert!(met(strict.identity(at).map(drop)));
            assert!(met(strict.open_file(at).map(drop)));
            assert!(met(strict.stage(at, Default::default(), None).map(drop)));
            assert!(met(strict.try_resume(at, Default::default(), None).map(drop)));
            assert!(met(strict.set(at, None, Permissions::Usual).map(drop)));
            assert!(met(strict.remove(at, false)));
            assert!(met(strict.rename(at, &path("in/other"), Default::default())));
            assert!(met(strict.rename(&path("in/file"), at, Default::default())));
            assert!(met(strict.make_dir(at, false, None)) && strict.make_dir(at, true, None).is_err());
        }
        for at in ["ro/inc", "chain"] {
            assert!(met(strict.list(&path(at)).map(drop)), "{at}");
            assert!(met(strict.walk(&path(at), crate::Links::Tell, None).map(drop)));
            assert!(met(strict.space(&path(at)).map(drop)));
            assert!(strict.stat(&path(at)).is_ok(), "a link itself can be looked at");
        }
        assert!(met(strict.open_file(&path("ro/file")).map(drop)));
        assert!(root.stat(&path("in/file")).is_ok(), "nothing has happened");
    }
}
