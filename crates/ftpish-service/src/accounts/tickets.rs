//! Tickets: what a login is answered with, and what logs the same user in again for some minutes at the price of a MAC.
//!
//! Nothing is kept of a ticket. It says when it expires, and proves by a key that lives as long as the server that
//! the server wrote it, for this user with this password and these keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use ftpish_protocol::Secret;

use crate::network::Network;

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

/// How many tickets from one network may be none of ours at a time, and how soon another one may. A ticket cannot be guessed:
/// this bounds what others' cost, and leaves room for all clients behind a balancer that changes its mind.
const BAD_AT_ONCE: u32 = 64;
const BAD_EVERY: Duration = Duration::from_millis(100);

/// How many networks are kept in mind, at some 100 bytes each.
const NETWORKS: usize = 4096;

/// The networks from which tickets came that were none of ours: up to when those that came are made up for.
#[derive(Default)]
pub(super) struct BadTickets(Mutex<HashMap<Network, Instant>>);

impl BadTickets {
    /// Takes note of one.
    pub(super) fn note(&self, from: Network, now: Instant) {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        networks.retain(|_, until| *until > now);
        if networks.len() < NETWORKS || networks.contains_key(&from) {
            *networks.entry(from).or_insert(now) += BAD_EVERY;
        }
    }

    /// Whether there were so many that the next is not looked at.
    pub(super) fn is_exhausted(&self, from: Network, now: Instant) -> bool {
        let networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        networks.get(&from).is_some_and(|until| *until > now + BAD_EVERY * BAD_AT_ONCE)
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

    #[test]
    fn bad_tickets_are_looked_at_no_faster_than_their_rate_and_others_are_not_held_back() {
        let (bad, start) = (BadTickets::default(), Instant::now());
        let network = |text: &str| Network::of(text.parse().unwrap());
        let (from, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let exhausted_after = (0..1000).find(|_| {
            let is_exhausted = bad.is_exhausted(from, start);
            bad.note(from, start);
            is_exhausted
        });
        assert_eq!(exhausted_after, Some(BAD_AT_ONCE as usize + 1));
        assert!(!bad.is_exhausted(other, start));
        assert!(!bad.is_exhausted(from, start + 3 * BAD_EVERY));
        bad.note(other, start + 2000 * BAD_EVERY);
        assert_eq!(bad.0.lock().unwrap().len(), 1, "what is made up for is forgotten");
    }
}
