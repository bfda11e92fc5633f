//! Passwords and their hashes: argon2id, a few at a time, so that a flood of logins cannot take the machine's memory.

use std::sync::{Condvar, Mutex, PoisonError};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use argon2::password_hash::{
    ParamsString, PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString,
};
use argon2::{Algorithm, Argon2, Params, Version};
use ftpish_protocol::Secret;

/// How many passwords are hashed at the same time: each takes [`Params::DEFAULT_M_COST`] KiB, 19 MiB.
pub(crate) const HASHERS: usize = 2;
const AT_ONCE: usize = HASHERS;

/// How many logins wait for their turn; more are told that the server is busy. At some 30 ms each, the last one
/// waits about a second.
const WAITING: usize = 32;

/// The longest password that is looked at.
const MAX_PASSWORD: usize = 1024;

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// The line that the users file keeps of a password: a PHC string of argon2id with a salt of its own. `None` for
/// a password that is empty or too long to ever log in.
pub fn hash(password: &Secret) -> Option<String> {
    let bytes = password.reveal().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_PASSWORD {
        return None;
    }
    let salt = SaltString::generate(&mut OsRng);
    argon2().hash_password(bytes, &salt).ok().map(|hash| hash.to_string())
}

/// A password of 128 bits that nobody can guess.
pub fn random_password() -> Secret {
    Secret::new(format!("{:016x}{:016x}", OsRng.next_u64(), OsRng.next_u64()))
}

/// The hash of what nobody knows.
pub(super) fn decoy() -> String {
    hash(&random_password()).expect("a password of 32 letters has a hash")
}

/// Whether `text` is a hash as [`hash`] makes it. Its cost must be the same, too: otherwise the time would tell
/// which users there are, and a line of the file could ask for any amount of memory.
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        hash.algorithm == Algorithm::Argon2id.ident()
            && hash.version == Some(Version::V0x13.into())
            && hash.salt.is_some()
            && hash.hash.is_some_and(|output| output.len() == Params::DEFAULT_OUTPUT_LEN)
            && ParamsString::try_from(&Params::DEFAULT).is_ok_and(|ours| hash.params == ours)
    })
}

/// The right to hash, which few have at a time.
#[derive(Default)]
pub(super) struct HashingPool {
    crowd: Mutex<Crowd>,
    one_left: Condvar,
}

#[derive(Default)]
struct Crowd {
    hashing: usize,
    waiting: usize,
}

impl HashingPool {
    /// Whether `password` has the hash `hash`; `None` where too many wait already.
    pub(super) fn verify(&self, password: &Secret, hash: &str) -> Option<bool> {
        let _turn = self.turn()?;
        // A password that is too long is cut, so that it costs no more; its length decides that it is wrong.
        let bytes = password.reveal().as_bytes();
        let looked_at = &bytes[..bytes.len().min(MAX_PASSWORD)];
        // The crate compares outputs in constant time.
        let matches =
            PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(looked_at, &hash).is_ok());
        Some(matches && !bytes.is_empty() && bytes.len() <= MAX_PASSWORD)
    }

    fn turn(&self) -> Option<Turn<'_>> {
        // No panic can leave the counts half changed: nothing between them can fail.
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        if crowd.hashing >= AT_ONCE && crowd.waiting >= WAITING {
            return None;
        }
        crowd.waiting += 1;
        let mut crowd = self
            .one_left
            .wait_while(crowd, |crowd| crowd.hashing >= AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        crowd.waiting -= 1;
        crowd.hashing += 1;
        Some(Turn(self))
    }
}

/// One place in the pool, given back when dropped.
struct Turn<'a>(&'a HashingPool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.crowd.lock().unwrap_or_else(PoisonError::into_inner).hashing -= 1;
        self.0.one_left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_password_has_its_hash_and_no_other_does() {
        let (pool, line) = (HashingPool::default(), hash(&secret("open sesame")).unwrap());
        assert!(is_hash(&line));
        assert_eq!(pool.verify(&secret("open sesame"), &line), Some(true));
        assert_eq!(pool.verify(&secret("open sesam"), &line), Some(false));
        assert_eq!(pool.verify(&secret(""), &line), Some(false));
    }

    #[test]
    fn what_can_never_log_in_has_no_hash() {
        assert_eq!(hash(&secret("")), None);
        assert_eq!(hash(&secret(&"x".repeat(MAX_PASSWORD + 1))), None);
        for nonsense in ["", "!", "*", "x", "$argon2id$v=19$m=19456,t=2,p=1", "$1$salt$hash"] {
            assert!(!is_hash(nonsense), "{nonsense}");
        }
        let line = hash(&secret("a")).unwrap();
        let dear = line.replace("m=19456", "m=4194304");
        assert!(!is_hash(&dear), "a line of the file asks for 4 GiB");
        let twice = line.replace("m=19456", "t=19456");
        assert!(!is_hash(&twice), "a cost is said twice");
    }

    #[test]
    fn logins_beyond_the_pool_and_its_queue_are_turned_away() {
        let pool = HashingPool::default();
        let turns: Vec<_> = (0..AT_ONCE).map(|_| pool.turn().unwrap()).collect();
        pool.crowd.lock().unwrap().waiting = WAITING;
        assert!(pool.turn().is_none());
        pool.crowd.lock().unwrap().waiting = 0;
        drop(turns);
        assert!(pool.turn().is_some());
    }
}
