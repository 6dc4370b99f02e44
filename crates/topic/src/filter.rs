//! Topic filters: their rules, and their levels as the rest of the crate walks them.

use crate::{TopicError, TopicLimits};

/// Checks a topic filter, without the `$share/NAME/` of a shared subscription
/// ([`Subscription::parse`](crate::Subscription::parse) takes that off first).
///
/// It has at least one character [MQTT-4.7.3-1], no U+0000 [MQTT-4.7.3-2], keeps to the bounds
/// [MQTT-4.7.3-3]; `#` is a whole level and the last [MQTT-4.7.1-1], `+` a whole level
/// [MQTT-4.7.1-2].
///
/// # Errors
/// The first rule that the filter breaks.
pub fn check_filter(filter: &str, limits: &TopicLimits) -> Result<(), TopicError> {
    limits.check_text(filter)?;
    limits.check_levels(filter)?;
    for level in FilterLevels::new(filter) {
        let FilterLevel::Literal(text) = level else { continue };
        // A lone `#` that is not last arrives here too, as a literal.
        if text.contains('#') {
            return Err(TopicError::MultiLevelWildcard);
        }
        if text.contains('+') {
            return Err(TopicError::SingleLevelWildcard);
        }
    }
    Ok(())
}

/// One level of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterLevel<'a> {
    /// `+`: any one level.
    Single,
    /// `#` as the last level: any number of levels, none included.
    Multi,
    /// This text, which may be empty.
    Literal(&'a str),
}

impl FilterLevel<'_> {
    /// Whether this level, as the first of its filter, stays away from a topic that starts with
    /// `$` [MQTT-4.7.2-1].
    pub(crate) fn is_wildcard(self) -> bool {
        !matches!(self, Self::Literal(_))
    }
}

/// Iterates over the levels of a filter.
///
/// The one place that decides what a wildcard is. A text that [`check_filter`] would refuse still
/// has a meaning, the same everywhere: what is not a wildcard by its place is a literal.
#[derive(Clone, Debug)]
pub(crate) struct FilterLevels<'a> {
    rest: Option<&'a str>,
}

impl<'a> FilterLevels<'a> {
    pub(crate) fn new(filter: &'a str) -> Self {
        Self { rest: Some(filter) }
    }
}

impl<'a> Iterator for FilterLevels<'a> {
    type Item = FilterLevel<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (level, behind) = match rest.split_once('/') {
            Some((level, behind)) => (level, Some(behind)),
            None => (rest, None),
        };
        self.rest = behind;
        Some(match level {
            "+" => FilterLevel::Single,
            "#" if behind.is_none() => FilterLevel::Multi,
            _ => FilterLevel::Literal(level),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str) -> Result<(), TopicError> {
        check_filter(filter, &TopicLimits::default())
    }

    #[test]
    fn the_valid_examples_of_the_standard_pass() {
        for filter in ["sport/tennis/player1/#", "sport/#", "#", "sport/tennis/#"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for filter in ["+", "+/tennis/#", "sport/+/player1", "/+", "+/+", "$SYS/#", "/", "//#"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
    }

    #[test]
    fn the_invalid_examples_of_the_standard_are_refused() {
        for filter in ["sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "#a", "a/+#"] {
            assert_eq!(check(filter), Err(TopicError::MultiLevelWildcard), "{filter}");
        }
        for filter in ["sport+", "+sport", "a/++", "a/b+c/d"] {
            assert_eq!(check(filter), Err(TopicError::SingleLevelWildcard), "{filter}");
        }
        assert_eq!(check(""), Err(TopicError::Empty));
        assert_eq!(check("a/\0"), Err(TopicError::Null));
    }

    #[test]
    fn many_slashes_are_refused() {
        let limits = TopicLimits { max_bytes: 65_535, ..TopicLimits::default() };
        let error = TopicError::TooManyLevels { levels: 65_401, max: 64 };
        assert_eq!(check_filter(&"/".repeat(65_400), &limits), Err(error));
        assert!(check(&"/".repeat(65_400)).is_err());
    }

    #[test]
    fn levels_tell_wildcards_by_their_place() {
        use FilterLevel::{Literal, Multi, Single};
        let levels = |filter| FilterLevels::new(filter).collect::<Vec<_>>();
        assert_eq!(levels("a//+/#"), [Literal("a"), Literal(""), Single, Multi]);
        assert_eq!(levels("#/a+"), [Literal("#"), Literal("a+")]);
        assert_eq!(levels("/"), [Literal(""), Literal("")]);
    }
}
