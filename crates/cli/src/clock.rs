//! The time of day, and times for people.

use std::time::SystemTime;

/// Unix time in seconds.
pub(crate) fn unix_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Unix time in milliseconds.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// How long ago a Unix time is, in its largest unit.
pub(crate) fn ago(then: u64, now: u64) -> String {
    format!("{} ago", span(now.saturating_sub(then)))
}

/// A number of seconds in its largest unit.
pub(crate) fn span(secs: u64) -> String {
    let (count, unit) = match secs {
        0..60 => (secs, "second"),
        60..3600 => (secs / 60, "minute"),
        3600..86_400 => (secs / 3600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_one_unit() {
        for (secs, expected) in
            [(0, "0 seconds"), (61, "1 minute"), (7200, "2 hours"), (86_400 * 3, "3 days")]
        {
            assert_eq!(span(secs), expected);
        }
        assert_eq!(ago(10, 5), "0 seconds ago");
    }
}
