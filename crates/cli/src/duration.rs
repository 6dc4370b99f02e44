//! Durations on the command line: `500ms`, `5s`, `2m`, `1h`, or seconds.

use std::time::Duration;

/// Reads a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a duration like 5s"))?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(format!("unknown unit {unit:?}: use us, ms, s, m, h or d")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} is too long"))
}

/// Reads a duration in whole seconds, as MQTT properties have them; `never` is the largest value.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(u32::MAX);
    }
    u32::try_from(parse(text)?.as_secs()).map_err(|_| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_seconds("2h"), Ok(7200));
        assert_eq!(parse_seconds("never"), Ok(u32::MAX));
        for bad in ["", "s", "5x", "-1s", "1e99d", "1..2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
