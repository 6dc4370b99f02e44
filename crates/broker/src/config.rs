//! The whole configuration: defaults, then the file, then the environment, and the rules that join
//! its sections.

use std::path::{Path, PathBuf};

use agentmq_session::Limits;

use crate::access_config::{Access, Kept};
use crate::config_file::{self, Reading};
use crate::environment;
use crate::error::quoted;
use crate::listener_address::ListenerAddress;
use crate::value::choices;
use crate::{
    AccessConfig, AdminConfig, AgentsConfig, AuditConfig, ConfigError, Environment, ListenerConfig,
    LogConfig, MqttConfig, Place, SessionConfig, SharedConfig, limit_keys, mqtt_config,
    shared_config,
};

/// Everything that can be said about a broker before it starts. The default is what
/// [`crate::DEFAULT_TOML`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients arrive; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// The folder that keeps the broker's state.
    pub data_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How much room the data directory's disk must have.
    pub disk: DiskConfig,
    /// Who is let in, and who may do what.
    pub access: AccessConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// The HTTP side.
    pub admin: AdminConfig,
    /// What agent protocols get.
    pub agents: AgentsConfig,
    /// What a client finds when it comes back.
    pub session: SessionConfig,
    /// What CONNACK offers.
    pub mqtt: MqttConfig,
    /// Shared subscriptions.
    pub shared: SharedConfig,
    /// The `$SYS` topics.
    pub sys: SysConfig,
    /// What the broker writes about itself.
    pub log: LogConfig,
    /// How many cores are used.
    pub threads: ThreadsConfig,
    /// Every bound.
    pub limits: Limits,
}

/// What an acknowledgement promises of a message that must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: survives a loss of power.
    Fsync,
    /// The operating system has it: survives a crash of the broker.
    Os,
    /// The broker has it: survives the client, not the broker.
    Memory,
}

choices!(Durability { "fsync" => Fsync, "os" => Os, "memory" => Memory });

/// `[disk]`: how much room the data directory's disk must have, in bytes; 0 is by its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// With less, the operator is warned.
    pub warn_below: u64,
    /// With less, what must survive is refused.
    pub refuse_below: u64,
}

/// `[sys]`: the broker's own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysConfig {
    /// Seconds between two publications of `$SYS` topics; 0: none.
    pub interval_secs: u32,
}

/// `[threads]`: how many cores are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadsConfig {
    /// Shards, of which each is a thread with its own connections; 0: one a core.
    pub shards: u16,
    /// Which of them new clients go to.
    pub placement: ClientPlacement,
    /// From how many hundredths of a core a shard counts as busy.
    pub busy_percent: u16,
    /// Threads that verify passwords; 0: one for every two cores.
    pub logins: u16,
}

impl Default for ThreadsConfig {
    fn default() -> Self {
        Self { shards: 0, placement: ClientPlacement::ByLoad, busy_percent: 60, logins: 0 }
    }
}

/// How new clients are spread over shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientPlacement {
    /// To the first that is not busy; a further one is used only when all that are used are busy.
    #[default]
    ByLoad,
    /// One after the other.
    Spread,
}

choices!(ClientPlacement { "by_load" => ByLoad, "spread" => Spread });

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: ["mqtt://127.0.0.1:1883", "ws://127.0.0.1:8083/mqtt"]
                .map(ListenerConfig::new)
                .into(),
            data_dir: "agentmq-data".into(),
            durability: Durability::Fsync,
            disk: DiskConfig::default(),
            access: AccessConfig::default(),
            audit: AuditConfig::default(),
            admin: AdminConfig::default(),
            agents: AgentsConfig::default(),
            session: SessionConfig::default(),
            mqtt: MqttConfig::default(),
            shared: SharedConfig::default(),
            sys: SysConfig { interval_secs: 10 },
            log: LogConfig::default(),
            threads: ThreadsConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// Reads a file without the environment, and the policy and keys that it names, and applies every
/// rule: what `agentmq config check` does.
pub fn check(path: &Path) -> Result<Config, ConfigError> {
    let config = Config::load(Some(path), &Environment::new())?;
    config.check_access()?;
    Ok(config)
}

impl Config {
    /// The defaults, changed by the file, if there is one, changed by the environment.
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Self::parse("", Path::new(""), environment) };
        let text = config_file::read(path)?;
        Self::parse(&text, path, environment)
    }

    /// Like [`Config::load`], with the text of the file; `path` is only its name in messages.
    pub fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let mut reading = Reading::default();
        config_file::apply(text, path, &mut reading);
        environment::apply(environment, &mut reading);
        if reading.findings.is_empty() {
            for (key, message) in reading.config.problems() {
                reading.report(&key, message, text, path);
            }
        }
        reading.findings.into_result()?;
        Ok(reading.config)
    }

    /// Applies every rule to a configuration that a program has made.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut findings = crate::error::Findings::default();
        for (key, message) in self.problems() {
            findings.report(|| Place::Key(key), || message);
        }
        findings.into_result()
    }

    /// What an operator should read at the start, a line each.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.durability == Durability::Memory {
            notices.push(
                "durability is \"memory\": sessions, queued and retained messages last until the \
                 broker stops"
                    .to_owned(),
            );
        }
        for listener in &self.listeners {
            let Ok(address) = ListenerAddress::parse(&listener.url) else { continue };
            if listener.allow_anonymous && !address.is_local() {
                notices.push(format!("{} lets everybody in: allow_anonymous", listener.url));
            }
            let is_readable = !address.is_local() && !address.scheme.uses_tls();
            if is_readable && self.access.authenticates() {
                let why = "whoever is on the way can read passwords: write mqtts:// or wss://";
                notices.push(format!("{}: {why}", listener.url));
            }
        }
        let wants_certificate = |listener: &ListenerConfig| {
            listener.tls.as_ref().is_some_and(|tls| tls.require_client_cert)
        };
        let is_around = self.admin.is_on() && self.admin.mcp && self.access.authenticates();
        if is_around && self.listeners.iter().all(wants_certificate) {
            let why = "a token is enough there, without the client certificate that every listener \
                       asks for: write admin.mcp = false, if it must not be";
            notices.push(format!("{}/mcp: {why}", self.admin.url));
        }
        notices.extend(limit_keys::notices(self));
        notices
    }

    /// Every rule that is broken, as key and message.
    fn problems(&self) -> Vec<(String, String)> {
        let mut problems = self.listener_problems();
        if self.data_dir.as_os_str().is_empty() {
            problems.push(("data_dir".into(), "the folder's name is missing".into()));
        }
        let response_information = &self.mqtt.response_information;
        if let Some(why) = mqtt_config::response_information_problem(response_information) {
            problems.push(("mqtt.response_information".into(), why.into()));
        }
        for prefix in &self.mqtt.dollar_prefixes {
            if let Some(why) = mqtt_config::dollar_prefix_problem(prefix) {
                problems
                    .push(("mqtt.dollar_prefixes".into(), format!("{}: {why}", quoted(prefix))));
            }
        }
        let is_private = self.listeners.iter().all(ListenerConfig::is_unix);
        problems.extend(self.admin.problems(self.access.authenticates(), is_private));
        problems.extend(self.audit.problems());
        problems.extend(self.access.tokens.problems());
        problems.extend(self.access.hook.problems(self.limits.connect_timeout_ms));
        problems.extend(self.access.identity.problems());
        problems.extend(self.agents.problems());
        problems.extend(self.service_problems());
        for name in self.shared.groups.keys() {
            if let Some(why) = shared_config::share_name_problem(name) {
                problems.push((format!("shared.groups.{name}"), why.into()));
            }
        }
        problems
    }

    /// Reads every file that `access` names.
    pub(crate) fn load_access(&self, kept: &Kept) -> Result<Access, ConfigError> {
        let access = self.access.load(kept)?;
        if access.service.is_some() && !self.admin.is_on() {
            let mut findings = crate::error::Findings::default();
            let why = "the token service is reached over HTTP: set admin.url";
            let place = || Place::Key("access.service.organizations".into());
            findings.report(place, || why.into());
            findings.into_result()?;
        }
        Ok(access)
    }

    /// Reads every file that `access` names, to say what is wrong with them.
    pub fn check_access(&self) -> Result<(), ConfigError> {
        self.load_access(&Kept::default()).map(|_| ())
    }

    fn service_problems(&self) -> Vec<(String, String)> {
        let (service, tokens) = (&self.access.service, &self.access.tokens);
        let mut problems = Vec::new();
        if service.lifetime_secs > tokens.longest_secs {
            let why = "a token may not be good for so long: raise access.tokens.longest_secs";
            problems.push(("access.service.lifetime_secs".into(), why.into()));
        }
        problems
    }

    fn listener_problems(&self) -> Vec<(String, String)> {
        if self.listeners.is_empty() {
            return vec![("listeners".into(), "there is no listener: nobody could connect".into())];
        }
        if self.listeners.len() > LISTENERS {
            let why = format!("there are more than {LISTENERS} listeners");
            return vec![("listeners".into(), why)];
        }
        let mut problems = Vec::new();
        let mut addresses: Vec<ListenerAddress> = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            for (key, message) in listener.problems(self.access.authenticates()) {
                let dot = if key.is_empty() { "" } else { "." };
                problems.push((format!("listeners.{index}{dot}{key}"), message));
            }
            let Ok(address) = ListenerAddress::parse(&listener.url) else { continue };
            if addresses.iter().any(|earlier| earlier.collides_with(&address)) {
                let why = "an earlier listener has the same address and port";
                problems.push((format!("listeners.{index}.url"), why.into()));
            }
            addresses.push(address);
        }
        problems
    }
}

/// Listeners at most; each costs a descriptor in the accepting shard.
pub(crate) const LISTENERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let path = Path::new("agentmq.toml");
        Config::parse(text, path, &Environment::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_and_no_file_are_the_default() {
        assert_eq!(parse(""), Ok(Config::default()));
        assert_eq!(Config::load(None, &Environment::new()).ok(), Some(Config::default()));
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn acknowledged_is_safe_unless_one_says_otherwise() {
        assert_eq!(Config::default().durability, Durability::Fsync);
        assert_eq!(Config::default().notices(), [] as [&str; 0]);
        let config = parse("durability = 'memory'").expect("may be chosen");
        assert_eq!(config.durability, Durability::Memory);
        assert!(config.notices()[0].contains("last until the broker stops"));
    }

    #[test]
    fn an_open_door_is_noticed_at_the_start() {
        let text = "[[listeners]]\nurl = 'mqtt://0.0.0.0:0'\nallow_anonymous = true";
        let notices = parse(text).expect("is allowed").notices();
        assert!(
            notices.iter().any(|line| line.starts_with("mqtt://0.0.0.0:0 lets")),
            "{notices:?}"
        );
    }

    #[test]
    fn a_way_around_client_certificates_is_noticed_at_the_start() {
        let notices = |mcp: bool, others: &str| {
            let text = format!(
                "access.tokens.keys = ['keys.json']\nadmin.url = 'http://127.0.0.1:0'\n\
                 admin.mcp = {mcp}\n[[listeners]]\nurl = 'mqtts://[::1]'\ntls = {{ cert = 'a', \
                 key = 'b', client_ca = 'c', require_client_cert = true }}\n{others}"
            );
            parse(&text).expect("is allowed").notices()
        };
        let all = notices(true, "");
        assert!(all.iter().any(|line| line.contains("/mcp: a token is enough")), "{all:?}");
        assert_eq!(notices(false, ""), [""; 0]);
        assert_eq!(notices(true, "[[listeners]]\nurl = 'mqtt://[::1]'\n"), [""; 0]);
    }

    #[test]
    fn broken_rules_are_told_with_their_place() {
        for (text, expected) in [
            ("listeners = []", "agentmq.toml:1:13: there is no listener"),
            ("[[listeners]]\n", "agentmq.toml:1:1: the listener has no url"),
            ("[[listeners]]\nurl = 'mqtt://0.0.0.0'", "agentmq.toml:2:7: `mqtt://0.0.0.0` can be"),
            (
                "[[listeners]]\nurl = 'mqtts://127.0.0.1'\ntls = { cert = 'a' }",
                "agentmq.toml:3:7: TLS needs tls.key",
            ),
            (
                "[[listeners]]\nurl = 'mqtt://[::1]'\n[[listeners]]\nurl = 'ws://[::1]:1883'",
                "agentmq.toml:4:7: an earlier listener",
            ),
            ("data_dir = ''", "agentmq.toml:1:12: the folder's name is missing"),
            ("[shared.groups]\n'a/b' = 'random'", "agentmq.toml:2:9: a group's name holds"),
            ("mqtt.dollar_prefixes = ['*', '$mine']", ""),
            ("mqtt.dollar_prefixes = ['$SYS']", "agentmq.toml:1:24: `$SYS`: nobody publishes"),
            ("mqtt.dollar_prefixes = ['mine']", "agentmq.toml:1:24: `mine`: one level"),
            ("mqtt.dollar_prefixes = ['$a/b']", "agentmq.toml:1:24: `$a/b`: one level"),
            ("mqtt.response_information = '''\\\n'''", ""),
            ("mqtt.response_information = \"\\u0000\"", "agentmq.toml:1:29: an MQTT string"),
        ] {
            match parse(text) {
                Ok(_) => assert_eq!(expected, "", "{text}"),
                Err(error) => {
                    assert!(!expected.is_empty() && error.starts_with(expected), "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn listeners_of_the_file_replace_the_default_ones() {
        let config = parse("[[listeners]]\nurl = 'unix:///run/a.sock'\nmode = '0660'").unwrap();
        let mut expected = ListenerConfig::new("unix:///run/a.sock");
        expected.mode = Some(0o660);
        assert_eq!(config.listeners, [expected]);
    }

    #[test]
    fn a_program_s_configuration_is_checked_by_key() {
        let mut config = Config::default();
        config.listeners[1].url = "mqtt://0.0.0.0".into();
        let error = config.validate().expect_err("is wrong");
        let places: Vec<_> =
            error.problems().iter().map(|problem| problem.place.to_string()).collect();
        assert_eq!(places, ["listeners.1.url"]);
    }

    #[test]
    fn check_reads_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agentmq.toml");
        assert!(matches!(check(&path), Err(ConfigError::Unreadable { .. })));
        std::fs::write(&path, "threads.shards = 2").unwrap();
        assert_eq!(check(&path).unwrap().threads.shards, 2);
        std::fs::write(&path, b"a = 1\nb = '\xff'").unwrap();
        let error = check(&path).expect_err("is not UTF-8").to_string();
        assert!(error.ends_with(":2:6: the file is not UTF-8 from here on"), "{error}");
    }
}
