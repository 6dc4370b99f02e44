//! The task of a client: from connection to connection until the end.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agentmq_codec::{Disconnect, ReasonCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use crate::command::{Command, Reply, SubscribeRequest};
use crate::connection::{Connection, End};
use crate::ending::Ending;
use crate::handshake::{Accepted, handshake};
use crate::inbox::ConnectionSignal;
use crate::incoming::Incoming;
use crate::link::{self, Link};
use crate::reconnect::dice;
use crate::request::Requests;
use crate::routes::{Route, Routes};
use crate::session::Session;
use crate::{Error, Event, Options, ServerLimits};

/// Everything that outlives a connection.
pub(crate) struct Driver {
    pub(crate) options: Arc<Options>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// A publication that waits for the server's window; nothing overtakes it.
    pub(crate) parked: Option<Command>,
    pub(crate) session: Session,
    pub(crate) incoming: Incoming,
    pub(crate) routes: Routes,
    /// SUBSCRIBE and UNSUBSCRIBE that wait for their answer. Bounded by the packet identifiers.
    pub(crate) unanswered: HashMap<u16, Control>,
    /// Who waits for the answer to each PINGREQ of this connection; nobody for keep alive's own.
    pub(crate) pings: VecDeque<Option<Reply<()>>>,
    pub(crate) next_identifier: u32,
    pub(crate) signal: Arc<ConnectionSignal>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) server: watch::Sender<Arc<ServerLimits>>,
    pub(crate) stop: Arc<Notify>,
    pub(crate) ending: Ending,
    /// Counts connections.
    pub(crate) epoch: u64,
}

/// A subscription request on the wire.
#[derive(Debug)]
pub(crate) enum Control {
    Subscribe {
        request: SubscribeRequest,
        identifier: u32,
    },
    Unsubscribe {
        filters: Vec<String>,
        done: Reply<Vec<ReasonCode>>,
    },
    /// Subscriptions repeated after a lost session.
    Repeat(Vec<Route>),
}

/// A connection that passed the handshake.
pub(crate) type Opened = (Box<dyn Link>, Accepted);

/// Connects once, within the connect timeout.
pub(crate) async fn open(
    options: &Options,
    client_id: &str,
    clean_start: bool,
) -> Result<Opened, Error> {
    let attempt = async {
        let mut link = link::open(options).await?;
        let accepted = handshake(&mut *link, options, client_id, clean_start).await?;
        Ok((link, accepted))
    };
    let after = options.connect_timeout;
    match tokio::time::timeout(after, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout { what: "answer to CONNECT", after }),
    }
}

/// The first connection of a client. Before version 5 one flag says both that the session starts
/// anew and that it ends with the connection; to start a lasting one anew takes two connections.
pub(crate) async fn open_first(options: &Options) -> Result<Opened, Error> {
    let id = &options.client_id;
    if options.version.is_v5() {
        return open(options, id, options.clean_start).await;
    }
    let lasting = options.session_expiry > 0;
    if lasting && options.clean_start {
        let (mut link, _) = open(options, id, true).await?;
        let mut farewell = Vec::new();
        Disconnect::new(ReasonCode::NORMAL_DISCONNECTION).encode(options.version, &mut farewell);
        link.write_all(&farewell).await.map_err(Error::Lost)?;
        link.shutdown().await.map_err(Error::Lost)?;
    }
    open(options, id, !lasting).await
}

impl Driver {
    /// Runs until the application is done or connecting again is pointless.
    pub(crate) async fn run(mut self, mut opened: Opened) {
        let mut attempt = 0;
        loop {
            let (link, accepted) = opened;
            let mut connection = Connection::new(link, accepted, &self.options);
            self.connected(&mut connection);
            let end = std::future::poll_fn(|cx| self.poll_turn(&mut connection, cx)).await;
            let useful = connection.useful;
            drop(connection);
            let End::Lost(error) = end else { break };
            // A server that accepts and closes, or whose packets we cannot bear, is not asked
            // again at once.
            if useful && !matches!(error, Error::Protocol(_)) {
                attempt = 0;
            }
            match self.reconnect(error, &mut attempt).await {
                Some(next) => opened = next,
                None => break,
            }
        }
        self.close();
    }

    /// Tells the session what kind of connection it has now.
    fn connected(&mut self, connection: &mut Connection) {
        let limits = &connection.limits;
        let window = limits.receive_maximum.min(self.options.max_in_flight);
        let present = limits.session_present;
        self.epoch += 1;
        if !present && self.epoch > 1 {
            self.session.lost();
            self.incoming.clear();
        }
        self.session.connected(window);
        self.server.send_replace(limits.clone());
        if self.epoch > 1 {
            let _ = self.events.send(if present { Event::Resumed } else { Event::Connected });
            self.repeat_subscriptions(present, connection);
        }
        self.repeat_control(connection);
    }

    async fn reconnect(&mut self, mut error: Error, attempt: &mut u32) -> Option<Opened> {
        loop {
            let policy = self.options.reconnect;
            let hopeless = error.blames_a_packet() && self.session.has_unacknowledged();
            let wanted = error.is_transient() && !hopeless && !self.commands.is_closed();
            let pause = policy.pause(*attempt, dice()).filter(|_| wanted);
            self.disconnected(&error, pause);
            *attempt = attempt.saturating_add(1);
            let Some(pause) = pause else {
                self.ending.set(error);
                return None;
            };
            for waiting in self.pings.drain(..).flatten() {
                let _ = waiting.send(Err(Error::Lost(io::ErrorKind::ConnectionAborted.into())));
            }
            tokio::select! {
                biased;
                () = self.stop.notified() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            let client_id = self.server.borrow().client_id.clone();
            // Before version 5 the flag also says whether the session may outlive the connection.
            let clean_start = !self.options.version.is_v5() && self.options.session_expiry == 0;
            let stopped = self.stop.clone();
            let result = tokio::select! {
                biased;
                () = stopped.notified() => return None,
                result = open(&self.options, &client_id, clean_start) => result,
            };
            match result {
                Ok(opened) => return Some(opened),
                Err(failure) => error = failure,
            }
        }
    }

    fn disconnected(&self, error: &Error, retry_in: Option<Duration>) {
        let reason = match error {
            Error::ServerDisconnect { reason, .. } | Error::Refused { reason, .. } => Some(*reason),
            _ => None,
        };
        let why = error.to_string();
        let _ = self.events.send(Event::Disconnected { why, reason, retry_in });
    }

    /// Ends every stream. Tokens end with the cause as their senders are dropped.
    fn close(mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Disconnect { done, .. } = command {
                let _ = done.send(());
            }
        }
        for control in self.unanswered.values() {
            if let Control::Subscribe { request, .. } = control
                && let Some(inbox) = &request.inbox
            {
                inbox.close();
            }
        }
        self.requests.close();
        self.routes.close();
    }
}
