//! Topic names: what a PUBLISH, a will or a Response Topic may carry.

use crate::{TopicError, TopicLimits};

/// Checks a topic name.
///
/// It has at least one character [MQTT-4.7.3-1], no U+0000 [MQTT-4.7.3-2], no wildcard
/// [MQTT-4.7.0-1], and keeps to the bounds [MQTT-4.7.3-3]. Nothing is normalized: case, blanks
/// and empty levels count [MQTT-4.7.3-4].
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(topic: &str, limits: &TopicLimits) -> Result<(), TopicError> {
    limits.check_text(topic)?;
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(TopicError::WildcardInName);
    }
    limits.check_levels(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str) -> Result<(), TopicError> {
        check_name(topic, &TopicLimits::default())
    }

    #[test]
    fn ordinary_names_pass() {
        for topic in
            ["a", "/", "//", "/finance", "a b/ c", "$SYS/x", "ACCOUNTS", "é/漢", "\u{feff}"]
        {
            assert_eq!(check(topic), Ok(()), "{topic}");
        }
    }

    #[test]
    fn each_rule_refuses() {
        assert_eq!(check(""), Err(TopicError::Empty));
        assert_eq!(check("a\0b"), Err(TopicError::Null));
        for topic in ["+", "#", "a+", "a/#", "a/+/b", "x#y"] {
            assert_eq!(check(topic), Err(TopicError::WildcardInName), "{topic}");
        }
    }

    #[test]
    fn many_slashes_are_refused() {
        let limits = TopicLimits { max_bytes: 65_535, ..TopicLimits::default() };
        let error = TopicError::TooManyLevels { levels: 65_401, max: 64 };
        assert_eq!(check_name(&"/".repeat(65_400), &limits), Err(error));
        assert_eq!(check_name(&"/".repeat(63), &limits), Ok(()));
    }
}
