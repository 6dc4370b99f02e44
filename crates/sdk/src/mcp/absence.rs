//! A client that was away for a moment: until when the broker keeps its session, and who has gone
//! meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Directory, Instance, PRESENCE_PATIENCE};

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
#[derive(Debug, Default)]
pub(crate) struct RollCall {
    present: HashSet<Instance>,
    /// When whoever has said nothing is gone.
    pub(crate) ends_at: Option<Instant>,
}

impl RollCall {
    pub(crate) fn heard(&mut self, instance: &Instance) {
        self.present.insert(instance.clone());
    }

    /// The mark behind the retained messages has come.
    pub(crate) fn marked(&mut self) {
        self.ends_at = Some(Instant::now() + PRESENCE_PATIENCE);
    }

    /// Those of the directory who have said nothing.
    pub(crate) fn missing(&self, directory: &Directory) -> Vec<Instance> {
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
        let (mut directory, mut roll) = (Directory::default(), RollCall::default());
        let [first, second] = ["s1", "s2"].map(|id| Instance::new(id, "a").unwrap());
        for it in [&first, &second] {
            directory.heard(it, br#"{"method":"notifications/server/online"}"#);
        }
        roll.heard(&first);
        roll.heard(&Instance::new("s3", "a").unwrap());
        assert_eq!(roll.missing(&directory), [second]);
    }
}
