//! Points in time on the command line.

use std::str::FromStr;

use agentmq_broker::audit_time;

use crate::clock::unix_millis;

/// A point in time, as the audit log writes it, or the beginning of that: it sorts as times do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeArg(pub(crate) String);

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_date = text.as_bytes().get(4) == Some(&b'-');
        if is_date && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ".contains(&byte)) {
            return Ok(Self(text.trim_end_matches('Z').to_owned()));
        }
        let ago = crate::duration::parse(text).map_err(|_| {
            format!("{text:?} is no time (2026-01-31, 2026-01-31T12:00Z) and no duration (2h)")
        })?;
        let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        Ok(Self(audit_time(unix_millis().saturating_sub(millis))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_how_long_ago() {
        let read = |text: &str| text.parse::<TimeArg>().map(|time| time.0);
        assert_eq!(read("2026-01-31").as_deref(), Ok("2026-01-31"));
        assert_eq!(read("2026-01-31T12:00Z").as_deref(), Ok("2026-01-31T12:00"));
        assert!(read("2h").is_ok_and(|time| time.ends_with('Z') && time.len() == 24));
        for bad in ["", "yesterday", "2026-01-31 12:00", "2026-x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
