//! Local names that are no place for a file: nothing there is ever replaced.

use std::os::unix::fs::symlink;
use std::path::Path;

use ftpish_client::{Client, Download, Error, Progress};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::downloads::download;
use crate::script::{Script, body, contents};

/// A server that has one small file, as often as it is asked for it.
fn script() -> Script {
    Script::run(|peer| {
        while let Some(request) = peer.next() {
            if request["cmd"] == "get" {
                let length = if request["length"] == 0 { 0 } else { 3 };
                peer.grant(&request, crate::script::file(length));
                peer.send(&body(&b"new"[..length as usize]));
            } else {
                peer.grant(&request, serde_json::json!({"total": 3, "free": 2, "available": 1}));
            }
        }
    })
}

/// Downloads to `name` in a directory that `furnish` has furnished: refused with `code`, and nothing has changed.
#[track_caller]
fn check(furnish: impl FnOnce(&Path), name: &str, code: Code) {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path());
    let before = contents(dir.path());
    let (script, to) = (script(), dir.path().join(name));
    let mut client = script.client();
    let error = download(&mut client, &to).unwrap_err();
    let Error::Local { refusal, .. } = &error else { panic!("{error:?}") };
    assert_eq!(refusal.code, code, "{error}");
    assert_eq!(contents(dir.path()), before);
    assert!(client.is_usable(), "nothing was asked of the server");
    client.df(&"a".parse().unwrap()).unwrap();
}

#[test]
fn a_directory_is_not_replaced_by_a_file() {
    check(|dir| std::fs::create_dir(dir.join("dir")).unwrap(), "dir", Code::IsDirectory);
    check(|_| {}, ".", Code::IsDirectory);
}

#[test]
fn a_fifo_a_socket_and_a_device_are_not_replaced() {
    check(
        |dir| mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap(),
        "fifo",
        Code::NotRegular,
    );
    let bind = |dir: &Path| drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
    check(bind, "socket", Code::NotRegular);
    let null = rustix::fs::makedev(1, 3);
    let scratch = tempfile::tempdir().unwrap();
    match mknodat(CWD, scratch.path().join("null"), FileType::CharacterDevice, Mode::RWXU, null) {
        Ok(()) => {
            let make = |dir: &Path| {
                mknodat(CWD, dir.join("null"), FileType::CharacterDevice, Mode::RWXU, null).unwrap();
            };
            check(make, "null", Code::NotRegular);
        }
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "SKIPPED: a device is not replaced: {error}");
        }
    }
}

#[test]
fn a_link_to_a_device_or_a_fifo_is_not_replaced() {
    check(|dir| symlink("/dev/null", dir.join("link")).unwrap(), "link", Code::NotRegular);
    let to_fifo = |dir: &Path| {
        mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        symlink("fifo", dir.join("link")).unwrap();
    };
    check(to_fifo, "link", Code::NotRegular);
    let through_another = |dir: &Path| {
        symlink("/dev/null", dir.join("null")).unwrap();
        symlink("null", dir.join("link")).unwrap();
    };
    check(through_another, "link", Code::NotRegular);
}

#[test]
fn a_name_that_is_none_is_refused() {
    check(|_| {}, "..", Code::BadPath);
    check(|dir| std::fs::create_dir(dir.join("dir")).unwrap(), "dir/..", Code::BadPath);
    check(|_| {}, "missing/new", Code::NotFound);
    check(|dir| std::fs::write(dir.join("file"), "").unwrap(), "file/new", Code::NotDirectory);
}

#[test]
fn a_link_to_a_file_is_replaced_and_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "old").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    let script = script();
    download(&mut script.client(), &dir.path().join("link")).unwrap();
    let found = contents(dir.path());
    assert_eq!(
        found,
        [("file", "old"), ("link", "new")].map(|(name, what)| (name.to_owned(), what.to_owned()))
    );
}

#[test]
fn what_may_not_be_replaced_is_kept_and_the_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("file");
    std::fs::write(&to, "old").unwrap();
    let script = script();
    let mut client = script.client();
    let fetch = |client: &mut Client, replace| {
        let from = "a".parse().unwrap();
        let download = Download { digest: Algorithm::Md5, replace, sync: false, ..Download::new(from, &to) };
        client.download(&download, &Progress::default())
    };
    for (replace, code) in [(Replace::Never, Code::Exists), (Replace::Older, Code::NotNewer)] {
        let error = fetch(&mut client, replace).unwrap_err();
        assert!(matches!(&error, Error::Local { refusal, .. } if refusal.code == code), "{error}");
        assert!(client.is_usable());
        assert_eq!(contents(dir.path()), [("file".to_owned(), "old".to_owned())]);
    }
    std::fs::File::options().write(true).open(&to).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fetch(&mut client, Replace::Older).unwrap();
    assert_eq!(contents(dir.path()), [("file".to_owned(), "new".to_owned())]);
    std::fs::remove_file(&to).unwrap();
    for replace in [Replace::Never, Replace::Always] {
        fetch(&mut client, replace).unwrap();
    }
    std::fs::remove_file(&to).unwrap();
    fetch(&mut client, Replace::Older).unwrap();
    assert_eq!(
        std::fs::metadata(&to).unwrap().modified().unwrap(),
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)
    );
}
