//! Time as an argument.

use std::num::NonZeroU64;
use std::time::Duration;

/// Milliseconds on the broker's monotonic clock, from an arbitrary start. The sans-I/O crates
/// never ask what time it is; whoever drives them says so.
///
/// Kept one higher than it is, so that `Option<Time>` takes no more room than a `Time`: every
/// session and socket has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Time {
    /// The start of the clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// A point that never comes.
    pub const NEVER: Self = Self(NonZeroU64::MAX);

    /// A point in time.
    pub const fn from_millis(millis: u64) -> Self {
        Self::ZERO.after_millis(millis)
    }

    /// Milliseconds since the start of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0.get() - 1
    }

    /// The point `millis` later.
    #[must_use]
    pub const fn after_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The point a duration later, in whole milliseconds.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        self.after_millis(duration.as_millis() as u64)
    }

    /// The point `secs` later.
    #[must_use]
    pub const fn after_secs(self, secs: u32) -> Self {
        self.after_millis(secs as u64 * 1000)
    }

    /// Milliseconds from `earlier` to this point; 0 when it is not earlier.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// Seconds from `now` to this point, begun ones counted; 0 when it is not later.
    pub fn secs_from(self, now: Self) -> u32 {
        u32::try_from(self.millis_since(now).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

const _: () = assert!(size_of::<Option<Time>>() == 8);
