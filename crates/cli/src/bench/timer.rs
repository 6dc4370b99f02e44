//! A timer that the event loop reports, with nanoseconds where the loop's timeout has milliseconds.

use std::io;
use std::time::Duration;

use mio::{Poll, Token};

/// Goes off once each time it is set.
#[derive(Debug)]
pub(crate) struct Timer(platform::Timer);

impl Timer {
    /// A timer of this loop that goes off at once, under the token [`TIMER`].
    pub(crate) fn start(poll: &Poll) -> io::Result<Self> {
        let timer = Self(platform::start(poll)?);
        timer.set(Duration::ZERO);
        Ok(timer)
    }

    /// Has it go off after this time.
    pub(crate) fn set(&self, after: Duration) {
        // Zero would turn it off.
        platform::set(&self.0, after.max(Duration::from_nanos(1)));
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Poll};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    pub(super) type Timer = OwnedFd;

    pub(super) fn start(poll: &Poll) -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let raw = timer.as_raw_fd();
        // Edge-triggered: each expiry is an edge, so it need never be read.
        poll.registry().register(&mut SourceFd(&raw), super::TIMER, Interest::READABLE)?;
        Ok(timer)
    }

    pub(super) fn set(timer: &Timer, after: Duration) {
        let at = Timespec {
            tv_sec: after.as_secs().cast_signed(),
            tv_nsec: after.subsec_nanos().into(),
        };
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: once, it_value: at };
        // It fails only for a bad descriptor or time, and neither can occur here.
        let _ = timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting);
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io;
    use std::time::Duration;

    use mio::Poll;

    #[derive(Debug)]
    pub(super) enum Timer {}

    pub(super) fn start(_poll: &Poll) -> io::Result<Timer> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn set(timer: &Timer, _after: Duration) {
        match *timer {}
    }
}

/// No connection has this number.
pub(crate) const TIMER: Token = Token(usize::MAX - 1);
