//! Passwords and their hashes: argon2id, in a few buffers that are used again and again, so that a flood of logins cannot take
//! the machine's memory.

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use argon2::password_hash::{Output, ParamsString, PasswordHash, PasswordHasher as _, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use ftpish_protocol::Secret;

/// How many passwords are hashed at the same time: each takes [`Params::DEFAULT_M_COST`] KiB, 19 MiB. Whoever logs in
/// meanwhile waits for a turn, without a thread.
pub const HASHERS: usize = 2;

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

/// The buffers that passwords are hashed in. What is in them tells nothing of a password that its hash does not, and is
/// overwritten by the next.
#[derive(Default)]
pub(super) struct Hashers(Mutex<Vec<Vec<Block>>>);

impl Hashers {
    /// Whether `password` has the hash `hash`; `None` where there is no memory to look.
    pub(super) fn verify(&self, password: &Secret, hash: &str) -> Option<bool> {
        // A password that is too long is cut, so that it costs no more; its length decides that it is wrong.
        let bytes = password.reveal().as_bytes();
        let looked_at = &bytes[..bytes.len().min(MAX_PASSWORD)];
        let mut buffer = self.take()?;
        let matches = PasswordHash::new(hash).is_ok_and(|hash| is_hash_of(looked_at, &hash, &mut buffer));
        self.give_back(buffer);
        Some(matches && !bytes.is_empty() && bytes.len() <= MAX_PASSWORD)
    }

    fn take(&self) -> Option<Vec<Block>> {
        if let Some(buffer) = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Some(buffer);
        }
        let mut buffer = Vec::new();
        let blocks = Params::DEFAULT.block_count();
        buffer.try_reserve_exact(blocks).ok()?;
        buffer.resize(blocks, Block::default());
        Some(buffer)
    }

    fn give_back(&self, buffer: Vec<Block>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < HASHERS {
            free.push(buffer);
        }
    }
}

/// Whether these bytes have that hash.
fn is_hash_of(bytes: &[u8], hash: &PasswordHash<'_>, buffer: &mut [Block]) -> bool {
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return false };
    let (mut salt_bytes, mut made) = ([0; 64], [0; Params::DEFAULT_OUTPUT_LEN]);
    let Ok(salt) = salt.decode_b64(&mut salt_bytes) else { return false };
    argon2().hash_password_into_with_memory(bytes, salt, &mut made, buffer).is_ok()
        // The crate compares outputs in constant time.
        && Output::new(&made).is_ok_and(|made| made == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_password_has_its_hash_and_no_other_does() {
        let (pool, line) = (Hashers::default(), hash(&secret("open sesame")).unwrap());
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
    fn a_hash_of_the_crates_own_is_verified_in_a_buffer_that_was_used_before() {
        use argon2::password_hash::PasswordVerifier as _;
        let pool = Hashers::default();
        for (own, other) in [("one", "two"), ("two", "one"), ("a longer one", "another")] {
            let line = hash(&secret(own)).unwrap();
            for tried in [own, other] {
                let parsed = PasswordHash::new(&line).unwrap();
                let expected = argon2().verify_password(tried.as_bytes(), &parsed).is_ok();
                assert_eq!(pool.verify(&secret(tried), &line), Some(expected), "{own} {tried}");
            }
        }
        assert_eq!(pool.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn no_more_buffers_are_kept_than_there_are_hashers() {
        let pool = Hashers::default();
        let taken: Vec<_> = (0..HASHERS + 2).map(|_| pool.take().unwrap()).collect();
        taken.into_iter().for_each(|buffer| pool.give_back(buffer));
        assert_eq!(pool.0.lock().unwrap().len(), HASHERS);
    }
}
