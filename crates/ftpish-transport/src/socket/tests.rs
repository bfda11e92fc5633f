//! Tests of what is promised there.

use super::*;

fn pair(deadline: Deadline) -> (Socket, Socket) {
    let (a, b) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let far = Deadline::after(Duration::from_secs(60));
    let new = |socket, deadline| Socket::new(socket, deadline, Interrupt::default()).unwrap();
    (new(a, deadline), new(b, far))
}

#[test]
fn tcp_sends_at_once_and_asks_after_a_peer_that_is_silent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = Deadline::after(Duration::from_secs(60));
    let socket = Socket::new(stream.into(), far, Interrupt::default()).unwrap();
    assert!(socket.inner.tcp_nodelay().unwrap() && socket.inner.keepalive().unwrap());
    assert_eq!(socket.inner.tcp_keepalive_time().unwrap(), KEEPALIVE);
    let noticed = KEEPALIVE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES;
    assert_eq!(noticed, Duration::from_secs(60), "a peer that is gone is noticed within a minute");
    assert_eq!(socket.inner.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
}

#[test]
fn a_silent_peer_is_left_at_the_deadline() {
    let (mut socket, _peer) = pair(Deadline::after(Duration::from_millis(20)));
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_peer_that_never_reads_is_left_at_the_deadline() {
    let (mut socket, _peer) = pair(Deadline::after(Duration::from_millis(20)));
    let error = socket.write_all(&vec![0; 16 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

fn yielding(window: Duration, stall: Duration) -> (Socket, Socket) {
    let (a, b) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let far = Deadline::after(Duration::from_secs(60));
    let yielding = Socket::yielding(a, Deadline::Pace { bytes: 1 << 30, window, stall }).unwrap();
    (yielding, Socket::new(b, far, Interrupt::default()).unwrap())
}

/// Comes back when the wait has lasted as long as it may.
#[track_caller]
fn come_back(socket: &Socket) -> Wait {
    let wait = socket.wait().unwrap();
    while Instant::now() < wait.until {
        std::thread::yield_now();
    }
    wait
}

#[test]
fn a_peer_that_takes_nothing_but_says_that_it_is_alive_is_waited_for_up_to_a_limit() {
    let (window, far) = (Duration::from_millis(20), Duration::from_secs(60));
    for (stall, beats) in [(far, 3), (far, 0), (2 * window, 1)] {
        let (mut socket, mut peer) = yielding(window, stall);
        let write = |socket: &mut Socket| loop {
            if let Err(error) = socket.write(&[0; 65536]) {
                break error.kind();
            }
        };
        assert_eq!(write(&mut socket), io::ErrorKind::WouldBlock);
        for _ in 0..beats {
            let wait = come_back(&socket);
            peer.write_all(b".").unwrap();
            assert_eq!(write(&mut socket), io::ErrorKind::WouldBlock);
            assert!(socket.wait().unwrap().until > wait.until);
        }
        come_back(&socket);
        if stall < far {
            peer.write_all(b".").unwrap();
        }
        assert_eq!(write(&mut socket), io::ErrorKind::TimedOut, "{stall:?} {beats}");
    }
}

#[test]
fn a_socket_that_yields_says_what_it_waits_for_and_knows_when_that_took_too_long() {
    let (mut socket, mut peer) = yielding(Duration::from_millis(30), Duration::from_secs(60));
    let would_block = |result: io::Result<usize>| result.unwrap_err().kind() == io::ErrorKind::WouldBlock;
    assert!(would_block(socket.read(&mut [0; 9])));
    let first = socket.wait().unwrap();
    assert_eq!(first.readiness, Readiness::Read);
    peer.write_all(b"x").unwrap();
    let began = Instant::now();
    assert_eq!(socket.read(&mut [0; 9]).unwrap(), 1);
    assert!(socket.wait().is_none());
    assert!(would_block(socket.read(&mut [0; 9])));
    // The time for which it waited before is gone for good.
    assert!(socket.wait().unwrap().until <= first.until + began.elapsed());
    come_back(&socket);
    assert_eq!(socket.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_dripping_peer_does_not_move_the_deadline() {
    let pace = Deadline::Pace { bytes: 1000, window: Duration::from_millis(50), stall: Duration::ZERO };
    let (mut socket, mut peer) = pair(pace);
    let dripping = std::thread::spawn(move || {
        while peer.write(b"x").is_ok() {
            peer.set_deadline(Deadline::after(Duration::from_millis(5)));
            if peer.read(&mut [0]).is_ok() {
                break;
            }
        }
    });
    let mut received = 0;
    let error = loop {
        match socket.read(&mut [0]) {
            Ok(read) => received += read,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((1..1000).contains(&received), "{received}");
    drop(socket);
    dripping.join().unwrap();
}

#[test]
fn a_throttled_body_is_progress_however_long_it_takes() {
    let (mut socket, mut peer) =
        pair(Deadline::Pace { bytes: 8192, window: Duration::from_millis(20), stall: Duration::ZERO });
    // Far longer than the window for so many bytes, all of which are there at once.
    socket.set_throttle(Some(Arc::new(Throttle::new(64 * 1024))));
    peer.write_all(&[7; 32 * 1024]).unwrap();
    let began = Instant::now();
    let mut all = vec![0; 32 * 1024];
    socket.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 7) && began.elapsed() > Duration::from_millis(20));
}

#[test]
fn a_connection_that_is_cut_is_not_held() {
    let (mut socket, _peer) = pair(Deadline::after(Duration::from_secs(60)));
    socket.set_throttle(Some(Arc::new(Throttle::new(1))));
    // An hour and more for these.
    let _ = socket.write(&[0; 4096]).unwrap();
    socket.inner.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(socket.write(&[0]).is_err());
}

#[test]
fn an_interrupt_ends_a_wait() {
    let (mut socket, _peer) = pair(Deadline::after(Duration::from_secs(60)));
    let interrupt = socket.interrupt.clone();
    let waiting = std::thread::spawn(move || socket.read(&mut [0]).unwrap_err().kind());
    interrupt.set();
    assert_eq!(waiting.join().unwrap(), io::ErrorKind::ConnectionAborted);
}
