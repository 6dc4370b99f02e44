//! When to send PINGREQ and when to give the peer up (MQTT 5 §3.1.2.10).

use std::time::{Duration, Instant};

/// The keep alive clock of one connection. Time is an argument.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// Zero turns the mechanism off.
    interval: Duration,
    /// How long an answer to PINGREQ may take.
    patience: Duration,
    last_sent: Instant,
    /// When the oldest unanswered PINGREQ went out.
    waiting_since: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this time; `None` means never.
    Nothing(Option<Instant>),
    /// Send PINGREQ.
    Ping,
    /// The peer is dead.
    Dead,
}

impl KeepAlive {
    pub(crate) fn new(interval: Duration, patience: Duration, now: Instant) -> Self {
        Self { interval, patience, last_sent: now, waiting_since: None }
    }

    /// Bytes went out.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// Bytes came in: whatever they are, the peer lives.
    pub(crate) fn received(&mut self) {
        self.waiting_since = None;
    }

    /// What to do now. While the application does not take its messages the socket isn't read, so
    /// `reading` is false and no answer is expected.
    pub(crate) fn due(&mut self, now: Instant, reading: bool) -> Due {
        if self.interval.is_zero() {
            return Due::Nothing(None);
        }
        if !reading {
            self.waiting_since = None;
        }
        if let Some(since) = self.waiting_since
            && now >= since + self.patience
        {
            return Due::Dead;
        }
        let next_ping = self.last_sent + self.interval;
        if now >= next_ping {
            self.waiting_since.get_or_insert(now);
            self.last_sent = now;
            return Due::Ping;
        }
        let give_up = self.waiting_since.map(|since| since + self.patience);
        Due::Nothing(Some(give_up.map_or(next_ping, |at| at.min(next_ping))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn pings_when_idle_and_gives_up_without_an_answer() {
        let start = Instant::now();
        let mut clock = KeepAlive::new(10 * S, 5 * S, start);
        assert_eq!(clock.due(start, true), Due::Nothing(Some(start + 10 * S)));
        assert_eq!(clock.due(start + 10 * S, true), Due::Ping);
        assert_eq!(clock.due(start + 10 * S, true), Due::Nothing(Some(start + 15 * S)));
        assert_eq!(clock.due(start + 15 * S, true), Due::Dead);
    }

    #[test]
    fn any_byte_is_an_answer_and_sending_puts_the_ping_off() {
        let start = Instant::now();
        let mut clock = KeepAlive::new(10 * S, 5 * S, start);
        assert_eq!(clock.due(start + 10 * S, true), Due::Ping);
        clock.received();
        clock.sent(start + 12 * S);
        assert_eq!(clock.due(start + 16 * S, true), Due::Nothing(Some(start + 22 * S)));
    }

    #[test]
    fn a_paused_reader_condemns_nobody() {
        let start = Instant::now();
        let mut clock = KeepAlive::new(10 * S, 5 * S, start);
        assert_eq!(clock.due(start + 10 * S, true), Due::Ping);
        assert_eq!(clock.due(start + 16 * S, false), Due::Nothing(Some(start + 20 * S)));
    }

    #[test]
    fn zero_turns_it_off() {
        let start = Instant::now();
        let mut clock = KeepAlive::new(Duration::ZERO, S, start);
        assert_eq!(clock.due(start + 9999 * S, true), Due::Nothing(None));
    }
}
