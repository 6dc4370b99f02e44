//! What the log says of a service that fails: a line now and then, however often it is asked.

use std::time::Duration;

/// Counts what is not written.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    /// When the last line was written, since some moment.
    last: Option<Duration>,
    /// Faults without a line since then.
    more: u64,
    /// A line says that it fails, and none yet that it does not any more.
    is_told: bool,
}

impl FaultLog {
    /// A fault. Answers how many there were since the last line, if there is to be another.
    pub(crate) fn failed(&mut self, now: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + EVERY) {
            self.more += 1;
            return None;
        }
        (self.last, self.is_told) = (Some(now), true);
        Some(std::mem::take(&mut self.more))
    }

    /// No fault. Answers whether that is worth a line.
    pub(crate) fn answered(&mut self) -> bool {
        std::mem::take(&mut self.is_told)
    }
}

const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_now_and_then() {
        let at = Duration::from_secs;
        let mut log = FaultLog::default();
        assert!(!log.answered());
        assert_eq!(log.failed(at(100)), Some(0));
        assert!(log.answered() && !log.answered());
        assert_eq!([log.failed(at(101)), log.failed(at(109))], [None, None]);
        assert!(!log.answered(), "nobody has read that it failed again");
        assert_eq!(log.failed(at(110)), Some(2));
        assert!(log.answered());
    }
}
