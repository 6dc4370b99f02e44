//! Every bound of this module, with what happens beyond it.

use std::time::Duration;

/// Calls that one server works on at once, unless it says otherwise. A further one is answered
/// `unavailable` at once: a caller can go elsewhere, or come back, and nothing waits unseen.
pub const CONCURRENCY: usize = 64;

/// How long a server works on a call whose message does not expire; then it is answered `timeout`.
pub const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Calls that a server remembers so as not to do one twice. The oldest is forgotten first.
pub const RECENT_CALLS: usize = 4096;

/// Bytes of a `call_id`. A call with a longer one is dropped.
pub(crate) const CALL_ID_BYTES: usize = 1024;

/// Seconds that a client or server may be away: the broker keeps its messages so long, and does not
/// tell that it is gone.
pub const RETURN_SECS: u32 = 30;

/// How long a call may take, unless its caller says otherwise. That of the published client.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls of one client that are under way. A further one waits, for as long as it may take.
pub const OPEN_CALLS: usize = 1024;

/// Calls that are given up and of which the server has not said yet that it has started. The oldest
/// is forgotten first, and its server works on.
pub(crate) const GIVEN_UP: usize = 1024;

/// Partial results that wait for who called. Further ones are dropped and counted: their caller
/// would hold up every other call of the connection.
pub const WAITING_PARTIALS: usize = 256;

/// Cards of servers, and of tools, that a client remembers. Further ones are dropped and counted.
pub const CARDS: usize = 10_000;

/// Bytes of a card. A larger one is dropped and counted.
pub const CARD_BYTES: usize = 256 << 10;

/// Bytes that all cards take which a client remembers, about ([`crate::weight`]). What would exceed
/// it is dropped and counted.
pub const CARDS_BYTES: usize = 32 << 20;

/// Bytes of a message, as the broker is told (Maximum Packet Size).
pub const PAYLOAD_BYTES: usize = 16 << 20;

/// How long a call works before its caller is told how to cancel it. Most are over by then.
pub(crate) const STARTED_AFTER: Duration = Duration::from_millis(50);

/// How long the end of a server may take: its calls are finished, and its cards written.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// How long one card is waited for, as in the published client.
pub(crate) const CARD_PATIENCE: Duration = Duration::from_secs(2);

/// All cards have come when none has come for so long: MQTT has no word for the last one.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// But no longer than this.
pub(crate) const LIST_PATIENCE: Duration = Duration::from_secs(3);
