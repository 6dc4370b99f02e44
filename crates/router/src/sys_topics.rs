//! Statistics under `$SYS/broker/`, by the names that Mosquitto made standard.

use std::fmt::Write;

use agentmq_codec::QoS;
use agentmq_session::{Message, Time};

use crate::counters::Counters;
use crate::router::Router;

/// What the statistics tell at one moment, for the whole broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysReport<'a> {
    /// Program and version.
    pub version: &'a str,
    /// Seconds since the broker started.
    pub uptime_secs: u64,
    /// All shards' counters together.
    pub counters: Counters,
}

impl Router {
    /// Publishes the statistics that have changed, as retained messages.
    pub fn publish_sys(&mut self, report: &SysReport<'_>, now: Time) {
        let c = &report.counters;
        let absent = c.sessions_now.saturating_sub(c.connections_now);
        let dropped = c.dropped_queue_full
            + c.dropped_slow_consumer
            + c.dropped_expired
            + c.dropped_too_large;
        let numbers: [(&str, u64); 23] = [
            ("clients/total", c.sessions_now),
            ("clients/connected", c.connections_now),
            ("clients/active", c.connections_now),
            ("clients/disconnected", absent),
            ("clients/inactive", absent),
            ("clients/maximum", c.connections_max),
            ("clients/expired", c.sessions_expired),
            ("messages/received", c.packets_received),
            ("messages/sent", c.publish_sent),
            ("messages/stored", c.queued_now + c.retained_now),
            ("store/messages/count", c.queued_now + c.retained_now),
            ("store/messages/bytes", c.retained_bytes),
            ("retained messages/count", c.retained_now),
            ("subscriptions/count", c.subscriptions_now),
            ("publish/messages/received", c.publish_received),
            ("publish/messages/sent", c.publish_sent),
            ("publish/messages/dropped", dropped),
            ("bytes/received", c.bytes_received),
            ("bytes/sent", c.bytes_sent),
            ("clients/slow", c.slow_consumers),
            ("clients/refused", c.connections_refused),
            ("clients/taken_over", c.sessions_taken_over),
            ("panics", c.panics),
        ];
        self.publish_statistic("version", report.version, now);
        let mut text = format!("{} seconds", report.uptime_secs);
        self.publish_statistic("uptime", &text, now);
        for (name, number) in numbers {
            text.clear();
            let _ = write!(text, "{number}");
            self.publish_statistic(name, &text, now);
        }
    }

    fn publish_statistic(&mut self, name: &str, value: &str, now: Time) {
        let topic = format!("$SYS/broker/{name}");
        if self.retained.holds(&topic, value.as_bytes()) {
            return;
        }
        let message = Message::plain(&topic, value.as_bytes(), QoS::AtMostOnce, true);
        self.publish_message(message, None, now);
    }
}
