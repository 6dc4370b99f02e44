//! The ranges of `[limits]`, and when a changed limit takes effect. Names, defaults, units and
//! what happens beyond a limit are in [`agentmq_session::Limits::TABLE`].

use agentmq_session::LimitInfo;

use crate::Config;
use crate::key::Reload;
use crate::value::Allowed;

/// The range of a limit.
pub(crate) fn allowed(info: &LimitInfo) -> Allowed {
    match info.name {
        "packet_bytes" => Allowed::Integer { minimum: SHORTEST_BOUND, maximum: LONGEST_PACKET },
        name if MAY_BE_ZERO.contains(&name) => {
            Allowed::Integer { minimum: 0, maximum: info.maximum }
        }
        // Zero would be a Protocol Error in CONNACK (MQTT 5 §3.2.2.3.3), or let nobody in.
        _ => Allowed::Integer { minimum: 1, maximum: info.maximum },
    }
}

/// When a changed limit takes effect.
pub(crate) fn reload(info: &LimitInfo) -> Reload {
    if PROMISED.contains(&info.name) { Reload::NewConnections } else { Reload::AtOnce }
}

/// Limits that contradict each other, one line each. Nothing breaks, but something will surprise.
pub(crate) fn notices(config: &Config) -> Vec<String> {
    let limits = &config.limits;
    let packet = limits.packet_bytes;
    let mut notices = Vec::new();
    for (name, bytes, outcome) in [
        ("queue_bytes", u64::from(limits.queue_bytes), "the largest messages are never queued"),
        (
            "durable_queue_bytes",
            limits.durable_queue_bytes,
            "the largest messages are never queued",
        ),
        (
            "outbox_bytes",
            u64::from(limits.outbox_bytes),
            "the largest messages fill an outbox alone",
        ),
    ] {
        if bytes < u64::from(packet) {
            notices.push(format!(
                "limits.{name} = {bytes} is less than limits.packet_bytes = {packet}: {outcome}"
            ));
        }
    }
    notices
}

/// Limits whose zero has a meaning: none of it, or (flapping_connects, publishes_per_second) no
/// bound.
const MAY_BE_ZERO: &[&str] = &[
    "flapping_connects",
    "session_expiry_secs",
    "user_properties",
    "user_property_bytes",
    "topic_aliases_in",
    "topic_aliases_out",
    "queue_messages",
    "queue_bytes",
    "durable_queue_bytes",
    "durable_queue_memory",
    "queue_memory",
    "publishes_per_second",
    "retained_messages",
    "retained_bytes",
];

/// Limits that a connection has been promised, in CONNACK or by the size of its windows: they stay
/// as they are until it ends.
const PROMISED: &[&str] = &[
    "connect_timeout_ms",
    "session_expiry_secs",
    "keep_alive_secs",
    "packet_bytes",
    "topic_aliases_in",
    "topic_aliases_out",
    "receive_maximum",
    "in_flight",
];

/// Bytes of the smallest `packet_bytes`: below it no ordinary CONNECT would pass.
const SHORTEST_BOUND: u64 = 128;
/// One byte of type and flags, four of length, and the largest Remaining Length (MQTT 5 §2.1.4).
const LONGEST_PACKET: u64 = 1 + 4 + 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;
    use agentmq_session::Limits;

    #[test]
    fn every_name_in_a_rule_is_a_limit() {
        for name in MAY_BE_ZERO.iter().chain(PROMISED) {
            assert!(Limits::TABLE.iter().any(|info| info.name == *name), "{name}");
        }
    }

    #[test]
    fn zero_is_allowed_where_it_means_something() {
        let allowed = |name: &str| {
            allowed(Limits::TABLE.iter().find(|info| info.name == name).unwrap()).parse("0")
        };
        assert!(allowed("publishes_per_second").is_ok());
        assert!(allowed("receive_maximum").is_err());
        assert!(allowed("packet_bytes").is_err());
    }

    #[test]
    fn a_queue_smaller_than_a_packet_is_noticed() {
        let mut config = Config::default();
        assert_eq!(notices(&config), Vec::<String>::new());
        config.limits.queue_bytes = 10;
        let notices = notices(&config);
        assert!(
            matches!(notices.as_slice(), [one] if one.contains("queue_bytes = 10")),
            "{notices:?}"
        );
    }
}
