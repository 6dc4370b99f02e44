//! Named broker addresses in `$XDG_CONFIG_HOME/agentmq/contexts.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::private_file::{self, Exclusive};

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The context used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// How to reach one broker. Every field may be overridden by the flag of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Broker address: mqtt://, mqtts://, ws://, wss:// or unix://.
    #[arg(long, visible_alias = "at", env = "AGENTMQ_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// User name.
    #[arg(long, short = 'u', env = "AGENTMQ_USER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Password or token; better given by environment or context than on the command line.
    #[arg(long, env = "AGENTMQ_PASSWORD", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// PEM file of certificate authorities to trust instead of the system's.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file of the client certificate.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// Client id.
    #[arg(long, short = 'i')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// MQTT version: 5, 3.1.1 or 3.1.
    #[arg(long, short = 'V', value_parser = ["5", "3.1.1", "3.1"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mqtt: Option<String>,
}

impl Context {
    /// These settings, with what is missing taken from `base`.
    pub(crate) fn over(self, base: Self) -> Self {
        Self {
            url: self.url.or(base.url),
            user: self.user.or(base.user),
            password: self.password.or(base.password),
            ca: self.ca.or(base.ca),
            cert: self.cert.or(base.cert),
            key: self.key.or(base.key),
            id: self.id.or(base.id),
            mqtt: self.mqtt.or(base.mqtt),
        }
    }
}

impl Contexts {
    /// Reads the file; empty when there is none.
    pub(crate) fn load() -> Result<Self, Failure> {
        let path = path()?;
        Self::parse(private_file::read(&path)?, &path)
    }

    /// Changes the file, readable by its owner only since it may hold passwords.
    pub(crate) fn change(
        change: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let path = path()?;
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| {
            Failure::new(format!("cannot make the folder of {}: {error}", path.display()))
        })?;
        let file = Exclusive::open(&path)?;
        let mut contexts = Self::parse(file.text()?, &path)?;
        change(&mut contexts)?;
        let text = toml::to_string(&contexts)
            .map_err(|error| Failure::new(format!("cannot write contexts: {error}")))?;
        file.write(&text)?;
        Ok(contexts)
    }

    fn parse(text: Option<String>, path: &Path) -> Result<Self, Failure> {
        toml::from_str(&text.unwrap_or_default()).map_err(|error| {
            let fix = "correct or remove the file";
            Failure::usage(format!("{}: {}", path.display(), error.to_string().trim()), fix)
        })
    }

    /// The context of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let fix = if known.is_empty() {
                format!("add it: agentmq ctx add {name} --url mqtt://host:1883")
            } else {
                format!("use one of: {}", known.join(", "))
            };
            Failure::usage(format!("there is no context {name:?}"), fix)
        })
    }

    /// The named context, else the current one, else an empty one.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<Context, Failure> {
        match name.or(self.current.as_deref()) {
            Some(name) => self.get(name).cloned(),
            None => Ok(Context::default()),
        }
    }
}

fn path() -> Result<PathBuf, Failure> {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    var("XDG_CONFIG_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("agentmq").join("contexts.toml"))
        .ok_or_else(|| {
            let fix = "set HOME or XDG_CONFIG_HOME to an absolute path";
            Failure::usage("no place for the contexts file", fix)
        })
}
