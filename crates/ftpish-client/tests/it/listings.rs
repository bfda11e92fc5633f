//! Listings from servers that lie: no name leaves the directory it is listed in, and none is missing unnoticed.

use ftpish_client::{Client, Error};
use ftpish_protocol::RemotePath;
use serde_json::{Value, json};

use crate::script::{Peer, Script, end, framed, trailer};

/// Lists; gives the names that were told, and how it ended.
fn list(client: &mut Client) -> (Vec<String>, Result<u64, Error>) {
    let mut names = vec![];
    let listed = client.ls(&RemotePath::root(), &mut |entry| {
        names.push(entry.name.unwrap().to_string());
        Ok(())
    });
    (names, listed)
}

fn entry(name: impl Into<Value>) -> String {
    let name: Value = name.into();
    format!("{}\n", json!({"name": name, "kind": "file", "size": 1, "mtime": [0, 0], "mode": "644"}))
}

fn begin(peer: &mut Peer) {
    let request = peer.request();
    assert_eq!(request["cmd"], "ls");
    peer.grant(&request, json!({"body": true}));
}

/// A listing of these lines, which count as so many entries.
fn listing(lines: &str, entries: Value) -> Vec<u8> {
    let mut trailer = trailer(lines.as_bytes());
    if !entries.is_null() {
        trailer["entries"] = entries;
    }
    [framed(lines.as_bytes()), end(&trailer)].concat()
}

/// Lists from a server that sends this, and gives what was told before the end.
#[track_caller]
fn check(bytes: Vec<u8>, expected: fn(&Error) -> bool) -> Vec<String> {
    let script = Script::run(move |peer| {
        begin(peer);
        peer.send(&bytes);
    });
    let (names, listed) = list(&mut script.client());
    let error = listed.unwrap_err();
    assert!(expected(&error), "{error:?}");
    names
}

fn is_protocol(error: &Error) -> bool {
    matches!(error, Error::Protocol(_))
}

#[test]
fn an_honest_listing_is_told_as_it_comes() {
    let script = Script::run(|peer| {
        begin(peer);
        peer.send(&listing(&(entry("a") + &entry(json!({"b64": "/w=="}))), json!(2)));
    });
    let mut client = script.client();
    let (names, listed) = list(&mut client);
    assert_eq!((names, listed.unwrap()), (vec!["a".to_owned(), "\\xff".to_owned()], 2));
    assert!(client.is_usable());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for bad in ["..", ".", "", "/", "/etc/passwd", "../.bashrc", "a/b", "a/", "a\0", &"n".repeat(256)] {
        let names = check(listing(&(entry("good") + &entry(bad)), json!(2)), is_protocol);
        assert_eq!(names, ["good"], "{bad}");
    }
    for bad in [json!({"b64": "Li4="}), json!({"b64": "YS9i"}), json!({"b64": "?"}), json!(7), json!(null)] {
        check(listing(&entry(bad), json!(1)), is_protocol);
    }
}

#[test]
fn lines_that_are_no_entries_are_refused() {
    for bad in ["-rw-r--r-- 1 root\n", "\n", "{}\n", "[]\n", "null\n", "{\"name\":\"a\"}\n", "\u{fffd}\n"] {
        check(listing(bad, json!(1)), is_protocol);
    }
}

#[test]
fn a_line_without_end_is_refused_at_the_cap() {
    let script = Script::run(|peer| {
        begin(peer);
        while peer.try_send(&framed(&[b' '; 65536])).is_ok() {}
    });
    let mut client = script.client();
    let (names, listed) = list(&mut client);
    assert!(is_protocol(&listed.unwrap_err()));
    assert!(names.is_empty() && !client.is_usable());
}

#[test]
fn a_listing_that_is_not_whole_is_no_listing() {
    let two = entry("a") + &entry("b");
    let is_unverified = |error: &Error| matches!(error, Error::Unverified(_));
    check(listing(&two, json!(3)), is_unverified);
    check(listing(&two, json!(1)), is_unverified);
    check(listing(&two, json!(null)), is_unverified);
    check(listing(two.trim_end(), json!(2)), is_unverified);
    check(listing(two.trim_end(), json!(1)), is_unverified);
    let mut wrong = trailer(b"another");
    wrong["length"] = json!(two.len());
    wrong["entries"] = json!(2);
    let wrong = [framed(two.as_bytes()), end(&wrong)].concat();
    check(wrong, |error| matches!(error, Error::Mismatch { .. }));
    let script = Script::run(move |peer| {
        begin(peer);
        peer.send(&framed(two.as_bytes())[..100]);
        peer.close();
    });
    let (names, listed) = list(&mut script.client());
    assert!(matches!(listed, Err(Error::Connection(_))), "{listed:?}");
    assert!(names.len() < 2);
}

#[test]
fn whoever_lists_may_stop_an_endless_listing() {
    let script = Script::run(|peer| {
        begin(peer);
        while peer.try_send(&framed(entry("a").repeat(1000).as_bytes())).is_ok() {}
    });
    let mut client = script.client();
    let mut count = 0;
    let listed = client.ls(&RemotePath::root(), &mut |_| {
        count += 1;
        if count < 100_000 { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    });
    assert!(matches!(listed, Err(Error::Local { .. })), "{listed:?}");
    assert_eq!((count, client.is_usable()), (100_000, false));
}

#[test]
fn an_endless_listing_can_be_interrupted() {
    let script = Script::run(|peer| {
        begin(peer);
        while peer.try_send(&framed(entry("a").repeat(1000).as_bytes())).is_ok() {}
    });
    let options = script.options();
    let mut client = Client::connect(&options).unwrap();
    let listed = client.ls(&RemotePath::root(), &mut |_| {
        options.interrupt.set();
        Ok(())
    });
    assert!(matches!(listed, Err(Error::Interrupted)), "{listed:?}");
}
