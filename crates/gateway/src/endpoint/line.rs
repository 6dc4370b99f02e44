//! One connection to the bus, for all HTTP clients who bring the same token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{Bus, BusConfig};
use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::{Request, Response};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agent_tools::follow_agents;
use crate::catalogue::Catalogue;
use crate::endpoint::addresses::Addresses;
use crate::endpoint::refusal::Refusal;
use crate::endpoint::sessions::Sessions;
use crate::endpoint::unread::{Unread, UnreadRoom};
use crate::endpoint::usage::Usage;
use crate::follow::follow_all;
use crate::host::Host;
use crate::room::Room;

/// A connection, and the sessions of MCP that share it.
pub(crate) struct Line {
    bus: Bus,
    service: StreamableHttpService<Host, Sessions>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) usage: Usage,
    unread: UnreadRoom,
    /// From where the broker has let its clients in.
    pub(crate) addresses: Addresses,
    /// Held while the broker is asked about another one.
    pub(crate) admitting: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled when it has ended; its sessions and streams end with it.
    pub(crate) over: CancellationToken,
}

/// Of what all connections have together.
pub(crate) struct Rooms {
    /// Places for sessions.
    pub(crate) places: Arc<Semaphore>,
    /// For the lists of this connection.
    pub(crate) lists: Room,
    /// For what its clients have not read.
    pub(crate) unread: UnreadRoom,
}

impl Line {
    /// Connects for a client at an address. `ended` is called when it is over: when the broker
    /// lets this client in no more, or nobody has needed it for a while. All that it keeps takes
    /// room of `rooms`.
    pub(crate) async fn open(
        options: Options,
        from: SocketAddr,
        namespace: Option<Arc<str>>,
        longest_body: usize,
        rooms: Rooms,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Self>, Refusal> {
        let bus = Bus::connect(options.clone(), of_this_process()).await?;
        let catalogue = Arc::new(Catalogue::new(rooms.lists));
        // Whoever is connected has tried.
        catalogue.set_tried();
        let over = CancellationToken::new();
        let sessions = Arc::new(Sessions::new(rooms.places, rooms.unread.notices.clone()));
        // Names and origins were looked at before the token was.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_sse_retry(None)
            .with_max_request_body_bytes(longest_body)
            .with_cancellation_token(over.clone());
        let offered = catalogue.clone();
        let service = StreamableHttpService::new(
            move || Ok(Host::new(offered.clone())),
            sessions.clone(),
            config,
        );
        let line = Arc::new(Self {
            bus,
            service,
            sessions,
            usage: Usage::new(),
            unread: rooms.unread,
            addresses: Addresses::new(from),
            admitting: Arc::default(),
            over,
        });
        let kept = line.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = follow_all(&kept.bus, &catalogue) => {
                    let error = kept.bus.client().ending();
                    tracing::debug!(%error, "an HTTP client's connection to the bus has ended");
                }
                () = kept.unused() => {}
                () = follow_tools(&options, namespace.as_deref(), &catalogue) => {}
            }
            kept.over.cancel();
            ended();
            kept.bus.close().await;
        });
        Ok(line)
    }

    /// Answers a request whose sender has been let in.
    pub(crate) async fn answer(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Response<BoxBody<Bytes, Infallible>> {
        self.service.handle(request).await
    }

    /// For what one request says that its client has not read.
    pub(crate) fn unread(&self) -> Unread {
        Unread::new(self.unread.clone())
    }

    /// Ends sessions that nobody uses. Ready when nobody has used any of this for a while.
    async fn unused(&self) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let known = self.sessions.names();
            if known.is_empty() && self.usage.is_idle(LINE_IDLE) {
                return;
            }
            for session in self.usage.idle(known, SESSION_IDLE) {
                self.sessions.end(&session);
            }
        }
    }
}

/// For connections to the broker whose process this is: no network is in between, and what has
/// ended has ended.
pub(crate) fn of_this_process() -> BusConfig {
    BusConfig { away: Duration::ZERO, ..BusConfig::default() }
}

/// Follows the tools of MQTT.Agent, for ever.
async fn follow_tools(options: &Options, namespace: Option<&str>, catalogue: &Arc<Catalogue>) {
    let Some(namespace) = namespace else {
        catalogue.set_agents_ready();
        return std::future::pending().await;
    };
    let all = ["#".to_owned()];
    follow_agents(options, namespace, &all, catalogue).await;
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("client_id", &self.bus.client_id()).finish_non_exhaustive()
    }
}

/// A session in which nobody has asked for anything for so long, and without a stream, ends.
const SESSION_IDLE: Duration = Duration::from_secs(600);

/// A connection to the bus without sessions ends when nobody has asked for anything for so long.
const LINE_IDLE: Duration = Duration::from_secs(60);

/// How often we look for what nobody uses.
const LOOK: Duration = Duration::from_secs(15);
