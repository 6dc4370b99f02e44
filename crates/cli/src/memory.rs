//! The allocator, and giving memory back to the system.

use std::io;
use std::thread::Builder;
use std::time::Duration;

/// Messages that wait are small allocations that come and go by the million
/// (`docs/decisions/0006-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts the thread that gives freed memory back to the system, for as long as the process lives.
///
/// The allocator would do that by itself, on whichever thread next wants memory when a second has
/// passed. A hundred megabytes take ten milliseconds, in which a shard would serve nobody. This one
/// comes first, twice as often.
pub(crate) fn give_back_aside() -> io::Result<()> {
    let give_back = || {
        loop {
            std::thread::park_timeout(PERIOD); // nobody wakes it
            give_back();
        }
    };
    Builder::new().name("memory".into()).spawn(give_back).map(drop)
}

/// The one unsafe block of this crate: the allocator's crate offers no safe form of this call.
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: `mi_collect` may be called from any thread at any time; it touches only what is free.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Half of the allocator's own delay.
const PERIOD: Duration = Duration::from_millis(500);
