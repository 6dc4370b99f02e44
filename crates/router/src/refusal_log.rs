//! What the log says of clients that are refused or closed: so many lines a second, and how many
//! more there would have been, so that a flood of them does not become one of the log.

use agentmq_codec::ReasonCode;

use crate::connection::ConnectionId;
use crate::router::Router;

/// A line about a client that was refused, or closed for what it did. Whoever knows where the
/// connection comes from writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The connection, which may have gone meanwhile.
    pub connection: ConnectionId,
    /// Its client identifier, as much of it as a line takes; empty where it is not known.
    pub client_id: Box<str>,
    /// What the client is told, if it is told anything.
    pub reason: ReasonCode,
    /// Cause and fix.
    pub why: Box<str>,
    /// A CONNECT was refused; else the client broke the protocol later.
    pub is_connect: bool,
}

/// The lines that wait to be written, and how many may still come.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    waiting: Vec<Refusal>,
    /// Lines since the log was renewed.
    lines: u32,
    /// Those that were left out.
    more: u64,
}

impl RefusalLog {
    /// Whether there may be one more line; counts it either way.
    fn takes_line(&mut self, limit: u32) -> bool {
        let takes = self.lines < limit;
        self.lines += u32::from(takes);
        self.more += u64::from(!takes);
        takes
    }

    fn renew(&mut self) -> u64 {
        self.lines = 0;
        std::mem::take(&mut self.more)
    }
}

impl Router {
    /// The lines that have come up since this was last asked.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusal_log.waiting)
    }

    /// Whether the log takes one more line about a client, within the limit `refusal_lines`.
    pub fn takes_refusal_line(&mut self) -> bool {
        self.refusal_log.takes_line(self.settings.limits.refusal_lines)
    }

    /// Another second has begun: returns how many lines were left out in the last.
    pub fn renew_refusal_log(&mut self) -> u64 {
        self.refusal_log.renew()
    }

    /// Puts a line up for the log.
    pub(crate) fn note_refusal(
        &mut self,
        connection: ConnectionId,
        client_id: &str,
        reason: ReasonCode,
        why: &str,
        is_connect: bool,
    ) {
        if self.takes_refusal_line() {
            let (client_id, why) = (beginning(client_id).into(), why.into());
            let refusal = Refusal { connection, client_id, reason, why, is_connect };
            self.refusal_log.waiting.push(refusal);
        }
    }
}

/// As much of a client identifier as a line takes.
fn beginning(client_id: &str) -> &str {
    let end = client_id.char_indices().nth(CLIENT_ID_CHARS).map(|(at, _)| at);
    &client_id[..end.unwrap_or(client_id.len())]
}

const CLIENT_ID_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_and_then_a_count() {
        let mut log = RefusalLog::default();
        let taken = (0..5).filter(|_| log.takes_line(2)).count();
        assert_eq!((taken, log.renew()), (2, 3));
        assert!(log.takes_line(2));
        assert_eq!(log.renew(), 0);
        assert!(!log.takes_line(0));
    }

    #[test]
    fn a_long_client_identifier_is_cut_between_characters() {
        let long = "é".repeat(100);
        assert_eq!(beginning(&long), "é".repeat(CLIENT_ID_CHARS));
        assert_eq!(beginning("short"), "short");
    }
}
