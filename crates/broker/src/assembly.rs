//! From a configuration to the parts that a broker is made of.

use std::path::Path;
use std::sync::Arc;

use agentmq_net::{
    AllowedOrigins, ClientCertificates, Endpoint, Listener, ListenerOptions, NetError, ProxyPolicy,
    TlsFiles, TlsServer, WebSocketOptions,
};
use agentmq_router::{DoorSettings, Place, Settings};
use agentmq_shard::{Door, Placement, Workers};

use crate::{ClientPlacement, Config, ListenerConfig, TlsConfig};

/// The sockets of a broker, bound, and the TLS identities that they use.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) doors: Vec<Door>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) tls: Vec<TlsServer>,
}

/// What the router needs to know of a configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let mqtt = &config.mqtt;
    Settings {
        limits: config.limits.clone(),
        maximum_qos: mqtt.maximum_qos,
        retain_available: mqtt.retain_available,
        wildcard_subscriptions: mqtt.wildcard_subscriptions,
        subscription_identifiers: mqtt.subscription_identifiers,
        shared_subscriptions: mqtt.shared_subscriptions,
        server_keep_alive: mqtt.server_keep_alive_secs,
        retained_gap_ms: config.session.retained_gap_ms,
        hold_on_resume_ms: config.session.hold_on_resume_ms,
        queue_qos0: config.session.queue_qos0_messages,
        durability: config.durability.name(),
        check_retain_source: !config.access.ignores_retain_source,
        dollar_prefixes: boxed(&mqtt.dollar_prefixes),
        response_information: mqtt.response_information.as_str().into(),
        share_strategy: config.shared.strategy,
        share_strategies: config.shared.groups.clone(),
        agents: config.agents.settings(),
        identity_topics: boxed(&config.access.identity.topics),
        identity_prefix: config.access.identity.prefix.as_str().into(),
        audit_topics: boxed(&config.audit.topics),
        doors: config.listeners.iter().map(door_settings).chain([inner_door(config)]).collect(),
    }
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn door_settings(listener: &ListenerConfig) -> DoorSettings {
    let ListenerConfig { allow_anonymous, max_connections, hide_publishers, agents, .. } =
        *listener;
    DoorSettings {
        lets_anonymous_in: allow_anonymous,
        max_connections,
        hide_publishers,
        serves_agents: agents,
    }
}

/// What holds for clients that come by [`crate::InnerDoor`]. Those without credentials are clients
/// on this machine, as whoever lets them knock has made sure. What one listener hides is not told
/// of those who go around it. Whoever knocks has bounds of his own, and is no agent by his address.
fn inner_door(config: &Config) -> DoorSettings {
    DoorSettings {
        lets_anonymous_in: config.listeners.iter().any(ListenerConfig::lets_neighbours_in),
        max_connections: 0,
        hide_publishers: config.listeners.iter().any(|listener| listener.hide_publishers),
        serves_agents: false,
    }
}

/// Binds every listener of a configuration, or none.
pub(crate) fn bind(config: &Config) -> Result<Bound, NetError> {
    let mut bound = Bound::default();
    for listener in &config.listeners {
        let (options, tls) = listener_options(listener, config.limits.packet_bytes)?;
        let socket = Listener::bind(&options)?;
        bound.endpoints.push(socket.endpoint().clone());
        bound.doors.push(Door::new(socket));
        bound.tls.extend(tls);
    }
    Ok(bound)
}

impl Config {
    /// Reads the certificates and keys that it names, to say what is wrong with them.
    #[must_use]
    pub fn tls_problems(&self) -> Vec<String> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let of_listeners = listeners
            .filter_map(|tls| TlsServer::load(tls_files(tls)).err())
            .map(|error| error.to_string());
        let of_admin = self.admin.tls().and_then(|tls| tls.check().err());
        of_listeners.chain(of_admin).collect()
    }
}

fn listener_options(
    listener: &ListenerConfig,
    packet_bytes: u32,
) -> Result<(ListenerOptions, Option<TlsServer>), NetError> {
    let mut options = ListenerOptions::new(listener.url.parse()?);
    let tls = listener.tls.as_ref().map(tls_files).map(TlsServer::load).transpose()?;
    options.tls = tls.clone();
    options.websocket = WebSocketOptions {
        allowed_origins: allowed_origins(&listener.allowed_origins),
        max_frame_bytes: u64::from(packet_bytes).max(WebSocketOptions::default().max_frame_bytes),
    };
    if !listener.proxy_from.is_empty() {
        let networks = listener.proxy_from.iter().map(|text| text.parse());
        options.proxy_protocol = ProxyPolicy::RequiredFrom(networks.collect::<Result<_, _>>()?);
    }
    options.unix_mode = listener.socket_mode();
    Ok((options, tls))
}

fn tls_files(tls: &TlsConfig) -> TlsFiles {
    let client_certificates = match (&tls.client_ca, tls.require_client_cert) {
        (None, _) => ClientCertificates::NotAsked,
        (Some(ca), false) => ClientCertificates::Optional(ca.clone()),
        (Some(ca), true) => ClientCertificates::Required(ca.clone()),
    };
    let owned = Path::to_path_buf;
    TlsFiles {
        certificate_chain: owned(&tls.cert),
        private_key: owned(&tls.key),
        client_certificates,
    }
}

fn allowed_origins(origins: &[String]) -> AllowedOrigins {
    if origins.is_empty() {
        AllowedOrigins::SameHost
    } else if origins.iter().any(|origin| origin == "*") {
        AllowedOrigins::Any
    } else {
        AllowedOrigins::Listed(origins.to_vec())
    }
}

/// The settings of a configuration, to share between shards.
pub(crate) fn shared_settings(config: &Config) -> Arc<Settings> {
    Arc::new(settings(config))
}

/// How many shards a configuration asks for: at most one for each bit of a set of places.
pub(crate) fn shard_count(config: &Config) -> usize {
    let wanted = match config.threads.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wanted => usize::from(wanted),
    };
    wanted.min(Place::MAX)
}

/// The threads that verify passwords. Each takes 19 MiB while it does.
pub(crate) fn workers(config: &Config) -> Workers {
    let threads = match config.threads.logins {
        0 => std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2),
        wanted => usize::from(wanted),
    };
    Workers::new(threads)
}

/// How a configuration spreads clients over shards.
pub(crate) fn placement(config: &Config) -> Placement {
    match config.threads.placement {
        ClientPlacement::ByLoad => Placement::ByLoad { busy_percent: config.threads.busy_percent },
        ClientPlacement::Spread => Placement::Spread,
    }
}
