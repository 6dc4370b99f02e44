//! Flags that every scenario has.

use std::hash::{BuildHasher, RandomState};

use agentmq_client::{Endpoint, QoS, TlsSessions, Transport};

use crate::bench::fleet::Plan;
use crate::bench::wire::Hello;
use crate::connection::ConnectionArgs;
use crate::failure::Failure;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Process id of the broker on this machine, to measure its CPU time and memory.
    #[arg(long)]
    pub(crate) broker_pid: Option<u32>,
    /// Connections opened at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// Unacknowledged messages per publisher, at most what the broker announces.
    #[arg(long, default_value_t = 65_535, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// Report also how often each latency was seen, so that several runs can be put together.
    #[arg(long)]
    pub(crate) histogram: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The broker and how to present oneself.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    /// For an `mqtts://` address.
    pub(crate) tls: Option<TlsSessions>,
    pub(crate) hello: Hello,
    /// Tells this run's clients, topics and messages from those of another.
    pub(crate) run: u32,
}

impl Common {
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let options = self.connection.raw()?;
        let hello = Hello {
            version: options.version,
            username: options.username,
            password: options.password,
        };
        let tls = match options.endpoint.transport {
            Transport::Tls => Some(TlsSessions::new(&options.tls, &options.endpoint)?),
            _ => None,
        };
        let run = RandomState::new().hash_one(std::process::id()) as u32;
        Ok(Target { endpoint: options.endpoint, tls, hello, run })
    }
}

impl Target {
    /// The client id of the client called `name` in this run.
    pub(crate) fn client_id(&self, name: &str) -> String {
        format!("b{:08x}{name}", self.run)
    }

    /// A connection that starts anew and perhaps subscribes.
    pub(crate) fn plan(&self, name: &str, subscribe: Option<(&str, QoS)>) -> Plan {
        let connect = self.hello.connect(&self.client_id(name), true, false);
        let packet = subscribe.map(|(filter, qos)| self.hello.subscribe(filter, qos));
        let subscribes = packet.iter().len();
        Plan { connect, subscribe: packet.unwrap_or_default(), subscribes }
    }
}
