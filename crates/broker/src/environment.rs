//! Settings from `AGENTMQ_` variables: `limits.packet_bytes` is `AGENTMQ_LIMITS__PACKET_BYTES`.

use std::collections::BTreeMap;

use crate::config::LISTENERS;
use crate::config_file::{Origin, Reading};
use crate::error::quoted;
use crate::key::{Target, fitting};
use crate::shared_config::STRATEGIES;
use crate::suggestion::nearest;
use crate::value::Allowed;
use crate::{Config, ListenerConfig, Place, ShareStrategy};

/// Environment variables by name. Names without `AGENTMQ_` are ignored.
pub type Environment = BTreeMap<String, String>;

/// Variables that are no settings of the broker: the command line's own.
pub const RESERVED: &[&str] =
    &["AGENTMQ_CONTEXT", "AGENTMQ_URL", "AGENTMQ_USER", "AGENTMQ_PASSWORD"];

/// The variable that sets `key`.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Applies the variables, which override the file.
pub(crate) fn apply(environment: &Environment, reading: &mut Reading) {
    let mut of_listeners = Vec::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if RESERVED.contains(&variable.as_str()) {
            continue;
        }
        if let Some(group) = name.strip_prefix("SHARED__GROUPS__") {
            set_group(variable, group, text, reading);
        } else if let Some((index, key)) = listener_key(name) {
            of_listeners.push((index, key, variable, text));
        } else {
            set_key(variable, name, text, reading);
        }
    }
    // By number, so that 10 comes after 9 and each may extend the list by one.
    of_listeners.sort_by_key(|(index, ..)| *index);
    for (index, key, variable, text) in of_listeners {
        set_listener(variable, index, &key, text, reading);
    }
}

/// `LISTENERS__0__TLS__CERT` is `tls.cert` of listener 0.
fn listener_key(name: &str) -> Option<(usize, String)> {
    let (index, key) = name.strip_prefix("LISTENERS__")?.split_once("__")?;
    Some((index.parse().ok()?, dotted(key)))
}

fn dotted(name: &str) -> String {
    name.replace("__", ".").to_ascii_lowercase()
}

fn set_key(variable: &str, name: &str, text: &str, reading: &mut Reading) {
    let key = dotted(name);
    let place = || Place::Environment(variable.to_owned());
    let origin = || Origin::Environment(variable.to_owned());
    let Some(allowed) = Config::allowed(&key) else {
        reading.findings.report(place, || unknown(variable));
        return;
    };
    match allowed.parse(text).and_then(|value| reading.config.set(&key, value)) {
        Ok(()) => {
            reading.origins.insert(key, origin());
        }
        Err(message) => reading.findings.report(place, || message),
    }
}

fn set_group(variable: &str, group: &str, text: &str, reading: &mut Reading) {
    let place = || Place::Environment(variable.to_owned());
    let origin = || Origin::Environment(variable.to_owned());
    match Allowed::Choice(STRATEGIES).parse(text).and_then(fitting::<ShareStrategy>) {
        Ok(strategy) => {
            reading.origins.insert(format!("shared.groups.{group}"), origin());
            reading.config.shared.groups.insert(group.to_owned(), strategy);
        }
        Err(message) => reading.findings.report(place, || message),
    }
}

fn set_listener(variable: &str, index: usize, key: &str, text: &str, reading: &mut Reading) {
    let place = || Place::Environment(variable.to_owned());
    let origin = || Origin::Environment(variable.to_owned());
    let Some(allowed) = ListenerConfig::allowed(key) else {
        reading.findings.report(place, || unknown(variable));
        return;
    };
    let listeners = &mut reading.config.listeners;
    if index == listeners.len() && index < LISTENERS {
        listeners.push(ListenerConfig::default());
        reading.origins.insert(format!("listeners.{index}"), origin());
    }
    let count = listeners.len();
    let Some(listener) = listeners.get_mut(index) else {
        reading.findings.report(place, || format!("the next listener has the number {count}"));
        return;
    };
    match allowed.parse(text).and_then(|value| listener.set(key, value)) {
        Ok(()) => {
            reading.origins.insert(format!("listeners.{index}.{key}"), origin());
        }
        Err(message) => reading.findings.report(place, || message),
    }
}

fn unknown(name: &str) -> String {
    let keys = Config::names().into_iter().map(|key| variable(&key));
    let listener = ListenerConfig::names().into_iter();
    let listener = listener.map(|key| variable(&format!("listeners.0.{key}")));
    let known: Vec<String> = keys.chain(listener).collect();
    let candidates = known.iter().map(String::as_str).chain(RESERVED.iter().copied());
    match nearest(name, candidates) {
        Some(near) => format!("no setting has this variable; did you mean {near}?"),
        None => format!("no setting has the variable {}", quoted(name)),
    }
}

const PREFIX: &str = "AGENTMQ_";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Config::parse(text, Path::new("a.toml"), &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_has_a_variable() {
        for key in Config::names() {
            let name = variable(&key);
            assert_eq!(name.strip_prefix(PREFIX).map(dotted), Some(key));
        }
        for key in ListenerConfig::names() {
            let name = variable(&format!("listeners.3.{key}"));
            assert_eq!(listener_key(&name["AGENTMQ_".len()..]), Some((3, key)));
        }
    }

    #[test]
    fn a_variable_overrides_the_file() {
        let config = parse(
            "data_dir = 'a'\n[limits]\npacket_bytes = 1000",
            &[
                ("AGENTMQ_LIMITS__PACKET_BYTES", "2000"),
                ("AGENTMQ_DATA_DIR", "b"),
                ("AGENTMQ_MQTT__RETAIN_AVAILABLE", "false"),
                ("AGENTMQ_SHARED__GROUPS__Workers", "sticky"),
                ("PATH", "/bin"),
                ("AGENTMQ_CONTEXT", "local"),
                ("AGENTMQ_URL", "mqtt://broker"),
            ],
        )
        .unwrap();
        assert_eq!(config.limits.packet_bytes, 2000);
        assert_eq!(config.data_dir, Path::new("b"));
        assert!(!config.mqtt.retain_available);
        assert_eq!(config.shared.strategy_of("Workers"), ShareStrategy::Sticky);
    }

    #[test]
    fn listeners_are_changed_and_added_by_number() {
        let config = parse(
            "[[listeners]]\nurl = 'mqtt://127.0.0.1'",
            &[
                ("AGENTMQ_LISTENERS__0__URL", "mqtt://0.0.0.0"),
                ("AGENTMQ_LISTENERS__0__ALLOW_ANONYMOUS", "true"),
                ("AGENTMQ_LISTENERS__1__URL", "wss://127.0.0.1"),
                ("AGENTMQ_LISTENERS__1__TLS__CERT", "a.pem"),
                ("AGENTMQ_LISTENERS__1__TLS__KEY", "a.key"),
                ("AGENTMQ_LISTENERS__1__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ],
        )
        .unwrap();
        assert_eq!(config.listeners[0].url, "mqtt://0.0.0.0");
        assert_eq!(config.listeners[1].allowed_origins.len(), 2);
    }

    #[test]
    fn problems_name_the_variable() {
        for (name, value, expected) in [
            (
                "AGENTMQ_LIMITS_PACKET_BYTES",
                "1",
                "AGENTMQ_LIMITS_PACKET_BYTES: no setting has this variable; did you mean \
                 AGENTMQ_LIMITS__PACKET_BYTES?",
            ),
            ("AGENTMQ_XYZZY", "1", "AGENTMQ_XYZZY: no setting has the variable `AGENTMQ_XYZZY`"),
            (
                "AGENTMQ_THREADS__SHARDS",
                "",
                "AGENTMQ_THREADS__SHARDS: write a whole number from 0 to 64 instead of ``",
            ),
            (
                "AGENTMQ_LISTENERS__7__URL",
                "mqtt://127.0.0.1",
                "AGENTMQ_LISTENERS__7__URL: the next listener has the number 2",
            ),
            (
                "AGENTMQ_LISTENERS__0__URI",
                "mqtt://127.0.0.1",
                "AGENTMQ_LISTENERS__0__URI: no setting has this variable; did you mean \
                 AGENTMQ_LISTENERS__0__URL?",
            ),
            (
                "AGENTMQ_SHARED__GROUPS__a",
                "stick",
                "AGENTMQ_SHARED__GROUPS__a: `stick` is not known: write one of \"round_robin\", \
                 \"random\", \"least_inflight\", \"sticky\", \"hash_client\", \"hash_topic\"; did \
                 you mean \"sticky\"?",
            ),
        ] {
            assert_eq!(parse("", &[(name, value)]), Err(expected.to_owned()), "{name}");
        }
    }
}
