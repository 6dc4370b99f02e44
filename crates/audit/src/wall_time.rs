//! The time as rows have it: RFC 3339 in UTC, with milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A time in milliseconds since 1970, as rows have it.
#[must_use]
pub fn stamp(millis: u64) -> String {
    let date = i64::try_from(millis / 1000).ok();
    let date = date.and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    let date = date.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (date.year(), date.month() as u8, date.day());
    let (hour, minute, second) = date.to_hms();
    let millis = millis % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_so_that_they_sort() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(1_795_744_196_007), "2026-11-27T01:49:56.007Z");
        assert!(stamp(now()) > stamp(1_795_744_196_007));
    }
}
