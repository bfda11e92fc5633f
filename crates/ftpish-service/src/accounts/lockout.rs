//! Who guesses too often waits: first for a second, then twice as long each time.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::network::Network;

/// How many failures cost nothing: people mistype.
const FREE: u32 = 3;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How many networks are kept in mind, at under 500 bytes each. When there are more, the one that was heard of the
/// longest ago is forgotten.
const NETWORKS: usize = 4096;

/// How many users are told apart for each of them; the failures of the others are never forgiven.
const USERS: usize = 16;

/// The networks that logins failed from.
#[derive(Default)]
pub(super) struct Lockout {
    networks: Mutex<HashMap<Network, Record>>,
    /// Makes a user's name short.
    hasher: RandomState,
}

/// What came from one network.
struct Record {
    last: Instant,
    users: Vec<Attempts>,
    others: u32,
}

/// What was tried as one user.
struct Attempts {
    user: u64,
    failed: u32,
    /// Those that are being looked at. A client with many connections logs in with all of them at the same time.
    pending: u32,
}

impl Record {
    fn begin(now: Instant) -> Self {
        Self { last: now, users: Vec::new(), others: 0 }
    }

    /// How many failures there are, and may be at once: what is being looked at counts as failed, so that many attempts
    /// at once gain little; but for each user once.
    fn count(&self) -> u32 {
        let of = |a: &Attempts| a.failed.saturating_add(u32::from(a.pending > 0));
        self.users.iter().map(of).fold(self.others, u32::saturating_add)
    }

    /// How long after the last attempt the next may be.
    fn wait(&self) -> Duration {
        match self.count().checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => Duration::from_secs(1 << beyond.min(10)).min(LONGEST),
        }
    }

    fn of(&mut self, user: u64) -> Option<&mut Attempts> {
        self.users.iter_mut().find(|attempts| attempts.user == user)
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The failures before it, as the same user, were no guesses. Those as others may have been: whoever guesses may have
    /// an account, too.
    Succeeded,
    Failed,
    /// It was not looked at.
    Dropped,
}

impl Lockout {
    /// Begins an attempt, which [`finish`](Self::finish) ends; where the network has to wait first, tells how long, and
    /// there is nothing to end.
    pub(super) fn attempt(&self, from: IpAddr, user: &str, now: Instant) -> Option<Duration> {
        let (from, user) = (Network::of(from), self.hasher.hash_one(user));
        let mut networks = self.lock();
        if networks.len() >= NETWORKS && !networks.contains_key(&from) {
            let oldest = networks.iter().min_by_key(|(_, record)| record.last).map(|(at, _)| *at);
            oldest.map(|at| networks.remove(&at));
        }
        let record = networks.entry(from).or_insert(Record::begin(now));
        let since = now.saturating_duration_since(record.last);
        if let Some(left) = record.wait().checked_sub(since).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        // A network that was quiet for long begins anew.
        if since > LONGEST {
            *record = Record::begin(now);
        }
        record.last = now;
        let is_full = record.users.len() >= USERS;
        match record.of(user) {
            Some(attempts) => attempts.pending = attempts.pending.saturating_add(1),
            None if is_full => record.others = record.others.saturating_add(1),
            None => record.users.push(Attempts { user, failed: 0, pending: 1 }),
        }
        None
    }

    /// Ends an attempt.
    pub(super) fn finish(&self, from: IpAddr, user: &str, outcome: Outcome) {
        let (from, user) = (Network::of(from), self.hasher.hash_one(user));
        let mut networks = self.lock();
        let Some(record) = networks.get_mut(&from) else { return };
        let Some(attempts) = record.of(user) else {
            // It was counted as failed.
            if outcome != Outcome::Failed {
                record.others = record.others.saturating_sub(1);
            }
            return;
        };
        attempts.pending = attempts.pending.saturating_sub(1);
        match outcome {
            Outcome::Succeeded => attempts.failed = 0,
            Outcome::Failed => attempts.failed = attempts.failed.saturating_add(1),
            Outcome::Dropped => {}
        }
        record.users.retain(|attempts| attempts.failed > 0 || attempts.pending > 0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, Record>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Begins and ends an attempt; tells whether it had to wait.
    fn attempt(
        lockout: &Lockout,
        from: &str,
        user: &str,
        now: Instant,
        outcome: Outcome,
    ) -> Option<Duration> {
        let wait = lockout.attempt(ip(from), user, now);
        if wait.is_none() {
            lockout.finish(ip(from), user, outcome);
        }
        wait
    }

    #[test]
    fn guesses_cost_ever_more_time_and_only_their_own_network() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        let guess = |from, user, now| attempt(&lockout, from, user, now, Outcome::Failed);
        for user in ["ada", "eve", "ada"] {
            assert_eq!(guess("2001:db8::1", user, start), None);
        }
        assert_eq!(guess("2001:db8::2", "zoe", start), Some(SECOND));
        assert_eq!(guess("2001:db8:0:1::1", "ada", start), None, "another /64");
        assert_eq!(guess("2001:db8::1", "ada", start + SECOND), None);
        assert_eq!(guess("2001:db8::1", "ada", start + SECOND), Some(2 * SECOND));
    }

    #[test]
    fn a_success_forgives_the_failures_of_the_same_user_alone() {
        let (lockout, start, from) = (Lockout::default(), Instant::now(), "192.0.2.1");
        let at = |user, now, outcome| attempt(&lockout, from, user, now, outcome);
        assert_eq!(at("ada", start, Outcome::Failed), None);
        assert_eq!(at("ada", start, Outcome::Failed), None);
        assert_eq!(at("ada", start, Outcome::Succeeded), None, "a person who mistyped");
        // Somebody who guesses, and logs in to an account of his own in between.
        let mut now = start;
        for guess in 0..6 {
            assert_eq!(at("ada", now, Outcome::Failed), None);
            let wait = lockout.attempt(ip(from), "mallory", now);
            if let Some(wait) = wait {
                assert_eq!(wait, SECOND * (1 << (guess - 2)));
                now += wait;
            } else {
                assert!(guess < 2);
                lockout.finish(ip(from), "mallory", Outcome::Succeeded);
            }
        }
    }

    #[test]
    fn one_user_logs_in_with_many_connections_at_once_but_guesses_no_faster_for_it() {
        let (lockout, start, from) = (Lockout::default(), Instant::now(), ip("192.0.2.1"));
        (0..50).for_each(|_| assert_eq!(lockout.attempt(from, "ada", start), None));
        (0..49).for_each(|_| lockout.finish(from, "ada", Outcome::Succeeded));
        assert_eq!(lockout.attempt(from, "ada", start), None);
        (0..2).for_each(|_| lockout.finish(from, "ada", Outcome::Failed));
        assert_eq!(lockout.attempt(from, "ada", start), None);
        assert_eq!(lockout.attempt(from, "ada", start), Some(SECOND), "two failed, and one may");
        lockout.finish(from, "ada", Outcome::Dropped);
        assert_eq!(lockout.attempt(from, "ada", start), None);
        assert_eq!(lockout.attempt(from, "eve", start), Some(SECOND));
    }

    #[test]
    fn a_long_silence_ends_the_wait() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        let guess = |from, now| attempt(&lockout, from, "ada", now, Outcome::Failed);
        (0..FREE).for_each(|_| assert_eq!(guess("192.0.2.1", start), None));
        assert!(guess("::ffff:192.0.2.1", start).is_some(), "the same host over IPv6");
        let later = start + LONGEST + SECOND;
        (0..FREE).for_each(|_| assert_eq!(guess("192.0.2.1", later), None));
    }

    #[test]
    fn many_names_are_no_way_around() {
        let (lockout, mut now) = (Lockout::default(), Instant::now());
        for n in 0..2 * USERS {
            let user = format!("user {n}");
            if let Some(wait) = attempt(&lockout, "192.0.2.1", &user, now, Outcome::Failed) {
                now += wait;
                assert_eq!(attempt(&lockout, "192.0.2.1", &user, now, Outcome::Failed), None);
            }
        }
        let networks = lockout.lock();
        let record = &networks[&Network::of(ip("192.0.2.1"))];
        assert_eq!((record.users.len(), record.count()), (USERS, 2 * USERS as u32));
    }

    #[test]
    fn the_table_of_networks_has_an_end() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        for n in 0..NETWORKS as u32 + 10 {
            lockout.attempt(IpAddr::V4(n.into()), "ada", now);
        }
        assert_eq!(lockout.lock().len(), NETWORKS);
    }
}
