//! Statistics under `$SYS/broker/`, by the names that Mosquitto made standard. They mean the same:
//! `messages` are packets of any type, `publish/bytes` are payloads, `subscriptions` are those that
//! are not shared. `heap` is missing: nothing here knows it without asking for each allocation.
//! Ours beside them: `durability`, and `store/condition` (good, low, full or failed) with the
//! numbers of the log that acknowledgements rely on, `audit`, and `$SYS/audit/head`.

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
        let numbers: [(&str, u64); 28] = [
            ("clients/total", c.sessions_now),
            ("clients/connected", c.connections_now),
            ("clients/active", c.connections_now),
            ("clients/disconnected", absent),
            ("clients/inactive", absent),
            ("clients/maximum", c.connections_max),
            ("clients/expired", c.sessions_expired),
            ("messages/received", c.packets_received),
            ("messages/sent", c.packets_sent),
            ("messages/stored", c.queued_now + c.retained_now),
            ("store/messages/count", c.queued_now + c.retained_now),
            ("store/messages/bytes", c.retained_bytes),
            ("retained messages/count", c.retained_now),
            ("retained messages/withheld", c.retained_withheld),
            ("replies/dropped", c.replies_dropped),
            ("subscriptions/count", c.subscriptions_now - c.shared_subscriptions_now),
            ("shared_subscriptions/count", c.shared_subscriptions_now),
            ("publish/messages/received", c.publish_received),
            ("publish/messages/sent", c.publish_sent),
            ("publish/messages/dropped", c.dropped()),
            ("publish/bytes/received", c.publish_bytes_received),
            ("publish/bytes/sent", c.publish_bytes_sent),
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
        self.publish_store_statistics(now);
        self.publish_audit_statistics(now);
        self.publish_organizations(now);
        for (name, number) in numbers {
            text.clear();
            let _ = write!(text, "{number}");
            self.publish_statistic(name, &text, now);
        }
        self.loads.update(c, now);
        let mut name = String::new();
        for (load, window, value) in self.loads.rows().collect::<Vec<_>>() {
            name.clear();
            text.clear();
            let _ = write!(name, "load/{load}/{window}");
            let _ = write!(text, "{value:.2}");
            self.publish_statistic(&name, &text, now);
        }
    }

    /// What acknowledgements promise, and how it is with the disk that they rely on.
    fn publish_store_statistics(&mut self, now: Time) {
        if !self.settings.durability.is_empty() {
            self.publish_statistic("durability", self.settings.durability, now);
        }
        let Some(store) = self.commit.statistics() else { return };
        self.publish_statistic("store/condition", store.condition_name(), now);
        let numbers = [
            ("store/commits", Some(store.commits)),
            ("store/records", Some(store.records)),
            ("store/bytes", Some(store.bytes)),
            ("store/segments", Some(store.segments)),
            ("store/damage", Some(store.damage)),
            ("store/free", store.free),
            ("store/queues/bytes", Some(store.queued)),
            ("store/queues/memory", Some(store.queued_in_memory)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                self.publish_statistic(name, &number.to_string(), now);
            }
        }
    }

    /// How it is with the audit log; and its head, for whoever keeps it elsewhere: then nobody can
    /// write another log in its place.
    fn publish_audit_statistics(&mut self, now: Time) {
        let Some(audit) = self.audit.statistics() else { return };
        let condition = if audit.is_good { "good" } else { "failed" };
        self.publish_statistic("audit/condition", condition, now);
        for (name, number) in [
            ("audit/rows", audit.rows),
            ("audit/bytes", audit.bytes),
            ("audit/left_out", audit.left_out),
        ] {
            self.publish_statistic(name, &number.to_string(), now);
        }
        self.publish_fact("$SYS/audit/head", &audit.head, now);
    }

    fn publish_statistic(&mut self, name: &str, value: &str, now: Time) {
        self.publish_fact(&format!("$SYS/broker/{name}"), value, now);
    }

    fn publish_fact(&mut self, topic: &str, value: &str, now: Time) {
        if self.retained.holds(topic, value.as_bytes()) {
            return;
        }
        let message = Message::plain(topic, value.as_bytes(), QoS::AtMostOnce, true);
        self.publish_message(message, now);
    }
}
