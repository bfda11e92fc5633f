//! Every malformed fixture that a server sends, sent to the real client.

use std::fs;

use ftpish_client::{Client, Error, Progress};
use ftpish_protocol::{Algorithm, RemotePath};

use crate::script::Script;

/// The bytes of a fixture, and whether it is a server that sends them.
fn read(path: &std::path::Path) -> (bool, Vec<u8>) {
    let text = fs::read_to_string(path).unwrap();
    let hex = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
        let hex = line.split_once("  ").map_or(line, |(hex, _)| hex);
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap())
    });
    (text.starts_with("# server: "), hex.collect())
}

/// The id that a reply is to, where it can be told.
fn id(bytes: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let digits = text.split_once("\"id\":")?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn ask(client: &mut Client, name: &str) -> Result<(), Error> {
    let path = RemotePath::root();
    match name.split_once('-') {
        Some(("ls", _)) => client.ls(&path, &mut |_| Ok(())).map(drop),
        Some(("tree", _)) => crate::trees::list(client),
        Some(("get", _)) => {
            client.get(&path, Algorithm::Md5, &mut std::io::sink(), &Progress::default()).map(drop)
        }
        _ => client.stat(&path).map(drop),
    }
}

#[test]
fn every_malformed_reply_is_an_error_of_its_kind() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/wire/malformed");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let (true, bytes) = read(&path) else { continue };
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let id = id(&bytes).unwrap_or(1);
        let script = Script::run(move |peer| {
            loop {
                let request = peer.request();
                if request["id"] == id {
                    break peer.send(&bytes);
                }
                peer.grant(&request, serde_json::json!({"total": 3, "free": 2, "available": 1}));
            }
        });
        let mut client = script.client();
        for _ in 1..id {
            client.df(&RemotePath::root()).unwrap();
        }
        let error = ask(&mut client, &name).unwrap_err();
        let expected = match &name[..] {
            "get-trailer-digest-wrong" => matches!(error, Error::Mismatch { .. }),
            "ls-count-missing" | "ls-count-wrong" | "ls-line-unfinished" => {
                matches!(error, Error::Unverified(_))
            }
            _ => matches!(error, Error::Protocol(_)),
        };
        assert!(expected, "{name}: {error:?}");
        count += 1;
    }
    assert!(count >= 10, "{count} fixtures");
}
