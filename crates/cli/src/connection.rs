//! The flags that say which broker to use and how.

use std::time::Duration;

use agentmq_client::{Client, Messages, Options, ProtocolVersion, QoS, Reconnect, Transport};

use crate::context::{Context, Contexts};
use crate::failure::Failure;

/// Which broker, and as whom. A flag wins over the context, `--context` over the current one.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Context to use instead of the current one.
    #[arg(long, env = "AGENTMQ_CONTEXT")]
    context: Option<String>,
    /// Broker host; replaces that of the address.
    #[arg(long)]
    host: Option<String>,
    /// Broker port; replaces that of the address.
    #[arg(long, short = 'p')]
    port: Option<u16>,
    #[command(flatten)]
    settings: Context,
    /// Seconds between signs of life; 0 turns them off.
    #[arg(long, default_value = "60s", value_parser = crate::duration::parse)]
    keep_alive: Duration,
    /// How long the broker keeps the session after the connection: seconds, 1h, never.
    #[arg(long, value_parser = crate::duration::parse_seconds)]
    session_expiry: Option<u32>,
    /// Continue the session of this client id instead of starting anew.
    #[arg(long)]
    resume: bool,
    /// How long to try to connect.
    #[arg(long, default_value = "10s", value_parser = crate::duration::parse)]
    connect_timeout: Duration,
}

impl ConnectionArgs {
    /// The client's options.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let context = self.chosen()?;
        let url = context.url.as_deref().unwrap_or("mqtt://127.0.0.1:1883");
        let mut options = Options::new(url)?;
        if let Some(host) = &self.host {
            options.endpoint.host = host.clone();
            // Those of the address were meant for the other host.
            (options.username, options.password) = (None, None);
        }
        if let Some(port) = self.port {
            options.endpoint.port = port;
        }
        if context.user.is_some() {
            options.username = context.user;
        }
        if let Some(password) = context.password {
            options.password = Some(password.into_bytes());
        }
        options.version = match context.mqtt.as_deref() {
            Some("3.1.1") => ProtocolVersion::V311,
            Some("3.1") => ProtocolVersion::V31,
            _ => ProtocolVersion::V5,
        };
        options.client_id = context.id.unwrap_or_default();
        if options.client_id.is_empty() && options.version == ProtocolVersion::V31 {
            options.client_id = format!("agentmq-{}", std::process::id());
        }
        options.tls.ca = context.ca;
        options.tls.cert = context.cert;
        options.tls.key = context.key;
        options.keep_alive = self.keep_alive;
        options.connect_timeout = self.connect_timeout;
        options.clean_start = !self.resume;
        options.session_expiry = self.session_expiry.unwrap_or(if self.resume { 3600 } else { 0 });
        if self.resume && options.client_id.is_empty() {
            let fix = "add --id NAME";
            return Err(Failure::usage("--resume needs the client id of the session", fix));
        }
        Ok(options)
    }

    /// Connects once; a lost connection ends the command.
    pub(crate) async fn connect_once(&self) -> Result<(Client, Messages), Failure> {
        let mut options = self.options()?;
        options.reconnect = Reconnect::NEVER;
        Ok(Client::connect(options).await?)
    }

    fn chosen(&self) -> Result<Context, Failure> {
        let explicit = self.settings.url.is_some() || self.host.is_some() || self.port.is_some();
        // With an address of its own the current context would only bring in foreign passwords.
        let base = if explicit && self.context.is_none() {
            Context::default()
        } else {
            Contexts::load()?.choose(self.context.as_deref())?
        };
        Ok(self.settings.clone().over(base))
    }

    /// The options for the load generator, which speaks TCP and TLS only.
    pub(crate) fn raw(&self) -> Result<Options, Failure> {
        let options = self.options()?;
        if !matches!(options.endpoint.transport, Transport::Tcp | Transport::Tls) {
            let what = format!("bench cannot use {}", options.endpoint);
            return Err(Failure::usage(what, "give an mqtt:// or mqtts:// address"));
        }
        Ok(options)
    }
}

/// `--qos`.
pub(crate) fn parse_qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| "QoS is 0, 1 or 2".to_owned())
}

/// `NAME=VALUE`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}
