//! Passwords, kept as what Argon2id makes of them (RFC 9106), in the PHC string format.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params};

/// The hash of a password, checked to be one that takes bounded time and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedPassword(String);

/// A text that is no such hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It is none.
    #[error("it is no Argon2 hash: `agentmq user passwd` makes one")]
    Unreadable,
    /// It would take too much time or memory each time.
    #[error("it asks for more than {MOST_KIB} KiB, {MOST_PASSES} passes or {MOST_LANES} lanes")]
    TooDear,
}

impl HashedPassword {
    /// Hashes a password with 16 random bytes of salt. Takes 19 MiB and some 20 ms.
    #[must_use]
    pub fn new(password: &[u8], salt: &[u8; 16]) -> Option<Self> {
        let hash: PasswordHash = Argon2::default().hash_password_with_salt(password, salt).ok()?;
        Some(Self(hash.to_string()))
    }

    /// Reads a hash.
    pub fn read(text: &str) -> Result<Self, HashError> {
        let hash = PasswordHash::new(text).map_err(|_| HashError::Unreadable)?;
        if Algorithm::try_from(hash.algorithm.as_str()).is_err() || hash.hash.is_none() {
            return Err(HashError::Unreadable);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Unreadable)?;
        let is_dear = params.m_cost() > MOST_KIB
            || params.t_cost() > MOST_PASSES
            || params.p_cost() > MOST_LANES;
        if is_dear { Err(HashError::TooDear) } else { Ok(Self(text.to_owned())) }
    }

    /// Whether the password is the right one. Takes as long as it took to hash it.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }

    /// The hash as it is kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const MOST_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_is_known_again() {
        let hash = HashedPassword::new(b"secret", &[7; 16]).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        let hash = HashedPassword::read(hash.as_str()).unwrap();
        assert!(hash.is_of(b"secret"));
        for wrong in [&b"Secret"[..], b"secret ", b""] {
            assert!(!hash.is_of(wrong));
        }
    }

    #[test]
    fn what_is_no_hash_or_a_dear_one_is_refused() {
        let salt_and_hash = "c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (text, expected) in [
            ("secret".to_owned(), HashError::Unreadable),
            (String::new(), HashError::Unreadable),
            ("$2b$12$abc".to_owned(), HashError::Unreadable),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ".to_owned(), HashError::Unreadable),
            (format!("$argon2id$v=19$m=4194304,t=2,p=1${salt_and_hash}"), HashError::TooDear),
            (format!("$argon2id$v=19$m=19456,t=99,p=1${salt_and_hash}"), HashError::TooDear),
        ] {
            assert_eq!(HashedPassword::read(&text), Err(expected), "{text}");
        }
        let usual = format!("$argon2id$v=19$m=19456,t=2,p=1${salt_and_hash}");
        assert!(HashedPassword::read(&usual).is_ok());
    }
}
