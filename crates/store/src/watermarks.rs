//! From which room on the disk is watched, and from which on nothing new is kept.
//!
//! A disk that is full in truth lets nobody do anything, the operator included. So what must
//! survive is refused a little earlier; what is left is for acknowledgements, which make room.

use agentmq_log::Room;

/// Bytes of room on the disk; 0 is by the disk's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermarks {
    /// With less, the operator is warned. By the disk's size: a twentieth of it or 1 GiB, whichever
    /// is more, but no more than an eighth.
    pub warn_below: u64,
    /// With less, what must survive is refused. By the disk's size: a sixteenth of it, but no more
    /// than 256 MiB.
    pub refuse_below: u64,
}

/// How much room there is, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Level {
    /// Enough.
    #[default]
    Enough,
    /// Somebody should make some.
    Low,
    /// Nothing new is kept.
    Short,
}

impl Watermarks {
    /// The level, after one that was `before`: it improves only when there is a little more room
    /// than it worsened at, so that it does not go to and fro.
    pub(crate) fn level(self, room: Room, before: Level) -> Level {
        let by_size = |set: u64, default: u64| if set == 0 { default } else { set };
        let warn = by_size(self.warn_below, (room.size / 20).max(GIB).min(room.size / 8));
        let refuse = by_size(self.refuse_below, (room.size / 16).min(GIB / 4));
        let is_below = |mark: u64, level: Level| {
            let more = if before >= level { mark / 16 } else { 0 };
            room.free < mark.saturating_add(more)
        };
        if is_below(refuse, Level::Short) {
            Level::Short
        } else if is_below(warn, Level::Low) {
            Level::Low
        } else {
            Level::Enough
        }
    }
}

const GIB: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn level(free: u64, size: u64) -> Level {
        Watermarks::default().level(Room { free, size }, Level::Enough)
    }

    #[test]
    fn a_large_disk_is_watched_by_its_size() {
        let size = 1000 * GIB;
        assert_eq!(level(50 * GIB, size), Level::Enough);
        assert_eq!(level(50 * GIB - 1, size), Level::Low);
        assert_eq!(level(GIB / 4, size), Level::Low);
        assert_eq!(level(GIB / 4 - 1, size), Level::Short);
    }

    #[test]
    fn a_small_disk_can_be_used() {
        let size = 16 << 20;
        assert_eq!(level(2 << 20, size), Level::Enough);
        assert_eq!(level(1 << 20, size), Level::Low);
        assert_eq!(level((1 << 20) - 1, size), Level::Short);
    }

    #[test]
    fn it_does_not_go_to_and_fro() {
        let marks = Watermarks { warn_below: 3200, refuse_below: 1600 };
        let after = |free, before| marks.level(Room { free, size: 1 << 40 }, before);
        assert_eq!(after(1600, Level::Low), Level::Low);
        assert_eq!(after(1600, Level::Short), Level::Short);
        assert_eq!(after(1700, Level::Short), Level::Low);
        assert_eq!(after(3200, Level::Low), Level::Low);
        assert_eq!(after(3400, Level::Low), Level::Enough);
    }

    #[test]
    fn what_is_set_counts_whatever_the_size() {
        let marks = Watermarks { warn_below: u64::MAX, refuse_below: u64::MAX };
        assert_eq!(marks.level(Room { free: GIB, size: GIB }, Level::Enough), Level::Short);
    }
}
