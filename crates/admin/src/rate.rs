//! How often one address may ask for tokens: some clients ask again at once, for ever, when they do
//! not understand the answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A bucket of tokens for each address.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// Whether one more request of this address is answered now.
    pub(crate) fn allows(&self, source: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| bucket.refilled(now).left < BURST);
            if buckets.len() >= MOST {
                return false;
            }
        }
        let full = Bucket { left: BURST, at: now };
        let bucket = buckets.entry(source).or_insert(full);
        *bucket = bucket.refilled(now);
        let is_allowed = bucket.left >= 1.0;
        if is_allowed {
            bucket.left -= 1.0;
        }
        is_allowed
    }
}

impl Bucket {
    fn refilled(self, now: Instant) -> Self {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        Self { left: (self.left + secs * A_SECOND).min(BURST), at: now }
    }
}

/// Requests at once.
const BURST: f64 = 30.0;
/// Requests a second behind them.
const A_SECOND: f64 = 3.0;
/// Addresses that are remembered.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_a_few_a_second() {
        let (rate, start) = (Rate::default(), Instant::now());
        let one = IpAddr::from([10, 0, 0, 1]);
        let allowed = |now| (0..100).filter(|_| rate.allows(one, now)).count();
        assert_eq!(allowed(start), 30);
        assert_eq!(allowed(start + Duration::from_secs(2)), 6);
        assert!(rate.allows(IpAddr::from([10, 0, 0, 2]), start), "another one");
        assert_eq!(allowed(start + Duration::from_secs(60)), 30);
    }

    #[test]
    fn memory_is_bounded() {
        let (rate, now) = (Rate::default(), Instant::now());
        for number in 0..20_000_u32 {
            rate.allows(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(rate.buckets.lock().unwrap().len(), MOST);
        assert!(rate.allows(IpAddr::from([0; 4]), now), "a known one is answered all the same");
        assert!(!rate.allows(IpAddr::from([10, 0, 0, 1]), now), "a new one is not");
        let later = now + Duration::from_secs(60);
        assert!(rate.allows(IpAddr::from([10, 0, 0, 1]), later), "the others are forgotten");
    }
}
