//! A client that was away for a moment: until when the broker keeps its session, and who has gone
//! meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Directory, Instance, MARK_PATIENCE, PRESENCE_PATIENCE};

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connected {
    Yes,
    /// Not now. Until then the broker keeps our session, and has told nobody.
    Until(Instant),
    /// Not for so long that the session counts as lost.
    No,
}

impl Connected {
    /// The connection has broken, or could not be made again.
    pub(crate) fn lost(self, kept: Duration) -> Self {
        match self {
            Self::Yes if kept.is_zero() => Self::No,
            Self::Yes => Self::Until(Instant::now() + kept),
            lost => lost,
        }
    }
}

/// Who says that he is online once more, now that we are back. A server whose words are of QoS 0
/// may have gone and we were not told.
#[derive(Debug)]
pub(crate) struct RollCall {
    /// All of them stand in the directory.
    present: HashSet<Instance>,
    is_marked: bool,
    /// When whoever has said nothing is gone. Without the mark it is not known who that is.
    pub(crate) ends_at: Instant,
}

impl RollCall {
    /// One that begins now.
    pub(crate) fn new() -> Self {
        let ends_at = Instant::now() + MARK_PATIENCE;
        Self { present: HashSet::new(), is_marked: false, ends_at }
    }

    /// An instance has said something, which the directory has taken in.
    pub(crate) fn heard(&mut self, instance: &Instance, directory: &Directory) {
        if directory.has(instance) {
            self.present.insert(instance.clone());
        } else {
            self.present.remove(instance);
        }
    }

    /// The mark behind the retained messages has come.
    pub(crate) fn marked(&mut self) {
        self.is_marked = true;
        self.ends_at = Instant::now() + PRESENCE_PATIENCE;
    }

    /// Those of the directory who have said nothing.
    pub(crate) fn missing(&self, directory: &Directory) -> Vec<Instance> {
        if !self.is_marked {
            tracing::debug!("no mark came: servers that went meanwhile are not known");
            return Vec::new();
        }
        let all = directory.all().map(|online| &online.instance);
        all.filter(|instance| !self.present.contains(instance)).cloned().collect()
    }
}

/// Ready at that time, or never.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_counts() {
        let lost = Connected::Yes.lost(Duration::from_secs(9));
        assert!(matches!(lost, Connected::Until(_)));
        assert_eq!(lost.lost(Duration::from_secs(99)), lost, "an attempt that failed");
        assert_eq!(Connected::Yes.lost(Duration::ZERO), Connected::No);
        assert_eq!(Connected::No.lost(Duration::from_secs(9)), Connected::No);
    }

    #[test]
    fn who_says_nothing_is_missing() {
        let (mut directory, mut roll) = (Directory::default(), RollCall::new());
        let [first, second, third] = ["s1", "s2", "s3"].map(|id| Instance::new(id, "a").unwrap());
        for it in [&first, &second] {
            directory.heard(it, br#"{"method":"notifications/server/online"}"#);
        }
        roll.heard(&first, &directory);
        // What it said was not taken in.
        roll.heard(&third, &directory);
        assert_eq!(roll.present.len(), 1);
        assert!(roll.missing(&directory).is_empty(), "it is not known that these are all");
        let without = roll.ends_at;
        roll.marked();
        assert!(roll.ends_at < without);
        assert_eq!(roll.missing(&directory), [second]);
        directory.heard(&first, b"");
        roll.heard(&first, &directory);
        assert!(roll.present.is_empty());
    }
}
