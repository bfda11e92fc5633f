//! Stages on a real file system.

use std::fs;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use ftpish_protocol::message::{Mode, Replace, Time};
use ftpish_protocol::{Algorithm, Code, Connection, Name, Verified, receive_body, send_body};

use crate::partial::partial_of;
use crate::{Outcome, Permissions, Root};

/// Proof for `bytes`, made as a transfer makes it: there is no other way.
fn verified(bytes: &[u8], sink: &mut impl Write) -> Verified {
    let mut sender = Connection::new(Cursor::new(Vec::new()));
    send_body(&mut sender, &mut &bytes[..], Algorithm::Md5, &mut |_, _| true).unwrap();
    sender.flush().unwrap();
    let mut wire = std::mem::take(sender.stream());
    wire.set_position(0);
    let mut receiver = Connection::new(wire);
    receiver.begin_body();
    receive_body(&mut receiver, sink, Algorithm::Md5, None, &mut |_, _| true).unwrap()
}

fn scratch() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path(), true).unwrap();
    (dir, root)
}

fn store(root: &Root, name: &str, replace: Replace, mtime: i64, bytes: &[u8]) -> Outcome<()> {
    let mtime = Some(Time { seconds: mtime, nanoseconds: 5 });
    let mut stage = root.stage(&name.parse().unwrap(), replace, mtime)?;
    let proof = verified(bytes, &mut stage);
    stage.commit(proof, Permissions::Exact(Mode::from_bits(0o640))).map(|unset| assert!(unset.is_none()))
}

#[test]
fn a_committed_file_has_its_bytes_time_and_mode_and_nothing_is_left_beside_it() {
    let (dir, root) = scratch();
    fs::write(dir.path().join("a"), "old").unwrap();
    store(&root, "a", Replace::Always, 1_000_000_000, b"new").unwrap();
    let metadata = fs::metadata(dir.path().join("a")).unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn until_the_commit_the_target_keeps_what_it_had() {
    let (dir, root) = scratch();
    fs::write(dir.path().join("a"), "old").unwrap();
    let mut stage = root.stage(&"a".parse().unwrap(), Replace::Always, None).unwrap();
    stage.write_all(b"half").unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
    stage.abandon();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn proof_of_other_bytes_commits_nothing() {
    let (dir, root) = scratch();
    let mut stage = root.stage(&"a".parse().unwrap(), Replace::Always, None).unwrap();
    stage.write_all(b"these").unwrap();
    let other = verified(b"those bytes", &mut io::sink());
    assert_eq!(stage.commit(other, Permissions::Usual).unwrap_err().code, Code::Internal);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn replacing_is_as_asked() {
    let (dir, root) = scratch();
    let code = |outcome: Outcome<()>| outcome.err().map(|refusal| refusal.code);
    assert_eq!(code(store(&root, "a", Replace::Never, 100, b"1")), None);
    assert_eq!(code(store(&root, "a", Replace::Never, 100, b"2")), Some(Code::Exists));
    assert_eq!(code(store(&root, "a", Replace::Older, 100, b"3")), Some(Code::NotNewer));
    assert_eq!(code(store(&root, "a", Replace::Older, 101, b"4")), None);
    fs::create_dir(dir.path().join("d")).unwrap();
    assert_eq!(code(store(&root, "d", Replace::Always, 100, b"5")), Some(Code::IsDirectory));
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"4");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_earlier_try_is_found_again_and_a_second_writer_does_not_mix_in() {
    let (dir, root) = scratch();
    let resume = || root.resume(&"a".parse().unwrap(), Replace::Always, None, Duration::ZERO).unwrap();
    let mut first = resume();
    first.write_all(&vec![7; 2 << 20]).unwrap();
    let mut second = resume();
    assert_eq!(second.length(), 0, "another file: the first is locked");
    second.write_all(b"other").unwrap();
    second.abandon();
    first.abandon();
    drop(first);
    assert_eq!(resume().length(), 2 << 20);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    resume().remove();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_lies_under_the_partial_name_and_is_not_ours_is_left_alone() {
    let (dir, root) = scratch();
    fs::write(dir.path().join("precious"), "precious").unwrap();
    let partial = dir.path().join(partial_of(&Name::parse(b"a").unwrap()));
    std::os::unix::fs::symlink("precious", &partial).unwrap();
    store(&root, "b", Replace::Always, 1, b"1").unwrap();
    let mut stage = root.resume(&"a".parse().unwrap(), Replace::Always, None, Duration::ZERO).unwrap();
    stage.write_all(b"data").unwrap();
    stage.abandon();
    fs::remove_file(&partial).unwrap();
    fs::hard_link(dir.path().join("precious"), &partial).unwrap();
    let mut stage = root.resume(&"a".parse().unwrap(), Replace::Always, None, Duration::ZERO).unwrap();
    stage.write_all(b"data").unwrap();
    stage.abandon();
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious");
}

#[test]
fn holes_stay_holes() {
    let (dir, root) = scratch();
    let mut bytes = vec![0; 8 << 20];
    bytes[3 << 20] = 1;
    let mut stage = root.resume(&"a".parse().unwrap(), Replace::Always, None, Duration::ZERO).unwrap();
    let proof = verified(&bytes, &mut stage);
    stage.commit(proof, Permissions::Usual).unwrap();
    assert!(fs::read(dir.path().join("a")).unwrap() == bytes);
    assert!(fs::metadata(dir.path().join("a")).unwrap().blocks() * 512 <= 1 << 20);
}

#[test]
fn a_target_that_appears_after_the_stage_began_is_not_replaced_where_none_may_be() {
    let (dir, root) = scratch();
    let mut stage = root.stage(&"a".parse().unwrap(), Replace::Never, None).unwrap();
    let proof = verified(b"late", &mut stage);
    fs::write(dir.path().join("a"), "early").unwrap();
    assert_eq!(stage.commit(proof, Permissions::Usual).unwrap_err().code, Code::Exists);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"early");
}
