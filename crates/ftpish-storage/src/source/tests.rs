//! Tests of what is promised there.

use std::io::Read as _;

use ftpish_protocol::{Algorithm, Digested as _};

use super::*;

fn scratch(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

#[test]
fn ranges_are_read_exactly_and_must_lie_within_the_file() {
    let (_dir, path) = scratch(b"0123456789");
    let read = |offset, length| {
        let mut bytes = String::new();
        SourceFile::open(&path).unwrap().range(offset, length)?.read_to_string(&mut bytes).unwrap();
        Ok::<_, Refusal>(bytes)
    };
    assert_eq!(read(0, 10).unwrap(), "0123456789");
    assert_eq!(read(3, 4).unwrap(), "3456");
    assert_eq!(read(10, 0).unwrap(), "");
    for (offset, length) in [(0, 11), (11, 0), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(read(offset, length).unwrap_err().code, Code::BadRange);
    }
}

#[test]
fn files_with_holes_are_read_as_they_look() {
    let (_dir, path) = scratch(b"");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let mut whole = vec![0; 5 << 20];
    for (at, bytes) in [(0, &b"begins"[..]), (1 << 20, b"in the middle"), ((3 << 20) - 2, b"over a page")] {
        file.write_at(bytes, at as u64).unwrap();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
    }
    file.set_len(whole.len() as u64).unwrap();
    let source = || SourceFile::open(&path).unwrap();
    assert!(source().is_sparse());
    let mut read = Vec::new();
    source().reader().read_to_end(&mut read).unwrap();
    assert!(read == whole);
    for (offset, length) in
        [(0, 10), (5, 1 << 20), ((1 << 20) + 5, 2 << 20), (4 << 20, 1 << 20), (5 << 20, 0)]
    {
        let mut read = Vec::new();
        source().range(offset as u64, length as u64).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == whole[offset..offset + length], "{offset} {length}");
    }
    let mut reader = source().reader();
    file.set_len(1 << 20).unwrap();
    assert_eq!(Refusal::from_io(&reader.read_to_end(&mut Vec::new()).unwrap_err()).code, Code::Changed);
}

#[test]
fn what_is_made_when_it_is_read_has_the_size_that_it_has() {
    for path in ["/proc/version", "/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let Ok(content) = std::fs::read(path) else { continue };
        let source = || SourceFile::open(Path::new(path)).unwrap();
        assert_ne!(source().metadata.len(), content.len() as u64, "{path}");
        let mut read = Vec::new();
        source().reader().read_to_end(&mut read).unwrap();
        assert_eq!((read.len() as u64, source().is_sparse()), (source().size(), false));
        if path != "/proc/self/status" {
            assert_eq!(read, content, "{path}");
            let mut end = Vec::new();
            source().ranges(vec![0..3, 5..source().size()]).unwrap().read_to_end(&mut end).unwrap();
            assert_eq!(end, [&content[..3], &content[5..]].concat());
            let mut middle = Vec::new();
            source().range(2, 4).unwrap().read_to_end(&mut middle).unwrap();
            assert_eq!(middle, content[2..6]);
            let (_dir, copy) = scratch(b"");
            let mut out = File::options().write(true).open(&copy).unwrap();
            assert_eq!(source().copy_to(&mut out).unwrap(), content.len() as u64);
            assert_eq!(std::fs::read(copy).unwrap(), content);
        }
    }
}

#[test]
fn a_file_that_shrinks_or_grows_while_it_is_read_is_told() {
    for change in [b"short".as_slice(), b"longer than it was before"] {
        let (_dir, path) = scratch(b"0123456789");
        let mut reader = SourceFile::open(&path).unwrap().reader();
        std::fs::write(&path, change).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(Refusal::from_io(&error).code, Code::Changed);
    }
}

#[test]
fn special_files_are_refused_at_once() {
    let (dir, _) = scratch(b"");
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, code) in [
        (fifo.as_path(), Code::NotRegular),
        (socket.as_path(), Code::NotRegular),
        (Path::new("/dev/zero"), Code::NotRegular),
        (dir.path(), Code::IsDirectory),
        (&dir.path().join("missing"), Code::NotFound),
    ] {
        assert_eq!(SourceFile::open(path).unwrap_err().code, code, "{path:?}");
    }
}

#[test]
fn a_file_may_grow_while_it_is_digested_and_not_change_otherwise() {
    use std::io::Seek as _;

    let read_while = |change: &dyn Fn(&mut File)| {
        let (_dir, path) = scratch(b"0123456789");
        let mut reader = SourceFile::open(&path).unwrap().range(2, 6).unwrap().digesting(Algorithm::Md5);
        let mut bytes = vec![0; 6];
        reader.read_exact(&mut bytes).unwrap();
        change(&mut File::options().write(true).open(&path).unwrap());
        let ended = reader.read(&mut [0; 9]).map_err(|error| Refusal::from_io(&error).code);
        assert_eq!(reader.digest(), Algorithm::Md5.digest(b"234567"));
        ended
    };
    let write = |file: &mut File, at: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    assert_eq!(read_while(&|_| {}), Ok(0));
    assert_eq!(read_while(&|file| write(file, 10, b"more")), Ok(0));
    // Outside of the range.
    assert_eq!(read_while(&|file| write(file, 0, b"?123456789more")), Ok(0));
    for changed in [
        read_while(&|file| write(file, 0, b"01?3456789more")),
        read_while(&|file| write(file, 7, b"?89more")),
        read_while(&|file| file.set_len(9).unwrap()),
        read_while(&|file| file.set_len(3).unwrap()),
    ] {
        assert_eq!(changed, Err(Code::Changed));
    }
}
