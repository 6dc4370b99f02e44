//! Every bound of the broker, in one place: default, unit and what happens beyond it.

macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, $unit:literal, $overflow:literal;)*) => {
        /// The bounds of a broker. `agentmq limits` prints them; the `[limits]` table of the
        /// configuration sets them by these names.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = concat!("In ", $unit, ". Beyond it: ", $overflow, ".")] pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// All limits with their defaults, in the order of their definition.
            pub const TABLE: &'static [LimitInfo] = &[$(LimitInfo {
                name: stringify!($name),
                default: $default as u64,
                maximum: <$type>::MAX as u64,
                unit: $unit,
                overflow: $overflow,
            },)*];

            /// The value of the limit called `name`.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name { $(stringify!($name) => Some(self.$name as u64),)* _ => None }
            }

            /// Sets the limit called `name`. Values beyond the limit's type are refused.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), UnknownLimit> {
                match name {
                    $(stringify!($name) => {
                        self.$name = <$type>::try_from(value).map_err(|_| UnknownLimit::TooLarge)?;
                    })*
                    _ => return Err(UnknownLimit::NoSuchName),
                }
                Ok(())
            }
        }
    };
}

/// One row of `agentmq limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitInfo {
    /// Key in the configuration.
    pub name: &'static str,
    /// Default value.
    pub default: u64,
    /// Largest value that can be set.
    pub maximum: u64,
    /// What the number counts.
    pub unit: &'static str,
    /// What happens beyond it.
    pub overflow: &'static str,
}

/// Why a limit cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLimit {
    /// No limit has this name.
    #[error("no limit has this name; `agentmq limits` lists them")]
    NoSuchName,
    /// The value does not fit.
    #[error("the value is too large; `agentmq limits` shows the largest")]
    TooLarge,
}

limits! {
    connections: u32 = 1_000_000, "connections", "CONNACK 0x97, then close";
    connecting: u32 = 32_768, "connections that have not sent CONNECT", "accepting pauses";
    connect_timeout_ms: u32 = 10_000, "milliseconds from accept to CONNECT, TLS included", "close";
    connects_per_second: u32 = 500, "accepted connections a second, while `busy_connecting` or more have not sent CONNECT", "accepting is delayed";
    busy_connecting: u32 = 20_000, "connections that have not sent CONNECT", "`connects_per_second` counts";
    flapping_connects: u32 = 15, "connects a minute of one client identifier, while there are more than 3 000 in all (0: no bound)", "CONNACK 0x8A for five minutes";
    waiting_logins: u32 = 1_024, "logins whose password waits to be verified, and as many that another server is to be asked about", "CONNACK 0x89 for one of the network that has the most waiting";
    sessions: u32 = 1_000_000, "sessions, offline ones included", "CONNACK 0x97";
    session_expiry_secs: u32 = u32::MAX, "seconds (4294967295: never)", "CONNACK states the lower Session Expiry Interval";
    keep_alive_secs: u16 = u16::MAX, "seconds", "CONNACK states the lower Server Keep Alive";
    client_id_bytes: u16 = 512, "bytes of a client identifier", "CONNACK 0x85";
    packet_bytes: u32 = 1_048_576, "bytes", "DISCONNECT 0x95";
    topic_levels: u16 = 64, "levels", "PUBACK or PUBREC 0x90 for a topic name (DISCONNECT with QoS 0 or a new alias, close before version 5), SUBACK 0x8F for a filter";
    topic_bytes: u16 = 512, "bytes", "PUBACK or PUBREC 0x90 for a topic name (DISCONNECT with QoS 0 or a new alias, close before version 5), SUBACK 0x8F for a filter";
    user_properties: u32 = 64, "User Properties a packet", "DISCONNECT 0x97";
    user_property_bytes: u32 = 8_192, "bytes of User Properties a packet", "DISCONNECT 0x97";
    topic_aliases_in: u16 = 16, "topic aliases of a client", "DISCONNECT 0x94";
    topic_aliases_out: u16 = 16, "topic aliases towards a client", "the topic is sent";
    subscriptions_per_session: u32 = 10_000, "filters", "SUBACK 0x97";
    receive_maximum: u16 = 1_024, "unacknowledged QoS 1 and 2 publications of a client", "DISCONNECT 0x93";
    in_flight: u16 = 1_024, "unacknowledged QoS 1 and 2 publications to a client", "they wait in its queue; so they do 4 times as far (at least 1 024) behind one that stays unacknowledged";
    queue_messages: u32 = 1_000, "messages of a session that wait and need not survive the broker (QoS 0, clean sessions, durability \"memory\")", "expired ones are dropped, then the oldest; its next CONNACK tells how many";
    queue_bytes: u32 = 8_388_608, "bytes of a session that wait and need not survive the broker", "expired ones are dropped, then the oldest; its next CONNACK tells how many";
    durable_queue_bytes: u64 = 1_073_741_824, "bytes of a session that wait and survive the broker (QoS 1 and 2 with durability \"fsync\" or \"os\")", "expired ones are dropped, then the oldest; its next CONNACK tells how many";
    durable_queue_memory: u32 = 8_388_608, "bytes in memory of what waits in a session and survives the broker", "the rest waits on the disk and is read back when its turn comes";
    queue_memory: u64 = 268_435_456, "bytes in memory of what waits in all sessions together and survives the broker", "what comes then waits on the disk and is read back when its turn comes";
    outbox_bytes: u32 = 4_194_304, "bytes to a client that does not read", "QoS 0 is dropped and counted, QoS 1 and 2 wait in its queue";
    write_blocked_ms: u32 = 10_000, "milliseconds in which a client reads nothing", "DISCONNECT 0x97, the session stays";
    publishes_per_second: u32 = 0, "publications a second of one client (0: no bound)", "its socket is not read until the second is over";
    retained_messages: u32 = 1_000_000, "retained messages", "PUBACK 0x97, the message is delivered but not retained";
    retained_bytes: u64 = 1_073_741_824, "bytes of retained messages", "PUBACK 0x97, the message is delivered but not retained";
    open_requests: u32 = 1_024, "requests of a session that wait for answers below $reply/", "the one whose last answer is the oldest is closed, or else the oldest";
    open_request_secs: u32 = 600, "seconds for which a request without Message Expiry Interval waits for an answer below $reply/, and then for the next", "late answers are PUBACK or PUBREC 0x87, or dropped";
    refusal_lines: u32 = 20, "log lines a second and shard about clients refused, closed or kept waiting", "they are counted in one line";
    route_cache: u32 = 131_072, "topics whose receivers are remembered", "another topic is forgotten";
}

/// Publications that may stand between the oldest unacknowledged one and the newest, acknowledged
/// ones included: packet identifiers are places in a ring, and one that a client never acknowledges
/// must not stretch it to all 65 535. Wide enough that slow work on one message does not hold up
/// the others for long. Beyond it: they wait in the queue for that acknowledgement.
pub(crate) fn window_span(receive_maximum: u16) -> usize {
    (4 * usize::from(receive_maximum)).max(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_read_and_set_by_its_name() {
        let mut limits = Limits::default();
        for info in Limits::TABLE {
            assert_eq!(limits.get(info.name), Some(info.default));
            assert_eq!(limits.set(info.name, 7), Ok(()));
            assert_eq!(limits.get(info.name), Some(7));
        }
        assert_eq!(limits.set("packets", 1), Err(UnknownLimit::NoSuchName));
        assert_eq!(limits.set("topic_levels", 1 << 40), Err(UnknownLimit::TooLarge));
    }
}
