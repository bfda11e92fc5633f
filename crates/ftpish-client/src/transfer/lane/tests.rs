//! How much may be on its way before anything is answered.

use std::time::Duration;

use ftpish_transport::Endpoint;

use super::*;
use crate::{Options, Security, Timeouts};

/// A server that takes nothing: what is written beyond the room in the socket waits until the client gives up.
#[test]
fn requests_that_are_written_one_by_one_fit_into_a_unix_socket() {
    for length in [1, 100, 140, 150, 160, 300, 650, 700, 750, 1700, 1800, 4000] {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(dir.path().join("socket"));
        let _listener = endpoint.listen().unwrap();
        let short = Duration::from_secs(1);
        let timeouts = Timeouts { connect: short, reply: short, pace: short };
        let options = Options { timeouts, ..Options::new(endpoint, Security::Plaintext) };
        let (mut client, progress) = (Client::connect(&options).unwrap(), Progress::default());
        let board = Board::new(&mut client, Way::Get, &progress, |_, _| None);
        let mut pipe = Lane::new(&mut client, &progress, &board, 0);
        let component = vec![b'x'; 200];
        let path: Vec<u8> = component.into_iter().chain([b'/']).cycle().take(length).collect();
        let path = RemotePath::parse(path.strip_suffix(b"/").unwrap_or(&path)).unwrap();
        let mut asked = 0;
        while !pipe.is_full() {
            pipe.hash(asked, path.clone(), Algorithm::Md5);
            pipe.flush();
            assert!(
                !pipe.client.broken,
                "the socket is full after {asked} requests with paths of {length} bytes"
            );
            asked += 1;
        }
        assert!(asked > 10, "{asked} requests with paths of {length} bytes");
    }
}
