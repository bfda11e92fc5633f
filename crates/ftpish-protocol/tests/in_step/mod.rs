//! Whether a connection is still in step behind a body: one more message follows each body, and must be received.
#![allow(dead_code, reason = "not every test needs all of it")]

use ftpish_protocol::Connection;
use ftpish_protocol::message::Working;

use crate::pipe::Pipe;

/// The message that follows each body.
pub(crate) const NEXT: Working = Working { id: 7, working: 7 };

/// All that was written to the connection, followed by the next message.
pub(crate) fn finished(mut connection: Connection<Pipe>) -> Vec<u8> {
    connection.send(&NEXT).unwrap();
    connection.flush().unwrap();
    std::mem::take(&mut connection.stream().written)
}

/// How many of these bytes belong to the body.
pub(crate) fn body_length(bytes: &[u8]) -> usize {
    bytes.len() - finished(Connection::new(Pipe::silent())).len()
}

/// A connection whose next bytes are this body.
pub(crate) fn receiving(bytes: &[u8], pace: usize) -> Connection<Pipe> {
    let mut connection = Connection::new(Pipe::new(bytes, pace));
    connection.begin_body();
    connection
}

#[track_caller]
pub(crate) fn assert_in_step(mut connection: Connection<Pipe>) {
    assert!(!connection.in_body());
    let next: Working = connection.receive().unwrap().expect("one more message").decode().unwrap();
    assert_eq!(next, NEXT);
    assert!(connection.receive().unwrap().is_none(), "and then the end");
}
