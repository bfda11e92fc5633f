//! What the session promises about its size.

use super::*;

/// How large the future is that a function makes.
fn size_of_future<F: Future>(_: impl FnOnce(Box<Session>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_at_rest_keeps_no_room_for_what_it_may_do() {
    let (session, run) = (size_of::<Session>(), size_of_future(Session::run));
    assert!(session + run < 2048, "{session} and {run} bytes");
}
