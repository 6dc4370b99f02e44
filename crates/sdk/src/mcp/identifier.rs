//! Client identifiers for those who did not choose one.

use std::hash::{BuildHasher, RandomState};

/// An identifier that nobody else has: the binding's topics hold it, so it must be known before
/// the broker could assign one. Good for telling clients apart, not for secrets.
pub(crate) fn fresh() -> String {
    format!("agentmq-{:016x}", dice())
}

/// A random number, for identifiers and for choosing among equals.
pub(crate) fn dice() -> u64 {
    // Each RandomState has keys of its own, taken from the system's entropy and a counter.
    RandomState::new().hash_one(std::process::id())
}
