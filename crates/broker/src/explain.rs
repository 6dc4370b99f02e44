//! What `agentmq config explain` says of a key.

use std::fmt;

use crate::default_file::documentation;
use crate::environment::variable;
use crate::key::{Key, Reload, Target};
use crate::shared_config::STRATEGIES;
use crate::suggestion::nearest;
use crate::value::{Allowed, Value};
use crate::{Config, ListenerConfig};

/// Everything there is to know about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Its path, such as `limits.packet_bytes`.
    pub key: String,
    /// What the default file says about it.
    pub documentation: String,
    /// Which values it may have.
    pub allowed: Allowed,
    /// Its default; `None` when it has none.
    pub default: Option<Value>,
    /// Its value now: one, or with their owner (the listener's URL, the group's name) as many as
    /// there are.
    pub current: Vec<(Option<String>, Value)>,
    /// When a change takes effect.
    pub reload: Reload,
    /// The environment variable that sets it.
    pub variable: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}\n", self.key, self.documentation)?;
        writeln!(f, "allowed   {}", self.allowed)?;
        match &self.default {
            Some(value) => writeln!(f, "default   {value}")?,
            None => writeln!(f, "default   not set")?,
        }
        if self.current.is_empty() {
            writeln!(f, "now       not set")?;
        }
        for (owner, value) in &self.current {
            match owner {
                Some(owner) => writeln!(f, "now       {value} ({owner})")?,
                None => writeln!(f, "now       {value}")?,
            }
        }
        writeln!(f, "reload    a change takes effect {}", self.reload.name())?;
        writeln!(f, "variable  {}", self.variable)
    }
}

/// What there is to know about `key`; `None` when there is no such key.
#[must_use]
pub fn explain(key: &str, config: &Config) -> Option<Explanation> {
    let documentation = documentation(key)?;
    if key == GROUPS {
        let groups = config.shared.groups.iter();
        return Some(Explanation {
            key: key.to_owned(),
            documentation,
            allowed: Allowed::Choice(STRATEGIES),
            default: None,
            current: groups
                .map(|(name, strategy)| (Some(name.clone()), Value::Text(strategy.name().into())))
                .collect(),
            reload: Reload::AtOnce,
            variable: format!("{}__NAME", variable(GROUPS)),
        });
    }
    if let Some(own) = key.strip_prefix(LISTENERS) {
        let field = ListenerConfig::find(own)?;
        let owned = |listener: &ListenerConfig| {
            (field.get)(listener).map(|value| (Some(listener.url.clone()), value))
        };
        return Some(Explanation {
            key: key.to_owned(),
            documentation,
            allowed: field.allowed,
            default: (field.get)(&ListenerConfig::default()).filter(|_| own != "url"),
            current: config.listeners.iter().filter_map(owned).collect(),
            reload: field.reload,
            variable: variable(&format!("{LISTENERS}0.{own}")),
        });
    }
    let found = Key::find(key)?;
    Some(Explanation {
        key: key.to_owned(),
        documentation,
        allowed: found.allowed(),
        default: found.get(&Config::default()),
        current: found.get(config).map(|value| (None, value)).into_iter().collect(),
        reload: found.reload(),
        variable: variable(key),
    })
}

/// The names of all keys, in the order of the default file. A listener's begin with `listeners.`.
#[must_use]
pub fn key_names() -> Vec<String> {
    let listeners = ListenerConfig::names().into_iter().map(|own| format!("{LISTENERS}{own}"));
    let keys = Config::names().into_iter();
    let mut names: Vec<String> = keys.chain(listeners).chain([GROUPS.to_owned()]).collect();
    names.sort_by_key(|name| SECTIONS.iter().position(|table| name.starts_with(table)));
    names
}

/// The key that the author of `name` may have meant.
#[must_use]
pub fn nearest_key(name: &str) -> Option<String> {
    let names = key_names();
    let leaf = |key: &&String| key.rsplit('.').next() == Some(name);
    nearest(name, names.iter().map(String::as_str))
        .map(str::to_owned)
        .or_else(|| names.iter().find(leaf).cloned())
}

const GROUPS: &str = "shared.groups";
const LISTENERS: &str = "listeners.";
/// Tables in the order of the default file; keys without one come first.
const SECTIONS: &[&str] = &[
    LISTENERS, "disk.", "access.", "admin.", "session.", "mqtt.", "shared.", "sys.", "log.",
    "threads.", "limits.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        for key in key_names() {
            let explanation = explain(&key, &Config::default()).expect("is explained");
            assert_eq!(explanation.key, key);
            assert!(!explanation.to_string().is_empty());
        }
        for key in ["", "limits", "listeners", "listeners.", "listeners.tls", "limits.nothing"] {
            assert_eq!(explain(key, &Config::default()), None, "{key}");
        }
    }

    #[test]
    fn the_current_value_stands_beside_the_default() {
        let mut config = Config::default();
        config.limits.packet_bytes = 2000;
        assert_eq!(
            explain("limits.packet_bytes", &config).expect("is explained").to_string(),
            "limits.packet_bytes\n\n\
             In bytes. Beyond it: DISCONNECT 0x95.\n\n\
             allowed   a whole number from 128 to 268435460\n\
             default   1048576\n\
             now       2000\n\
             reload    a change takes effect for new connections\n\
             variable  AGENTMQ_LIMITS__PACKET_BYTES\n"
        );
    }

    #[test]
    fn a_key_of_listeners_and_groups_has_many_values() {
        let mut config = Config::default();
        config.shared.groups.insert("workers".into(), crate::ShareStrategy::Sticky);
        let groups = explain("shared.groups", &config).expect("is explained");
        assert_eq!(groups.current, [(Some("workers".into()), Value::Text("sticky".into()))]);
        let urls = explain("listeners.url", &config).expect("is explained");
        assert_eq!(urls.current.len(), 2);
        assert_eq!(urls.default, None);
        let cert = explain("listeners.tls.cert", &config).expect("is explained").to_string();
        assert!(cert.contains("default   not set\nnow       not set\n"), "{cert}");
        assert!(cert.contains("variable  AGENTMQ_LISTENERS__0__TLS__CERT\n"), "{cert}");
    }

    #[test]
    fn keys_are_named_in_the_order_of_the_file() {
        let names = key_names();
        assert_eq!(names.first().map(String::as_str), Some("data_dir"));
        let table = |name: &String| name.split('.').next().map(str::to_owned);
        let mut tables: Vec<_> = names.iter().map(table).collect();
        tables.dedup();
        let distinct: std::collections::BTreeSet<_> = tables.iter().collect();
        assert_eq!(tables.len(), distinct.len(), "each table's keys stand together");
    }

    #[test]
    fn a_misspelt_key_has_a_neighbour() {
        assert_eq!(nearest_key("limits.paket_bytes").as_deref(), Some("limits.packet_bytes"));
        assert_eq!(nearest_key("packet_bytes").as_deref(), Some("limits.packet_bytes"));
        assert_eq!(nearest_key("something.else.entirely"), None);
    }
}
