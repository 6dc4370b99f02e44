//! The default file is the manual of the configuration: the comment above a key is its
//! documentation, here and in `agentmq config explain`.

/// The default configuration, with a comment on every key.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// What the default file says about a key or a table: the comment above it, as one paragraph.
pub(crate) fn documentation(key: &str) -> Option<String> {
    let mut table = String::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        let name = if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']).to_owned();
            Some(table.clone())
        } else {
            let setting = line.trim_start_matches('#').split_once(" = ");
            let dot = if table.is_empty() { "" } else { "." };
            setting.map(|(own, _)| format!("{table}{dot}{own}"))
        };
        if name.as_deref() == Some(key) && !comment.is_empty() {
            return Some(comment.join(" "));
        }
        comment.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agentmq_session::Limits;

    use super::*;
    use crate::{Config, Environment, ListenerConfig, ShareStrategy, key_names};

    /// The file with its settings without a default switched on.
    fn with_examples() -> String {
        let mut text = String::new();
        for line in DEFAULT_TOML.lines() {
            let example = line.starts_with('#') && !line.starts_with("# ") && line != "#";
            text.push_str(if example { &line[1..] } else { line });
            text.push('\n');
        }
        text
    }

    #[test]
    fn its_values_are_the_defaults() {
        let config = Config::parse(DEFAULT_TOML, Path::new("default.toml"), &Environment::new());
        assert_eq!(config.map_err(|error| error.to_string()), Ok(Config::default()));
    }

    #[test]
    fn every_key_is_in_it_with_a_comment() {
        for key in key_names() {
            assert!(documentation(&key).is_some(), "{key}");
        }
        for table in [
            "listeners",
            "disk",
            "access",
            "admin",
            "session",
            "mqtt",
            "shared",
            "sys",
            "log",
            "threads",
            "limits",
        ] {
            assert!(documentation(table).is_some(), "{table}");
        }
        assert_eq!(documentation("nothing"), None);
    }

    #[test]
    fn every_key_with_a_default_is_set_in_it() {
        let document: toml::Table = DEFAULT_TOML.parse().unwrap();
        let listener = document["listeners"][0].as_table().unwrap();
        for key in key_names() {
            let set = match key.split_once('.') {
                None => document.contains_key(&key),
                Some(("listeners", own)) => {
                    let has_default = !own.starts_with("tls.") && own != "mode";
                    listener.contains_key(own) || !has_default
                }
                Some(_) => {
                    let mut steps = key.split('.');
                    let first = steps.next().and_then(|step| document.get(step));
                    steps
                        .try_fold(first, |value, step| Some(value?.get(step)))
                        .is_some_and(|it| it.is_some())
                }
            };
            assert!(set, "{key}");
        }
    }

    #[test]
    fn every_limit_is_documented_by_its_own_words() {
        for info in Limits::TABLE {
            let documented = documentation(&format!("limits.{}", info.name));
            let expected = format!("In {}. Beyond it: {}.", info.unit, info.overflow);
            assert_eq!(documented, Some(expected), "{}", info.name);
        }
    }

    #[test]
    fn its_examples_are_right() {
        let plain = "url = \"mqtt://127.0.0.1:1883\"";
        // The mode is for a Unix socket, the certificates are for TLS: one example at a time.
        let both = with_examples();
        let unix: String = both
            .lines()
            .filter(|line| !line.starts_with("tls."))
            .fold(String::new(), |text, line| text + line + "\n")
            .replace(plain, "url = \"unix:///run/agentmq.sock\"");
        let tls = both.replace(plain, "url = \"mqtts://0.0.0.0\"").replace("mode = \"0660\"", "");
        for text in [unix, tls] {
            let config = Config::parse(&text, Path::new("default.toml"), &Environment::new());
            let config = config.map_err(|error| error.to_string()).unwrap();
            assert_ne!(config.listeners[0], ListenerConfig::new("mqtt://127.0.0.1:1883"));
            assert_eq!(config.shared.strategy_of("workers"), ShareStrategy::LeastInFlight);
        }
    }

    #[test]
    fn the_benchmark_s_file_is_right_and_only_raises_limits() {
        let text = include_str!("../../../bench/broker.toml");
        let path = Path::new("bench/broker.toml");
        let config = Config::parse(text, path, &Environment::new());
        let config = config.map_err(|error| error.to_string()).unwrap();
        let mut raised = 0;
        for info in Limits::TABLE {
            let value = config.limits.get(info.name).expect("is a limit");
            assert!(value >= info.default, "{}", info.name);
            raised += usize::from(value > info.default);
        }
        assert_ne!(raised, 0);
        assert_eq!(config.limits.packet_bytes, Limits::default().packet_bytes);
    }

    #[test]
    fn its_lines_fit_on_a_screen() {
        for line in DEFAULT_TOML.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
