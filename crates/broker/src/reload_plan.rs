//! Configuration reload: which changes apply while the broker runs, and which wait for a restart.

use std::fmt;

use crate::key::{Key, Reload};
use crate::value::Value;
use crate::{Config, ListenerConfig, ShareStrategy};

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key; for a listener followed by its URL in parentheses.
    pub key: String,
    /// The value that is in effect; `None`: not set.
    pub old: Option<Value>,
    /// The value that is wanted; `None`: not set.
    pub new: Option<Value>,
    /// When it takes effect.
    pub reload: Reload,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "not set".to_owned(), Value::to_string)
        };
        let (old, new) = (shown(&self.old), shown(&self.new));
        write!(f, "{}: {old} -> {new}, {}", self.key, self.reload.name())
    }
}

/// What a reload does: SIGHUP applies `effective` and names what waits for a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadPlan {
    /// Changes that take effect now or for new connections.
    pub applied: Vec<Change>,
    /// Changes that take effect at the next start.
    pub waiting: Vec<Change>,
    /// The old configuration with what is applied. Files that it names, certificates among them,
    /// may have changed under the same name: they are to be read again in any case.
    pub effective: Config,
}

/// Compares two configurations that are each valid. A listener is the same one when its URL is
/// the same.
#[must_use]
pub fn diff_reloadable(old: &Config, new: &Config) -> ReloadPlan {
    let mut plan = ReloadPlan { applied: Vec::new(), waiting: Vec::new(), effective: old.clone() };
    for key in Key::all() {
        let change =
            Change { key: key.name(), old: key.get(old), new: key.get(new), reload: key.reload() };
        if let Some(value) = plan.note(change) {
            let set = key.set(&mut plan.effective, value);
            debug_assert_eq!(set, Ok(()), "a value that was read can be set");
        }
    }
    groups(old, new, &mut plan);
    listeners(old, new, &mut plan);
    plan
}

impl ReloadPlan {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.waiting.is_empty()
    }

    /// Files the change, if it is one, and returns the new value, if it takes effect.
    fn note(&mut self, change: Change) -> Option<Value> {
        if change.old == change.new {
            return None;
        }
        if change.reload == Reload::Restart {
            self.waiting.push(change);
            return None;
        }
        let value = change.new.clone();
        self.applied.push(change);
        value
    }
}

fn groups(old: &Config, new: &Config, plan: &mut ReloadPlan) {
    let (before, after) = (&old.shared.groups, &new.shared.groups);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let value =
        |strategy: Option<&ShareStrategy>| strategy.map(|it| Value::Text(it.name().to_owned()));
    for name in names {
        plan.note(Change {
            key: format!("shared.groups.{name}"),
            old: value(before.get(name)),
            new: value(after.get(name)),
            reload: Reload::AtOnce,
        });
    }
    plan.effective.shared.groups.clone_from(after);
}

fn listeners(old: &Config, new: &Config, plan: &mut ReloadPlan) {
    // Of listeners with the same URL (port 0) the n-th is the n-th.
    let mut unmatched: Vec<&ListenerConfig> = new.listeners.iter().collect();
    for (index, before) in old.listeners.iter().enumerate() {
        let Some(at) = unmatched.iter().position(|after| after.url == before.url) else {
            plan.note(presence(Some(before), None));
            continue;
        };
        let after = unmatched.remove(at);
        let mut effective = before.clone();
        for field in ListenerConfig::fields() {
            let (old, new) = ((field.get)(before), (field.get)(after));
            let key = format!("listeners.{} ({})", field.name, before.url);
            plan.note(Change { key, old, new, reload: field.reload });
        }
        effective.allow_anonymous = after.allow_anonymous;
        effective.max_connections = after.max_connections;
        effective.hide_publishers = after.hide_publishers;
        effective.agents = after.agents;
        effective.proxy_from.clone_from(&after.proxy_from);
        effective.allowed_origins.clone_from(&after.allowed_origins);
        effective.tls.clone_from(&after.tls);
        if let Some(listener) = plan.effective.listeners.get_mut(index) {
            *listener = effective;
        }
    }
    for after in unmatched {
        plan.note(presence(None, Some(after)));
    }
}

/// A listener that comes or goes.
fn presence(old: Option<&ListenerConfig>, new: Option<&ListenerConfig>) -> Change {
    let url = |listener: Option<&ListenerConfig>| listener.map(|it| Value::Text(it.url.clone()));
    Change { key: "listeners".into(), old: url(old), new: url(new), reload: Reload::Restart }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogLevel, TlsConfig};

    #[test]
    fn nothing_changes_from_a_configuration_to_itself() {
        let config = Config::default();
        let plan = diff_reloadable(&config, &config);
        assert!(plan.is_empty());
        assert_eq!(plan.effective, config);
    }

    #[test]
    fn what_can_be_applied_is_and_the_rest_waits() {
        let old = Config::default();
        let mut new = old.clone();
        new.log.level = LogLevel::Debug;
        new.limits.packet_bytes = 2000;
        new.threads.shards = 3;
        new.shared.groups.insert("workers".into(), ShareStrategy::Sticky);
        let plan = diff_reloadable(&old, &new);
        let lines = |changes: &[Change]| changes.iter().map(Change::to_string).collect::<Vec<_>>();
        assert_eq!(
            lines(&plan.applied),
            [
                "log.level: \"info\" -> \"debug\", at once",
                "limits.packet_bytes: 1048576 -> 2000, for new connections",
                "shared.groups.workers: not set -> \"sticky\", at once",
            ]
        );
        assert_eq!(lines(&plan.waiting), ["threads.shards: 0 -> 3, at the next start"]);
        let mut effective = new;
        effective.threads.shards = 0;
        assert_eq!(plan.effective, effective);
    }

    #[test]
    fn listeners_come_and_go_at_a_restart_but_learn_at_once() {
        let listeners = vec![ListenerConfig::new("wss://[::1]"), ListenerConfig::new("unix:///a")];
        let old = Config { listeners, ..Config::default() };
        let mut new = old.clone();
        new.listeners.remove(1);
        new.listeners.push(ListenerConfig::new("mqtt://[::1]"));
        new.listeners[0].tls = Some(TlsConfig { cert: "new.pem".into(), ..TlsConfig::default() });
        new.listeners[0].max_connections = 5;
        let plan = diff_reloadable(&old, &new);
        let keys: Vec<_> = plan.applied.iter().map(|change| change.key.as_str()).collect();
        assert!(keys.contains(&"listeners.tls.cert (wss://[::1])"), "{keys:?}");
        assert!(keys.contains(&"listeners.max_connections (wss://[::1])"), "{keys:?}");
        assert_eq!(plan.waiting.len(), 2, "{:?}", plan.waiting);
        assert_eq!(plan.effective.listeners, [new.listeners[0].clone(), old.listeners[1].clone()]);
    }

    #[test]
    fn every_key_of_a_listener_that_can_be_applied_is() {
        let listeners = vec![ListenerConfig::new("wss://[::1]")];
        let old = Config { listeners, ..Config::default() };
        let mut new = old.clone();
        new.listeners[0] = ListenerConfig {
            url: "wss://[::1]".into(),
            allow_anonymous: true,
            max_connections: 1,
            hide_publishers: true,
            agents: true,
            proxy_from: vec!["::1".into()],
            allowed_origins: vec!["*".into()],
            mode: Some(0o600),
            tls: Some(TlsConfig {
                cert: "a".into(),
                key: "b".into(),
                client_ca: Some("c".into()),
                require_client_cert: true,
            }),
        };
        let plan = diff_reloadable(&old, &new);
        let (effective, wanted) = (&plan.effective.listeners[0], &new.listeners[0]);
        for field in ListenerConfig::fields() {
            let is_applied = (field.get)(effective) == (field.get)(wanted);
            assert_eq!(is_applied, field.name == "url" || field.reload != Reload::Restart);
        }
    }
}
