//! What holds for any bytes: paths cannot escape, and what is sent is what arrives.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

mod pipe;

use ftpish_protocol::message::{Command, DfArgs, Envelope, ReplyEnvelope, Request, Stat};
use ftpish_protocol::*;
use pipe::{Pieces, Pipe};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Enough to meet every rule many times, and well under a second. Nothing is written beside the sources.
fn config() -> Config {
    Config { cases: 300, failure_persistence: None, ..Config::default() }
}

/// Bytes in which what matters to paths is frequent.
fn path_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"/".to_vec()),
        Just(b".".to_vec()),
        Just(b"..".to_vec()),
        Just(b"a".to_vec()),
        Just(b"\0".to_vec()),
        Just(vec![b'n'; MAX_NAME]),
        vec(any::<u8>(), 0..4),
    ];
    vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// Words that requests are made of, in any order.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let words = concat!(
        r#"{ { } } [ ] , , : "id": 1 -1 0.5 null true " \ "cmd": "stat" "put" "path": "a" {"b64":"YQ=="} "#,
        r#""digest": "md5" "mtime":[0,0] {"id":1,"cmd":"stat","path": ".."} "a/b"}"#
    );
    let words: Vec<&str> = words.split(' ').collect();
    let word = prop_oneof![
        9 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(word, 0..12).prop_map(|words| words.concat())
}

/// What bodies are made of, in any order.
fn chunk_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(vec![0, 0, 0, 1, b'x']),
        Just(vec![0, 0, 0, 0]),
        Just(vec![0xff; 4]),
        Just([&[0, 0, 0, 39][..], br#"{"error":{"code":"io","message":"why"}}"#].concat()),
        vec(any::<u8>(), 0..6),
    ];
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// Walks `path` as an operating system does, and checks that it never stands above where it began.
fn assert_stays_inside(path: &RemotePath) {
    let bytes = path.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= MAX_PATH && !bytes.starts_with(b"/") && !bytes.contains(&0));
    for part in bytes.split(|b| *b == b'/') {
        assert!(part != b".." && !part.is_empty() && part.len() <= MAX_NAME, "{path}");
        assert!(part != b"." || path.is_root(), "{path}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_path_that_parses_stays_inside_and_survives_the_wire(bytes in path_like()) {
        if let Ok(path) = RemotePath::parse(&bytes) {
            assert_stays_inside(&path);
            prop_assert_eq!(path.as_bytes(), &bytes);
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<RemotePath>(&json).unwrap(), path);
        }
    }

    #[test]
    fn whatever_a_person_types_stays_inside(base in path_like(), typed in path_like()) {
        let base = RemotePath::root().resolve(&base).unwrap_or(RemotePath::root());
        if let Ok(path) = base.resolve(&typed) {
            assert_stays_inside(&path);
            prop_assert_eq!(RemotePath::root().resolve(path.as_bytes()).unwrap(), path);
        }
    }

    #[test]
    fn whatever_a_message_holds_it_is_taken_or_refused(json in json_like()) {
        let length = u32::try_from(json.len()).unwrap();
        let mut connection = Connection::new(Pipe::new(&[&length.to_be_bytes()[..], &json].concat(), 3));
        let header = connection.receive().unwrap().unwrap();
        let _ = header.decode::<ReplyEnvelope>();
        let _ = header.decode::<Stat>();
        if let Ok(command) = Command::decode(&header) {
            prop_assert!(header.decode::<serde_json::Value>().unwrap().is_object(), "{command:?}");
        }
    }

    #[test]
    fn whatever_a_body_holds_it_is_drained_or_ends_the_connection(bytes in chunk_like()) {
        let mut connection = Connection::new(Pipe::new(&bytes, 3));
        connection.begin_body();
        let drained = connection.drain_body();
        prop_assert!(drained.is_err() || !connection.in_body());
    }

    #[test]
    fn messages_and_bodies_arrive_as_they_were_sent(
        sent in vec((any::<u64>(), vec(vec(any::<u8>(), 1..50), 0..5)), 0..6),
        pace in 1_usize..100,
    ) {
        let command = Command::Df(DfArgs { path: RemotePath::root() });
        let mut connection = Connection::new(Pipe::silent());
        for (id, pieces) in &sent {
            connection.send(&Request { envelope: Envelope { id: *id, body: true }, command: &command }).unwrap();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let source = &mut Pieces { pieces: &pieces, then: None };
            send_body(&mut connection, source, Algorithm::Blake3, &mut |_, _| true).unwrap();
        }
        connection.flush().unwrap();
        let mut connection = Connection::new(Pipe::new(&connection.stream().written, pace));
        for (id, pieces) in &sent {
            let header = connection.receive().unwrap().unwrap();
            prop_assert_eq!(header.decode::<Envelope>().unwrap().id, *id);
            prop_assert_eq!(Command::decode(&header).unwrap(), command.clone());
            connection.begin_body();
            let (mut arrived, whole) = (vec![], pieces.concat());
            let length = Some(whole.len() as u64);
            let received =
                receive_body(&mut connection, &mut arrived, Algorithm::Blake3, length, &mut |_, _| true);
            prop_assert_eq!(received.unwrap().digest(), Algorithm::Blake3.digest(&whole));
            prop_assert_eq!(arrived, whole);
        }
        prop_assert!(connection.receive().unwrap().is_none());
    }
}
