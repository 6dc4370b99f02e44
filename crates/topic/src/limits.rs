//! The bounds on names and filters.

use crate::TopicError;

/// Bounds that the broker sets on topic names and filters, below the protocol's own 65 535 bytes.
///
/// They bound the depth of every walk in this crate, and the memory that one filter can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Most levels, that is one more than the most slashes.
    pub max_levels: usize,
    /// Most bytes of UTF-8. Above [`TopicLimits::PROTOCOL_BYTES`] it has no further effect.
    pub max_bytes: usize,
}

impl TopicLimits {
    /// What the protocol itself allows, in bytes [MQTT-4.7.3-3].
    pub const PROTOCOL_BYTES: usize = 65_535;
    /// The protocol's own alone: for what was checked when it came in.
    pub const NONE: Self = Self { max_levels: usize::MAX, max_bytes: usize::MAX };

    /// Checks what names and filters have in common: not empty, no U+0000, short enough.
    pub(crate) fn check_text(&self, text: &str) -> Result<(), TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        let max = self.max_bytes.min(Self::PROTOCOL_BYTES);
        if text.len() > max {
            return Err(TopicError::TooLong { bytes: text.len(), max });
        }
        if text.as_bytes().contains(&0) {
            return Err(TopicError::Null);
        }
        Ok(())
    }

    /// Checks the number of levels.
    pub(crate) fn check_levels(&self, text: &str) -> Result<(), TopicError> {
        let slashes = text.bytes().filter(|byte| *byte == b'/').count();
        if slashes >= self.max_levels {
            let levels = slashes.saturating_add(1);
            return Err(TopicError::TooManyLevels { levels, max: self.max_levels });
        }
        Ok(())
    }
}

impl Default for TopicLimits {
    /// 64 levels and 512 bytes.
    fn default() -> Self {
        Self { max_levels: 64, max_bytes: 512 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_inclusive() {
        let limits = TopicLimits { max_levels: 3, max_bytes: 7 };
        assert_eq!(limits.check_text("1234567"), Ok(()));
        assert_eq!(limits.check_text("12345678"), Err(TopicError::TooLong { bytes: 8, max: 7 }));
        assert_eq!(limits.check_levels("//"), Ok(()));
        let error = TopicError::TooManyLevels { levels: 4, max: 3 };
        assert_eq!(limits.check_levels("///"), Err(error));
    }

    #[test]
    fn bytes_count_not_characters() {
        let limits = TopicLimits { max_levels: 1, max_bytes: 3 };
        assert_eq!(limits.check_text("é"), Ok(()));
        assert_eq!(limits.check_text("éé"), Err(TopicError::TooLong { bytes: 4, max: 3 }));
    }

    #[test]
    fn the_protocol_bounds_the_broker() {
        let limits = TopicLimits { max_levels: usize::MAX, max_bytes: usize::MAX };
        let longest = "x".repeat(65_535);
        assert_eq!(limits.check_text(&longest), Ok(()));
        let error = TopicError::TooLong { bytes: 65_536, max: 65_535 };
        assert_eq!(limits.check_text(&(longest + "x")), Err(error));
    }
}
