//! What `agentmq config print` writes: a configuration back to TOML, to be read again unchanged.

use std::fmt::Write;

use crate::key::Key;
use crate::value::{Setting, basic_string};
use crate::{Config, ListenerConfig};

/// The configuration as a file: what is in effect, with nothing left out that has a value.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text = String::new();
    let mut table = "";
    let keys: Vec<(String, String)> =
        Key::all().filter_map(|key| Some((key.name(), key.get(config)?.to_string()))).collect();
    for (name, value) in keys.iter().filter(|(name, _)| !name.contains('.')) {
        line(&mut text, name, value);
    }
    if config.listeners.is_empty() {
        line(&mut text, "listeners", "[]");
    }
    for listener in &config.listeners {
        text.push_str("\n[[listeners]]\n");
        for field in ListenerConfig::fields() {
            if let Some(value) = (field.get)(listener) {
                line(&mut text, field.name, &value.to_string());
            }
        }
    }
    for (name, value) in &keys {
        let Some((section, own)) = name.split_once('.') else { continue };
        if section != table {
            table = section;
            text.push_str("\n[");
            text.push_str(section);
            text.push_str("]\n");
        }
        line(&mut text, own, value);
    }
    if !config.shared.groups.is_empty() {
        text.push_str("\n[shared.groups]\n");
    }
    for (name, strategy) in &config.shared.groups {
        line(&mut text, &basic_string(name), &strategy.to_value().to_string());
    }
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key} = {value}").expect("writing into a String does not fail");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{DEFAULT_TOML, Durability, Environment, ShareStrategy, TlsConfig};

    fn again(config: &Config) -> Result<Config, String> {
        let text = print(config);
        Config::parse(&text, Path::new("printed.toml"), &Environment::new())
            .map_err(|error| format!("{error}\n{text}"))
    }

    #[test]
    fn what_is_printed_is_what_was_read() {
        let mut config = Config::default();
        assert_eq!(again(&config), Ok(config.clone()));
        config.listeners[0].url = "mqtts://0.0.0.0:0".into();
        config.listeners[0].tls = Some(TlsConfig {
            cert: "a \"quoted\" name.pem".into(),
            key: "key".into(),
            client_ca: Some("ca".into()),
            require_client_cert: true,
        });
        config.listeners[1].url = "unix:///run/a.sock".into();
        config.listeners[1].mode = Some(0o7);
        config.shared.groups.insert("a group.\n".into(), ShareStrategy::HashTopic);
        config.limits.retained_bytes = u64::MAX;
        config.mqtt.response_information = "é\\\u{1}".into();
        assert_eq!(again(&config), Ok(config));
    }

    #[test]
    fn a_configuration_that_is_refused_is_printed_as_it_is() {
        let mut config = Config::default();
        config.listeners.clear();
        config.durability = Durability::Fsync;
        let error = again(&config).expect_err("is refused");
        assert!(error.contains("there is no listener") && error.contains("\"fsync\""), "{error}");
    }

    #[test]
    fn the_default_file_s_settings_are_all_printed() {
        let printed = print(&Config::default()).replace('_', "");
        for line in DEFAULT_TOML.lines().filter(|line| line.contains(" = ")) {
            assert!(line.starts_with('#') || printed.contains(&line.replace('_', "")), "{line}");
        }
    }
}
