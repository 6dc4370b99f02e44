//! Whether two filters have a topic in common: what a rule that forbids asks of a subscription.

use crate::filter::{FilterLevel, FilterLevels};
use crate::matching::is_dollar;

/// Whether some topic matches both filters.
///
/// The answer is exact, as that of [`contains`](crate::contains): `#` and `$SYS/a` have none in
/// common [MQTT-4.7.2-1], `a/#` and `a` have one, and so have `+/b` and `a/+`.
///
/// Both are valid by [`check_filter`](crate::check_filter), without `$share/NAME/`. Other texts
/// give an answer without meaning, but no panic.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut ours, mut theirs) = (FilterLevels::new(one), FilterLevels::new(other));
    let mut first = true;
    loop {
        let levels = (ours.next(), theirs.next());
        let is_hidden = |wildcard: Option<FilterLevel<'_>>, level| {
            first && wildcard.is_some_and(FilterLevel::is_wildcard) && is_dollar(level)
        };
        if is_hidden(levels.0, levels.1) || is_hidden(levels.1, levels.0) {
            return false;
        }
        match levels {
            // `a/#` matches `a`. The parent of `/#` is the empty text, no topic name
            // [MQTT-4.7.3-1].
            (Some(FilterLevel::Multi), None) => return one != "/#",
            (None, Some(FilterLevel::Multi)) => return other != "/#",
            (Some(FilterLevel::Multi), _) | (_, Some(FilterLevel::Multi)) | (None, None) => {
                return true;
            }
            (None, _) | (_, None) => return false,
            (Some(FilterLevel::Literal(ours)), Some(FilterLevel::Literal(theirs)))
                if ours != theirs =>
            {
                return false;
            }
            (Some(_), Some(_)) => first = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_filters_have_in_common() {
        for (one, other) in [
            ("#", "a/b"),
            ("a/#", "a"),
            ("a/+", "+/b"),
            ("a/#", "+/+/c"),
            ("$SYS/#", "$SYS/broker/+"),
            ("+/#", "#"),
        ] {
            assert!(overlaps(one, other) && overlaps(other, one), "{one} and {other}");
        }
        for (one, other) in [
            ("#", "$SYS/a"),
            ("+/a", "$SYS/a"),
            ("a/b", "a/c"),
            ("a/+", "a"),
            ("a/+/c", "a/b/d"),
            ("secret/#", "public/#"),
        ] {
            assert!(!overlaps(one, other) && !overlaps(other, one), "{one} and {other}");
        }
    }
}
