//! The time of day as people read it.

/// A point in time as RFC 3339 writes it, in UTC.
pub(crate) fn utc(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / DAY_SECS, unix_secs % DAY_SECS);
    let (year, month, day) = date(days);
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{secs:02}Z")
}

/// Year, month and day of the month of a day since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let (mut year, mut left) = (1970 + days / CYCLE_DAYS * 400, days % CYCLE_DAYS);
    let length = |year: u64| 365 + u64::from(is_leap(year));
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

pub(crate) const DAY_SECS: u64 = 86_400;
/// After 400 years the calendar begins anew.
const CYCLE_DAYS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_795_824_000, "2026-11-28T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (13_574_563_200, "2400-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(secs), expected);
        }
        assert!(!utc(u64::MAX).is_empty());
    }
}
