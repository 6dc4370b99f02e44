//! `[mqtt]`: features that a broker may withhold or impose, such as QoS 2, retain and Keep Alive
//! (MQTT 5 §3.2.2.3).

use agentmq_codec::QoS;
use agentmq_router::DOLLAR_PREFIXES;

use crate::value::{Setting, Value};

/// `[mqtt]`: what CONNACK offers (MQTT 5 §3.2.2.3). The numbers among it are limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
    /// Server Keep Alive in seconds for every client; 0 leaves each client its own.
    pub server_keep_alive_secs: u16,
    /// Maximum QoS [MQTT-3.2.2-9].
    pub maximum_qos: QoS,
    /// Retain Available [MQTT-3.2.2-13].
    pub retain_available: bool,
    /// Wildcard Subscription Available.
    pub wildcard_subscriptions: bool,
    /// Subscription Identifiers Available.
    pub subscription_identifiers: bool,
    /// Shared Subscription Available.
    pub shared_subscriptions: bool,
    /// First levels with `$` below which clients may publish; `*` stands for all.
    pub dollar_prefixes: Vec<String>,
    /// Response Information for clients that request it; empty: that of their reply topics.
    pub response_information: String,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            server_keep_alive_secs: 0,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            dollar_prefixes: DOLLAR_PREFIXES.map(String::from).into(),
            response_information: String::new(),
        }
    }
}

impl Setting for QoS {
    fn to_value(&self) -> Value {
        Value::Integer(*self as u64)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(level) => Self::from_bits(u8::try_from(level).ok()?),
            _ => None,
        }
    }
}

/// What is wrong with a prefix of topics that begin with `$`, if anything is.
pub(crate) fn dollar_prefix_problem(prefix: &str) -> Option<&'static str> {
    if prefix == "*" {
        return None;
    }
    if prefix == "$SYS" || prefix == "$share" {
        return Some("nobody publishes there: $SYS is the broker's, $share stands before filters");
    }
    if !prefix.starts_with('$') || prefix.contains(['/', '+', '#', '\0']) {
        return Some("one level that begins with $, such as \"$mine\", or \"*\" for all");
    }
    None
}

/// What is wrong with a Response Information, if anything is: it is a UTF-8 Encoded String
/// [MQTT-1.5.4-2], whose length is two bytes.
pub(crate) fn response_information_problem(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("an MQTT string holds no U+0000");
    }
    if text.len() > usize::from(u16::MAX) {
        return Some("an MQTT string has 65535 bytes at most");
    }
    None
}
