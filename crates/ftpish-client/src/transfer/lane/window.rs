//! How much may be in flight on a connection before replies are awaited: as much as lies in the sockets when the server reads
//! nothing, because it is busy answering. More, and both ends would wait for each other.

use std::collections::VecDeque;

use ftpish_protocol::MAX_IN_FLIGHT;

/// How many files that are sent may be in flight. The replies, of about 130 bytes, fit the smallest of sockets: a
/// server that could not send them would read no more, and we would both wait.
const PUTS: usize = 500;

/// The same over a Unix socket, which counts about 770 bytes for a message that is written alone, and has room for 277
/// of them.
const LOCAL_PUTS: usize = 200;

/// How many requests may be in flight at all.
const MOST: usize = MAX_IN_FLIGHT - 24;

/// How many bytes requests without a body may have together, by [`REQUEST`] and their paths. They lie in the sockets
/// while a body comes, so they must fit there: Linux has at least 64 KiB for a peer that does not read, and 16 KiB on
/// this side (tcp(7), `tcp_rmem` and `tcp_wmem`).
const REQUEST_BYTES: usize = 60 * 1024;

/// About how many bytes a request has besides its path.
const REQUEST: usize = 64;

/// The same as [`REQUEST_BYTES`] over a Unix socket, by what it counts for a message that is written alone, of the 208 KiB
/// that it has (unix(7), `wmem_default`).
const LOCAL_REQUEST_BYTES: usize = 180 * 1024;

/// What a Unix socket counts for a message that is written alone, besides at most twice its bytes: the kernel's own
/// structures, and room up to the next power of two.
const LOCAL_REQUEST: usize = 896;

/// How many bytes of bodies may be in flight, or on the server, without a reply: what is lost at the most when a
/// connection breaks.
const BODY_BYTES: u64 = 32 * 1024 * 1024;

/// How many nodes and digests may be awaited when a body leaves: a server that is busy telling them, and cannot, reads
/// no more.
const AWAITED_BESIDE_BODIES: u64 = 256;

/// What is in flight, by its sizes.
pub(super) struct Window {
    is_unix: bool,
    /// The sizes of requests without a body.
    requests: VecDeque<usize>,
    request_bytes: usize,
    puts: usize,
    body_bytes: u64,
    /// How many nodes and digests were asked for.
    awaited: u64,
    was_full: bool,
}

impl Window {
    /// An empty one, of a Unix socket or a TCP connection.
    pub(super) fn new(is_unix: bool) -> Self {
        let (requests, request_bytes, puts, body_bytes, awaited) = (VecDeque::new(), 0, 0, 0, 0);
        Self { is_unix, requests, request_bytes, puts, body_bytes, awaited, was_full: false }
    }

    /// Whether replies are better awaited before the next request: when there is no room for it, and then until there is
    /// room for many, so that they leave together.
    pub(super) fn is_full(&mut self) -> bool {
        let share = if self.was_full { 2 } else { 1 };
        let most_puts = if self.is_unix { LOCAL_PUTS } else { PUTS };
        let most_bytes = if self.is_unix { LOCAL_REQUEST_BYTES } else { REQUEST_BYTES };
        self.was_full = self.puts >= most_puts / share
            || self.puts + self.requests.len() >= MOST / share
            || self.request_bytes >= most_bytes / share
            || self.body_bytes > BODY_BYTES;
        self.was_full
    }

    /// Whether a body may leave.
    pub(super) fn may_send_body(&self) -> bool {
        self.awaited <= AWAITED_BESIDE_BODIES
    }

    /// How many bytes of bodies are in flight.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes in a request without a body, with so many bytes of paths, that asks for so many nodes and digests.
    pub(super) fn add_request(&mut self, path_bytes: usize, awaited: u64) {
        let bytes = REQUEST + path_bytes;
        let size = if self.is_unix { LOCAL_REQUEST + 2 * bytes } else { bytes };
        self.requests.push_back(size);
        self.request_bytes += size;
        self.awaited += awaited;
    }

    /// Lets go of the first of them, which has its answer.
    pub(super) fn end_request(&mut self, awaited: u64) {
        self.request_bytes -= self.requests.pop_front().unwrap_or(0);
        self.awaited -= awaited;
    }

    /// Takes in a file with so many bytes.
    pub(super) fn add_put(&mut self, length: u64) {
        self.puts += 1;
        self.body_bytes += length;
    }

    /// Lets go of it: it has its answer.
    pub(super) fn end_put(&mut self, length: u64) {
        self.puts -= 1;
        self.body_bytes -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_was_full_takes_more_when_half_of_it_is_free() {
        let mut window = Window::new(false);
        (0..PUTS).for_each(|_| window.add_put(10));
        assert!(window.is_full());
        (0..PUTS / 2).for_each(|_| window.end_put(10));
        assert!(window.is_full(), "half of it is taken");
        window.end_put(10);
        assert!(!window.is_full());
        (0..PUTS / 2).for_each(|_| window.add_put(10));
        assert!(!window.is_full(), "it fills up again");
    }

    #[test]
    fn each_of_the_bounds_alone_fills_it() {
        let check = |fill: fn(&mut Window)| {
            let mut window = Window::new(false);
            fill(&mut window);
            assert!(window.is_full());
        };
        check(|window| window.add_put(BODY_BYTES + 1));
        check(|window| (0..MOST).for_each(|_| window.add_request(1, 0)));
        check(|window| window.add_request(REQUEST_BYTES, 0));
    }

    #[test]
    fn a_body_waits_for_long_answers() {
        let mut window = Window::new(false);
        window.add_request(1, AWAITED_BESIDE_BODIES);
        assert!(window.may_send_body());
        window.add_request(1, 1);
        assert!(!window.may_send_body());
        window.end_request(AWAITED_BESIDE_BODIES);
        assert!(window.may_send_body());
    }
}
