//! Who guesses too often waits: first for a second, then twice as long each time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many failures cost nothing: people mistype.
const FREE: u32 = 3;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How many addresses are kept in mind, at under 100 bytes each. When there are more, the one that was heard of the
/// longest ago is forgotten.
const ADDRESSES: usize = 4096;

/// The addresses that logins failed from.
#[derive(Default)]
pub(super) struct Lockout(Mutex<HashMap<IpAddr, Failures>>);

struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long after the last failure the next attempt may be.
    fn wait(&self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => Duration::from_secs(1 << beyond.min(10)).min(LONGEST),
        }
    }
}

impl Lockout {
    /// Counts an attempt as failed until [`forget`](Self::forget) says otherwise; where the address has to wait
    /// first, tells how long, and counts nothing.
    pub(super) fn attempt(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let mut addresses = self.lock();
        let network = network(from);
        if addresses.len() >= ADDRESSES && !addresses.contains_key(&network) {
            let oldest = addresses.iter().min_by_key(|(_, failures)| failures.last).map(|(at, _)| *at);
            oldest.map(|at| addresses.remove(&at));
        }
        let failures = addresses.entry(network).or_insert(Failures { count: 0, last: now });
        let since = now.saturating_duration_since(failures.last);
        if let Some(left) = failures.wait().checked_sub(since).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        // An address that was quiet for long begins anew.
        let count = if since > LONGEST { 0 } else { failures.count };
        *failures = Failures { count: count.saturating_add(1), last: now };
        None
    }

    /// The attempt succeeded, and so the failures before it were no guesses.
    pub(super) fn forget(&self, from: IpAddr) {
        self.lock().remove(&network(from));
    }

    /// The attempt was none.
    pub(super) fn forgive(&self, from: IpAddr) {
        if let Some(failures) = self.lock().get_mut(&network(from)) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one customer has: an IPv4 address, or the /64 that an IPv6 address is in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guesses_cost_ever_more_time_and_only_their_own_network() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(lockout.attempt(ip("2001:db8::1"), start), None);
        }
        let second = Duration::from_secs(1);
        assert_eq!(lockout.attempt(ip("2001:db8::2"), start), Some(second));
        assert_eq!(lockout.attempt(ip("2001:db8:0:1::1"), start), None, "another /64");
        assert_eq!(lockout.attempt(ip("2001:db8::1"), start + second), None);
        assert_eq!(lockout.attempt(ip("2001:db8::1"), start + second), Some(2 * second));
    }

    #[test]
    fn a_success_and_a_long_silence_end_the_wait() {
        let (lockout, start, from) = (Lockout::default(), Instant::now(), ip("192.0.2.1"));
        (0..FREE).for_each(|_| assert_eq!(lockout.attempt(from, start), None));
        assert!(lockout.attempt(ip("::ffff:192.0.2.1"), start).is_some(), "the same host over IPv6");
        lockout.forget(from);
        (0..FREE).for_each(|_| assert_eq!(lockout.attempt(from, start), None));
        let later = start + LONGEST + Duration::from_secs(1);
        (0..FREE).for_each(|_| assert_eq!(lockout.attempt(from, later), None));
    }

    #[test]
    fn the_table_of_addresses_has_an_end() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        for n in 0..ADDRESSES as u32 + 10 {
            lockout.attempt(IpAddr::V4(n.into()), now);
        }
        assert_eq!(lockout.lock().len(), ADDRESSES);
    }
}
