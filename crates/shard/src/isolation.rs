//! A panic costs the connection, deadline or piece of mail whose work it was. The others go on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agentmq_router::Router;
use agentmq_session::Time;

use crate::shard::Shard;

impl Shard {
    /// Has the router do a piece of work; `None` if it ended in a panic, from which the router has
    /// then recovered.
    pub(crate) fn guarded<T>(
        &mut self,
        work: &'static str,
        act: impl FnOnce(&mut Router, Time) -> T,
    ) -> Option<T> {
        let (router, now) = (&mut self.router, self.now);
        let done = catch_unwind(AssertUnwindSafe(|| act(router, now))).ok();
        if done.is_none() {
            self.recover(work);
        }
        done
    }

    /// Says what has panicked, and makes the router's state whole again.
    pub(crate) fn recover(&mut self, work: &'static str) {
        tracing::error!(work, "a panic; it costs what it happened on, and the shard goes on");
        let (router, now) = (&mut self.router, self.now);
        if catch_unwind(AssertUnwindSafe(|| router.recover(now))).is_err() {
            tracing::error!(work, "a second panic, while the router recovered from the first");
        }
    }
}

/// Reads or writes one link, whose layers parse what a peer has sent. A panic in them is an error
/// of the link.
pub(crate) fn guard_link<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        tracing::error!("a link panicked; its connection is closed");
        Err(io::Error::other("the link panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_panics_has_failed() {
        assert_eq!(guard_link(|| Ok(1)).unwrap(), 1);
        let failed: io::Result<()> = guard_link(|| panic!("a frame that nobody thought of"));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::Other);
    }
}
