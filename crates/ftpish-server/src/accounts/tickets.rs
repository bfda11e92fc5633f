//! Tickets: what a login is answered with, and what logs the same user in again for some minutes at the price of a MAC.
//!
//! Nothing is kept of a ticket. It says when it expires, and proves by a key that lives as long as the server that
//! the server wrote it, for this user with this password and these keys.

use std::time::{Duration, Instant};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use ftpish_protocol::Secret;

/// How long a ticket lasts: longer than a client tries to come back, and short for whoever finds one.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// What tickets are written and read with.
pub(super) struct Tickets {
    key: [u8; 32],
    /// What expiry is counted from. The clock on the wall may jump, this one does not.
    start: Instant,
}

impl Tickets {
    pub(super) fn new(start: Instant) -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Self { key, start }
    }

    /// A ticket for `user`, who logs in by `proofs`.
    pub(super) fn issue(&self, user: &str, proofs: &str, now: Instant) -> Secret {
        let expiry = (self.age(now) + LIFE).as_secs();
        Secret::new(format!("{expiry}.{}", self.mac(expiry, user, proofs).to_hex()))
    }

    /// Whether [`issue`](Self::issue) made `ticket` for the same user with the same proofs, and not long ago.
    pub(super) fn admits(&self, ticket: &Secret, user: &str, proofs: &str, now: Instant) -> bool {
        let Some((expiry, mac)) = ticket.reveal().split_once('.') else { return false };
        let (Ok(expiry), Ok(mac)) = (expiry.parse(), blake3::Hash::from_hex(mac)) else { return false };
        // The crate compares its hashes in constant time.
        self.mac(expiry, user, proofs) == mac && self.age(now).as_secs() < expiry
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    fn mac(&self, expiry: u64, user: &str, proofs: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // A client may say any name, so each part has its length in front of it.
        for part in ["ftpish ticket", &expiry.to_string(), user, proofs] {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_admits_its_user_until_it_expires_and_nobody_else() {
        let start = Instant::now();
        let (tickets, others) = (Tickets::new(start), Tickets::new(start));
        let ticket = tickets.issue("ada", "hash", start);
        let last = start + LIFE - Duration::from_secs(1);
        assert!(
            tickets.admits(&ticket, "ada", "hash", start) && tickets.admits(&ticket, "ada", "hash", last)
        );
        assert!(!tickets.admits(&ticket, "ada", "hash", start + LIFE), "expired");
        assert!(!tickets.admits(&ticket, "eve", "hash", start), "another user");
        assert!(!tickets.admits(&ticket, "ada", "other", start), "the password was changed");
        assert!(!others.admits(&ticket, "ada", "hash", start), "another run of the server");
    }

    #[test]
    fn a_damaged_ticket_admits_nobody() {
        let start = Instant::now();
        let tickets = Tickets::new(start);
        let text = tickets.issue("ada", "hash", start).reveal().to_owned();
        let admits = |text: &str| tickets.admits(&Secret::new(text.to_owned()), "ada", "hash", start);
        assert!(admits(&text));
        for cut in 0..text.len() {
            assert!(!admits(&text[..cut]), "cut at {cut}");
            let mut other = text.clone().into_bytes();
            other[cut] ^= 1;
            assert!(!admits(&String::from_utf8(other).unwrap()), "changed at {cut}");
        }
        assert!(!admits(&format!("{text}0")) && !admits(&format!("9{text}")));
    }
}
