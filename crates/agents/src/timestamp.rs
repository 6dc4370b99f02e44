//! Times as cards and calls write them: ISO 8601 in UTC, with milliseconds.

/// Milliseconds since 1970 as a text, such as `2026-11-20T08:30:00.000Z`. What lies beyond the year
/// 9999 is written as its end.
#[must_use]
pub fn timestamp(ms: u64) -> String {
    let ms = ms.min(LAST);
    let (days, in_day) = (ms / DAY, ms % DAY);
    let (year, month, day) = date(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, rest) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

/// Year, month and day of a day since 1970. Years begin in March here, so that the leap day is the
/// last one and months have a pattern: 153 days in five.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since March 1st of the year 0
    let (era, day) = (days / 146_097, days % 146_097); // 400 years repeat
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let after_new_year = month >= 10;
    let month = if after_new_year { month - 9 } else { month + 3 };
    (era * 400 + year + u64::from(after_new_year), month, of_month)
}

const DAY: u64 = 86_400_000;
const LAST: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_calendars_have_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }

    #[test]
    fn days_follow_each_other() {
        let mut before = date(0);
        for days in 1..150_000 {
            let (year, month, day) = date(days);
            let next = (year, month, day) == (before.0, before.1, before.2 + 1)
                || day == 1 && (year, month) == (before.0, before.1 + 1)
                || (month, day) == (1, 1) && year == before.0 + 1 && before.1 == 12;
            assert!(next && (1..=31).contains(&day), "{before:?} {year} {month} {day}");
            before = (year, month, day);
        }
    }
}
