//! The broker's clock.

use std::time::Instant;

use agentmq_session::Time;

/// Milliseconds on the system's monotonic clock since the broker started. All shards share one
/// start, so that their times compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::new_without_default, reason = "a clock that starts by accident misleads")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
