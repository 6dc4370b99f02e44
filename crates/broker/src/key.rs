//! Every key of the configuration: its type, its range, and where its value lives.

use agentmq_session::{LimitInfo, Limits};

use crate::shared_config::STRATEGIES;
use crate::value::{Allowed, Setting, Value, choices};
use crate::{
    AuditFailure, ClientPlacement, Config, Durability, LogFormat, LogLevel, QueuePolicy, limit_keys,
};

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At the reload.
    AtOnce,
    /// At the reload, for clients that connect from then on.
    NewConnections,
    /// At the next start.
    Restart,
}

choices!(Reload {
    "at once" => AtOnce,
    "for new connections" => NewConnections,
    "at the next start" => Restart,
});

/// A key of the type `T`, which is the configuration or one listener.
pub(crate) struct Field<T> {
    /// Path in the file, with dots.
    pub(crate) name: &'static str,
    pub(crate) allowed: Allowed,
    pub(crate) reload: Reload,
    /// `None` when the key is not set and has no default.
    pub(crate) get: fn(&T) -> Option<Value>,
    /// Sets an allowed value; the error says what is wrong beyond type and range.
    pub(crate) set: fn(&mut T, Value) -> Result<(), String>,
}

/// A field that lives where its key says.
macro_rules! field {
    ($first:ident $(. $rest:ident)*, $allowed:expr, $reload:ident) => {
        $crate::key::Field {
            name: concat!(stringify!($first) $(, ".", stringify!($rest))*),
            allowed: $allowed,
            reload: $crate::key::Reload::$reload,
            get: |target| Some($crate::value::Setting::to_value(&target.$first $(.$rest)*)),
            set: |target, value| {
                target.$first $(.$rest)* = $crate::key::fitting(value)?;
                Ok(())
            },
        }
    };
}
pub(crate) use field;

/// The member of tokens that a claim is read from.
macro_rules! claim_field {
    ($claim:literal) => {
        Field {
            name: concat!("access.tokens.claims.", $claim),
            allowed: Allowed::Text,
            reload: Reload::NewConnections,
            get: |config| Some(Value::Text(config.access.tokens.claims.member($claim).to_owned())),
            set: |config, value| {
                let member: String = fitting(value)?;
                config.access.tokens.claims.set($claim, &member);
                Ok(())
            },
        }
    };
}

/// `value` as a Rust type.
pub(crate) fn fitting<T: Setting>(value: Value) -> Result<T, String> {
    let shown = value.to_string();
    T::from_value(value).ok_or_else(|| format!("{shown} does not fit"))
}

/// What keys are set on: the configuration, or one listener.
pub(crate) trait Target {
    /// What the key of this name allows; `None` when there is no such key.
    fn allowed(key: &str) -> Option<Allowed>;
    /// Sets an allowed value.
    fn set(&mut self, key: &str, value: Value) -> Result<(), String>;
    /// Names of all keys, in the order of the file.
    fn names() -> Vec<String>;
}

/// A key outside the listeners.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Field(&'static Field<Config>),
    Limit(&'static LimitInfo),
}

impl Key {
    /// All keys, in the order of the file.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        FIELDS.iter().map(Self::Field).chain(Limits::TABLE.iter().map(Self::Limit))
    }

    /// The key of this name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        match name.strip_prefix("limits.") {
            Some(limit) => Limits::TABLE.iter().find(|info| info.name == limit).map(Self::Limit),
            None => FIELDS.iter().find(|field| field.name == name).map(Self::Field),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Field(field) => field.name.to_owned(),
            Self::Limit(info) => format!("limits.{}", info.name),
        }
    }

    pub(crate) fn allowed(self) -> Allowed {
        match self {
            Self::Field(field) => field.allowed,
            Self::Limit(info) => limit_keys::allowed(info),
        }
    }

    pub(crate) fn reload(self) -> Reload {
        match self {
            Self::Field(field) => field.reload,
            Self::Limit(info) => limit_keys::reload(info),
        }
    }

    pub(crate) fn get(self, config: &Config) -> Option<Value> {
        match self {
            Self::Field(field) => (field.get)(config),
            Self::Limit(info) => config.limits.get(info.name).map(Value::Integer),
        }
    }

    pub(crate) fn set(self, config: &mut Config, value: Value) -> Result<(), String> {
        match (self, value) {
            (Self::Field(field), value) => (field.set)(config, value),
            (Self::Limit(info), Value::Integer(number)) => {
                config.limits.set(info.name, number).map_err(|error| error.to_string())
            }
            (Self::Limit(_), value) => Err(format!("{value} does not fit")),
        }
    }
}

impl Target for Config {
    fn allowed(key: &str) -> Option<Allowed> {
        Key::find(key).map(Key::allowed)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        Key::find(key).map_or_else(|| Err("is no key".into()), |key| key.set(self, value))
    }

    fn names() -> Vec<String> {
        Key::all().map(Key::name).collect()
    }
}

const fn milliseconds(maximum: u64) -> Allowed {
    Allowed::Integer { minimum: 0, maximum }
}

/// Of a Session Expiry Interval; the largest is for ever.
const SECONDS: Allowed = Allowed::Integer { minimum: 0, maximum: u32::MAX as u64 };

/// Shards at most: a filter notes in one word which of them want what it matches.
const SHARDS: u64 = agentmq_router::Place::MAX as u64;

/// The largest number in TOML.
const LARGEST: u64 = i64::MAX as u64;

static FIELDS: &[Field<Config>] = &[
    field!(data_dir, Allowed::Text, Restart),
    field!(durability, Allowed::Choice(Durability::NAMES), Restart),
    field!(disk.warn_below, Allowed::Integer { minimum: 0, maximum: LARGEST }, Restart),
    field!(disk.refuse_below, Allowed::Integer { minimum: 0, maximum: LARGEST }, Restart),
    field!(access.policy, Allowed::Text, AtOnce),
    field!(access.isolate_organizations, Allowed::Boolean, AtOnce),
    field!(access.users, Allowed::Text, NewConnections),
    field!(access.tokens.keys, Allowed::List, NewConnections),
    field!(access.tokens.ca, Allowed::Text, NewConnections),
    field!(access.tokens.issuers, Allowed::List, NewConnections),
    field!(access.tokens.audience, Allowed::Text, NewConnections),
    field!(
        access.tokens.leeway_secs,
        Allowed::Integer { minimum: 0, maximum: 600 },
        NewConnections
    ),
    field!(
        access.tokens.longest_secs,
        Allowed::Integer { minimum: 60, maximum: 366 * 86_400 },
        NewConnections
    ),
    claim_field!("agent_id"),
    claim_field!("tool_id"),
    claim_field!("server_id"),
    claim_field!("user_id"),
    claim_field!("org_id"),
    claim_field!("roles"),
    claim_field!("acl"),
    field!(access.hook.url, Allowed::Text, NewConnections),
    field!(access.hook.ca, Allowed::Text, NewConnections),
    field!(access.hook.secret, Allowed::Text, NewConnections),
    field!(
        access.hook.timeout_ms,
        Allowed::Integer { minimum: 100, maximum: 60_000 },
        NewConnections
    ),
    field!(
        access.hook.remember_secs,
        Allowed::Integer { minimum: 0, maximum: 86_400 },
        NewConnections
    ),
    field!(access.revocations, Allowed::Text, AtOnce),
    field!(access.plans, Allowed::Text, AtOnce),
    field!(access.default_plan, Allowed::Text, AtOnce),
    field!(access.service.organizations, Allowed::Text, AtOnce),
    field!(
        access.service.lifetime_secs,
        Allowed::Integer { minimum: 5, maximum: 20 * 86_400 },
        AtOnce
    ),
    field!(
        access.certificates.agent_id,
        Allowed::Choice(crate::SubjectPart::NAMES),
        NewConnections
    ),
    field!(access.certificates.org_id, Allowed::Choice(crate::SubjectPart::NAMES), NewConnections),
    Field {
        name: "access.check_retain_source",
        allowed: Allowed::Boolean,
        reload: Reload::AtOnce,
        get: |config| Some(Value::Boolean(!config.access.ignores_retain_source)),
        set: |config, value| {
            config.access.ignores_retain_source = !fitting::<bool>(value)?;
            Ok(())
        },
    },
    field!(access.identity.topics, Allowed::List, AtOnce),
    field!(access.identity.prefix, Allowed::Text, AtOnce),
    field!(audit.enabled, Allowed::Boolean, Restart),
    field!(audit.connections, Allowed::Boolean, Restart),
    field!(audit.refusals, Allowed::Boolean, Restart),
    field!(audit.topics, Allowed::List, AtOnce),
    field!(audit.max_bytes, Allowed::Integer { minimum: 1 << 20, maximum: LARGEST }, Restart),
    field!(audit.on_failure, Allowed::Choice(AuditFailure::NAMES), Restart),
    field!(admin.url, Allowed::Text, Restart),
    field!(admin.cert, Allowed::Text, Restart),
    field!(admin.key, Allowed::Text, Restart),
    field!(admin.hosts, Allowed::List, Restart),
    field!(admin.mcp, Allowed::Boolean, Restart),
    field!(agents.namespaces, Allowed::List, Restart),
    field!(agents.session_expiry_secs, SECONDS, NewConnections),
    field!(agents.return_secs, SECONDS, NewConnections),
    field!(agents.hold_on_resume_ms, milliseconds(60_000), NewConnections),
    field!(agents.hold_per_subscription_ms, milliseconds(60_000), NewConnections),
    field!(agents.check_arguments, Allowed::Boolean, AtOnce),
    field!(agents.mcp, Allowed::Boolean, Restart),
    field!(agents.mcp_component_type, Allowed::Boolean, AtOnce),
    field!(session.hold_on_resume_ms, milliseconds(60_000), NewConnections),
    field!(session.retained_gap_ms, milliseconds(60_000), AtOnce),
    field!(session.queue_qos0_messages, Allowed::Boolean, AtOnce),
    field!(session.queue_policy, Allowed::Choice(QueuePolicy::NAMES), AtOnce),
    field!(
        mqtt.server_keep_alive_secs,
        Allowed::Integer { minimum: 0, maximum: u16::MAX as u64 },
        NewConnections
    ),
    field!(mqtt.maximum_qos, Allowed::Integer { minimum: 0, maximum: 2 }, NewConnections),
    field!(mqtt.retain_available, Allowed::Boolean, NewConnections),
    field!(mqtt.wildcard_subscriptions, Allowed::Boolean, NewConnections),
    field!(mqtt.subscription_identifiers, Allowed::Boolean, NewConnections),
    field!(mqtt.shared_subscriptions, Allowed::Boolean, NewConnections),
    field!(mqtt.dollar_prefixes, Allowed::List, AtOnce),
    field!(mqtt.response_information, Allowed::Text, NewConnections),
    field!(shared.strategy, Allowed::Choice(STRATEGIES), AtOnce),
    field!(sys.interval_secs, Allowed::Integer { minimum: 0, maximum: 86_400 }, AtOnce),
    field!(log.level, Allowed::Choice(LogLevel::NAMES), AtOnce),
    field!(log.format, Allowed::Choice(LogFormat::NAMES), Restart),
    field!(threads.shards, Allowed::Integer { minimum: 0, maximum: SHARDS }, Restart),
    field!(threads.placement, Allowed::Choice(ClientPlacement::NAMES), Restart),
    field!(threads.logins, Allowed::Integer { minimum: 0, maximum: SHARDS }, Restart),
    field!(threads.busy_percent, Allowed::Integer { minimum: 1, maximum: 100 }, Restart),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_takes_what_it_allows_and_gives_it_back() {
        for key in Key::all() {
            let values = match key.allowed() {
                Allowed::Boolean => vec![Value::Boolean(false), Value::Boolean(true)],
                Allowed::Integer { minimum, maximum } => {
                    vec![Value::Integer(minimum), Value::Integer(maximum)]
                }
                Allowed::Text => vec![Value::Text("text".into())],
                Allowed::Choice(names) => {
                    names.iter().map(|name| Value::Text((*name).to_owned())).collect()
                }
                Allowed::List => vec![Value::List(vec!["text".into()])],
            };
            for value in values {
                let mut config = Config::default();
                assert_eq!(key.set(&mut config, value.clone()), Ok(()), "{}", key.name());
                assert_eq!(key.get(&config), Some(value), "{}", key.name());
            }
        }
    }

    #[test]
    fn every_key_is_found_by_its_name_and_has_an_allowed_default() {
        for key in Key::all() {
            let name = key.name();
            assert_eq!(Key::find(&name).map(Key::name), Some(name.clone()));
            let default = key.get(&Config::default()).expect("has a default");
            assert_eq!(key.allowed().accept(default.clone()), Ok(default), "{name}");
        }
        assert!(Key::find("limits").is_none());
        assert!(Key::find("limits.").is_none());
        assert!(Key::find("").is_none());
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut config = Config::default();
        for key in Key::all() {
            let wrong = match key.allowed() {
                Allowed::List => Value::Boolean(true),
                _ => Value::List(vec![]),
            };
            assert!(key.set(&mut config, wrong).is_err(), "{}", key.name());
        }
        assert_eq!(config, Config::default());
    }
}
