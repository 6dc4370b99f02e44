//! What a SUBSCRIBE or UNSUBSCRIBE names: a filter, alone or within a share.

use crate::{TopicError, TopicLimits, check_filter};

/// A subscription's text taken apart: `FILTER`, or `$share/NAME/FILTER` for a shared one.
///
/// Access rules apply to `filter`; a subscription's identity is `share` and `filter` together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription<'a> {
    /// The share's name, `None` for an ordinary subscription.
    pub share: Option<&'a str>,
    /// The filter that topics are matched against, valid by [`check_filter`].
    pub filter: &'a str,
}

impl<'a> Subscription<'a> {
    /// Takes the text of a subscription apart and checks it.
    ///
    /// `max_bytes` bounds the whole text, `max_levels` the filter within. Only the exact prefix
    /// `$share/` makes a shared subscription: `$share` alone and `$SHARE/a/b` are filters.
    ///
    /// # Errors
    /// What [`check_filter`] answers, and for shared ones: the name is empty [MQTT-4.8.2-1] or
    /// holds a wildcard, or no filter follows it [MQTT-4.8.2-2].
    pub fn parse(text: &'a str, limits: &TopicLimits) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            check_filter(text, limits)?;
            return Ok(Self { share: None, filter: text });
        };
        limits.check_text(text)?;
        let (name, filter) = shared.split_once('/').unwrap_or((shared, ""));
        if name.is_empty() {
            return Err(TopicError::ShareNameEmpty);
        }
        if name.contains(['+', '#']) {
            return Err(TopicError::ShareNameWildcard);
        }
        if filter.is_empty() {
            return Err(TopicError::ShareFilterMissing);
        }
        check_filter(filter, limits)?;
        Ok(Self { share: Some(name), filter })
    }
}

const SHARE_PREFIX: &str = "$share/";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Option<&str>, &str), TopicError> {
        Subscription::parse(text, &TopicLimits::default()).map(|it| (it.share, it.filter))
    }

    #[test]
    fn shared_subscriptions_are_taken_apart() {
        assert_eq!(parse("$share/g/a/+/#"), Ok((Some("g"), "a/+/#")));
        assert_eq!(parse("$share/g//finance"), Ok((Some("g"), "/finance")));
        assert_eq!(parse("$share/g//"), Ok((Some("g"), "/")));
        assert_eq!(parse("$share/g/#"), Ok((Some("g"), "#")));
        assert_eq!(parse("$share/$share/$share/a/b"), Ok((Some("$share"), "$share/a/b")));
    }

    #[test]
    fn only_the_exact_prefix_shares() {
        for text in ["a/b", "$share", "$shared/g/a", "$SHARE/g/a", "/$share/g/a", "$queue/a"] {
            assert_eq!(parse(text), Ok((None, text)));
        }
    }

    #[test]
    fn malformed_shares_are_refused() {
        for text in ["$share/", "$share//", "$share//a"] {
            assert_eq!(parse(text), Err(TopicError::ShareNameEmpty), "{text}");
        }
        for text in ["$share/+/a", "$share/#", "$share/#/a", "$share/g+/a", "$share/g#/a"] {
            assert_eq!(parse(text), Err(TopicError::ShareNameWildcard), "{text}");
        }
        for text in ["$share/g", "$share/g/"] {
            assert_eq!(parse(text), Err(TopicError::ShareFilterMissing), "{text}");
        }
        assert_eq!(parse("$share/g\0/a"), Err(TopicError::Null));
        assert_eq!(parse("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
        assert_eq!(parse("$share/g/#/a"), Err(TopicError::MultiLevelWildcard));
        assert_eq!(parse("$share/g/a+"), Err(TopicError::SingleLevelWildcard));
    }

    #[test]
    fn the_levels_of_the_filter_count_and_the_bytes_of_all() {
        let limits = TopicLimits { max_levels: 2, max_bytes: 12 };
        let filter = Subscription::parse("$share/g/a/b", &limits).map(|it| it.filter);
        assert_eq!(filter, Ok("a/b"));
        let error = TopicError::TooManyLevels { levels: 3, max: 2 };
        assert_eq!(Subscription::parse("$share/g///", &limits), Err(error));
        let error = TopicError::TooLong { bytes: 13, max: 12 };
        assert_eq!(Subscription::parse("$share/gg/a/b", &limits), Err(error));
    }
}
