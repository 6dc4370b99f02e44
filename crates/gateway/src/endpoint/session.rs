//! One session of MCP over HTTP: what its client says comes in by many requests, and what is said
//! to the client goes out by the stream that it belongs to.
//!
//! `rmcp` brings such a thing, which takes 100 KB for each session (a task, and channels of large
//! messages); this one takes a table.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use agentmq_sdk::weight_of;
use futures_util::Stream;
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    GetMeta as _, JsonRpcMessage, ProgressToken, RequestId, ServerJsonRpcMessage,
    ServerNotification,
};
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::room::{Room, Taken};

/// A session, as HTTP requests see it.
#[derive(Debug)]
pub(crate) struct Session {
    to_service: mpsc::Sender<Box<ClientJsonRpcMessage>>,
    streams: Arc<Streams>,
}

/// The session is over.
#[derive(Debug, thiserror::Error)]
#[error("the session is over")]
pub(crate) struct Over;

/// The streams that are open. Bounded by the requests under way.
#[derive(Debug)]
struct Streams {
    inner: Mutex<Inner>,
    /// For what is said in no request's stream, and not read yet.
    notices: Room,
}

#[derive(Debug, Default)]
struct Inner {
    /// Where the answer to a request goes, and what is said before it.
    requests: HashMap<RequestId, Pen>,
    /// Which request reports so.
    progress: HashMap<ProgressToken, RequestId>,
    /// For all else, the newest last.
    listening: VecDeque<Pen>,
    /// What nobody listens to yet.
    unheard: VecDeque<Letter>,
}

type Pen = mpsc::Sender<Letter>;

/// A message on its way, and its room if it has some here: those of requests have it with these.
#[derive(Debug)]
struct Letter {
    message: Box<ServerJsonRpcMessage>,
    room: Option<Taken>,
}

impl From<ServerJsonRpcMessage> for Letter {
    fn from(message: ServerJsonRpcMessage) -> Self {
        Self { message: message.into(), room: None }
    }
}

impl Session {
    /// A session, and the transport of the service that is on its other side.
    pub(crate) fn new(notices: Room) -> (Self, SessionTransport) {
        let (to_service, from_client) = mpsc::channel(WAITING);
        let streams = Arc::new(Streams { inner: Mutex::default(), notices });
        let transport = SessionTransport { from_client, streams: streams.clone() };
        (Self { to_service, streams }, transport)
    }

    /// A request of the client. What is answered comes in the stream, which ends with it.
    pub(crate) async fn ask(&self, message: ClientJsonRpcMessage) -> Result<Outlet, Over> {
        let (pen, paper) = mpsc::channel(WAITING);
        let mut outlet = Outlet { paper, asked: None, sent: None };
        if let JsonRpcMessage::Request(request) = &message {
            let mut streams = self.streams.lock();
            if let Some(token) = request.request.get_meta().get_progress_token() {
                streams.progress.insert(token, request.id.clone());
            }
            streams.requests.insert(request.id.clone(), pen);
            outlet.asked = Some(Asked {
                id: request.id.clone(),
                streams: self.streams.clone(),
                to_service: self.to_service.downgrade(),
            });
        }
        self.say(message).await?;
        Ok(outlet)
    }

    /// Something else that the client says.
    pub(crate) async fn say(&self, message: ClientJsonRpcMessage) -> Result<(), Over> {
        let taken_back = match &message {
            JsonRpcMessage::Notification(it) => match &it.notification {
                ClientNotification::CancelledNotification(it) => it.params.request_id.clone(),
                _ => None,
            },
            _ => None,
        };
        self.to_service.send(message.into()).await.map_err(|_| Over)?;
        if let Some(id) = taken_back {
            // No answer will come.
            self.streams.lock().forget(&id);
        }
        Ok(())
    }

    /// A stream for what belongs to no request.
    pub(crate) fn listen(&self) -> Outlet {
        let (pen, paper) = mpsc::channel(WAITING);
        let mut streams = self.streams.lock();
        for message in streams.unheard.drain(..) {
            let _ = pen.try_send(message); // there is room for as much as waits
        }
        streams.listening.retain(|pen| !pen.is_closed());
        if streams.listening.len() >= LISTENING {
            streams.listening.pop_front();
        }
        streams.listening.push_back(pen);
        Outlet { paper, asked: None, sent: None }
    }
}

impl Streams {
    /// Puts a message where it belongs. What cannot be put there yet comes back with the place.
    fn put(&self, message: ServerJsonRpcMessage) -> Option<(Pen, Letter)> {
        let mut inner = self.lock();
        let pen = match &message {
            JsonRpcMessage::Response(answer) => inner.forget(&answer.id),
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(|id| inner.forget(id)),
            JsonRpcMessage::Notification(it) => match &it.notification {
                ServerNotification::ProgressNotification(report) => {
                    let id = inner.progress.get(&report.params.progress_token);
                    id.and_then(|id| inner.requests.get(id)).cloned()
                }
                _ => {
                    self.tell(&mut inner, message);
                    return None;
                }
            },
            JsonRpcMessage::Request(_) => {
                self.tell(&mut inner, message);
                return None;
            }
        };
        // Nobody waits for it any more.
        let pen = pen?;
        match pen.try_send(message.into()) {
            Err(TrySendError::Full(message)) => Some((pen, message)),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// For who listens. One who does not read misses what is too much; while nobody listens, the
    /// last few wait, but for large ones.
    fn tell(&self, inner: &mut Inner, message: ServerJsonRpcMessage) {
        inner.listening.retain(|pen| !pen.is_closed());
        let weight = weight_of(&message);
        if inner.listening.is_empty() && weight > LONGEST_UNHEARD {
            tracing::debug!(weight, "notification dropped: it is large, and nobody listens");
            return;
        }
        let Ok(room) = self.notices.hold(weight) else {
            tracing::debug!(weight, "notification dropped: those not read yet leave it no room");
            return;
        };
        let letter = Letter { message: message.into(), room: Some(room) };
        match inner.listening.back() {
            Some(pen) => {
                if pen.try_send(letter).is_err() {
                    tracing::debug!("notification dropped: the client does not read");
                }
            }
            None => {
                if inner.unheard.len() >= WAITING {
                    inner.unheard.pop_front();
                }
                inner.unheard.push_back(letter);
            }
        }
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A request is over. Returns where its answer goes.
    fn forget(&mut self, id: &RequestId) -> Option<Pen> {
        let pen = self.requests.remove(id)?;
        self.progress.retain(|_, request| request != id);
        Some(pen)
    }
}

/// The service's side of a session.
#[derive(Debug)]
pub(crate) struct SessionTransport {
    from_client: mpsc::Receiver<Box<ClientJsonRpcMessage>>,
    streams: Arc<Streams>,
}

impl Transport<RoleServer> for SessionTransport {
    type Error = Over;

    /// Waits while a request's stream is full: whoever asked must read.
    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Over>> + Send + 'static {
        let waiting = self.streams.put(message);
        async move {
            if let Some((pen, message)) = waiting {
                let _ = pen.send(message).await;
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.from_client.recv().await.map(|message| *message)
    }

    async fn close(&mut self) -> Result<(), Over> {
        self.from_client.close();
        *self.streams.lock() = Inner::default();
        Ok(())
    }
}

/// The end of a stream that is read. When nobody reads that of a request any more, its answer could
/// not be told to anybody, so the service hears that it is taken back.
#[derive(Debug)]
pub(crate) struct Outlet {
    paper: mpsc::Receiver<Letter>,
    asked: Option<Asked>,
    /// The room of the last one, which is on its way until the next one is asked for.
    sent: Option<Taken>,
}

/// A request that has a stream. It does not keep its session alive.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    streams: Arc<Streams>,
    to_service: mpsc::WeakSender<Box<ClientJsonRpcMessage>>,
}

impl Outlet {
    /// The first message.
    pub(crate) async fn first(mut self) -> Result<ServerJsonRpcMessage, Over> {
        self.paper.recv().await.map(|letter| *letter.message).ok_or(Over)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let Some(Asked { id, streams, to_service }) = self.asked.take() else { return };
        self.paper.close();
        let mut streams = streams.lock();
        // It is answered, or another request has its name now.
        if !streams.requests.get(&id).is_some_and(Pen::is_closed) {
            return;
        }
        streams.forget(&id);
        drop(streams);
        let params = CancelledNotificationParam::new(Some(id), None);
        let taken_back = CancelledNotification::new(params).into();
        // Where too much waits for the service, this ends with its own time.
        let told = to_service
            .upgrade()
            .map(|it| it.try_send(ClientJsonRpcMessage::notification(taken_back).into()));
        if told.is_some_and(|told| told.is_err()) {
            tracing::debug!("a request without a client goes on: too much waits for the service");
        }
    }
}

impl Stream for Outlet {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.sent = None;
        let next = self.paper.poll_recv(cx);
        next.map(|next| {
            let Letter { message, room } = next?;
            self.sent = room;
            Some(ServerSseMessage::from_message(*message))
        })
    }
}

/// Messages that wait in one stream, and for the service.
const WAITING: usize = 16;

/// Bytes of memory that a notification may take which waits for a stream. A larger one is dropped.
const LONGEST_UNHEARD: usize = 1 << 20;

/// Streams that one session may listen by. A further one ends the oldest.
const LISTENING: usize = 8;

#[cfg(test)]
mod tests {
    use agentmq_sdk::weight;
    use futures_util::StreamExt;
    use serde_json::{Value, json};

    use super::*;

    fn client(message: Value) -> ClientJsonRpcMessage {
        serde_json::from_value(message).unwrap()
    }

    fn server(message: Value) -> ServerJsonRpcMessage {
        serde_json::from_value(message).unwrap()
    }

    fn call(id: u32, token: &str) -> ClientJsonRpcMessage {
        let params = json!({ "name": "x", "_meta": { "progressToken": token } });
        client(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
    }

    fn progress(token: &str, progress: u32) -> ServerJsonRpcMessage {
        let params = json!({ "progressToken": token, "progress": progress });
        server(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))
    }

    fn changed(list: &str) -> ServerJsonRpcMessage {
        let method = format!("notifications/{list}/list_changed");
        server(json!({ "jsonrpc": "2.0", "method": method }))
    }

    fn answer(id: u32) -> ServerJsonRpcMessage {
        server(json!({ "jsonrpc": "2.0", "id": id, "result": {} }))
    }

    async fn all(outlet: Outlet) -> Vec<ServerJsonRpcMessage> {
        outlet.map(|event| (**event.message.as_ref().unwrap()).clone()).collect().await
    }

    fn text(message: &ServerJsonRpcMessage) -> String {
        serde_json::to_string(message).unwrap()
    }

    #[tokio::test]
    async fn each_stream_gets_what_belongs_to_it() {
        let (session, mut service) = Session::new(Room::new(1 << 20, None));
        let (one, two) = (session.ask(call(1, "a")).await, session.ask(call(2, "b")).await);
        for _ in 0..2 {
            assert!(service.receive().await.is_some());
        }
        let listening = session.listen();
        for message in [
            progress("b", 1),
            changed("tools"),
            progress("a", 1),
            answer(1),
            progress("a", 2), // nobody waits for it
            answer(2),
            answer(3), // nobody has asked
        ] {
            service.send(message).await.unwrap();
        }
        service.close().await.unwrap();
        let shown = |messages: Vec<_>| messages.iter().map(text).collect::<Vec<_>>();
        assert_eq!(
            shown(all(one.unwrap()).await),
            [progress("a", 1), answer(1)].map(|it| text(&it))
        );
        assert_eq!(
            shown(all(two.unwrap()).await),
            [progress("b", 1), answer(2)].map(|it| text(&it))
        );
        assert_eq!(shown(all(listening).await), [text(&changed("tools"))]);
        assert!(session.ask(call(3, "c")).await.is_err(), "it is over");
    }

    #[tokio::test]
    async fn who_does_not_read_is_waited_for_or_misses_something() {
        let (session, mut service) = Session::new(Room::new(1 << 20, None));
        let mut asked = session.ask(call(1, "a")).await.unwrap();
        for step in 0..WAITING {
            service.send(progress("a", step as u32)).await.unwrap();
        }
        let mut waiting = Box::pin(service.send(answer(1)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(asked.next().await.is_some());
        waiting.await.unwrap();
        let listening = session.listen();
        for _ in 0..WAITING * 4 {
            service.send(changed("tools")).await.unwrap();
        }
        service.close().await.unwrap();
        assert_eq!(all(asked).await.len(), WAITING);
        assert_eq!(all(listening).await.len(), WAITING);
    }

    #[tokio::test]
    async fn notifications_have_room_until_they_are_read() {
        let each = weight(text(&changed("tools")).as_bytes());
        let room = Room::new(2 * each, None);
        let (session, mut service) = Session::new(room.clone());
        for _ in 0..3 {
            service.send(changed("tools")).await.unwrap();
        }
        let mut listening = session.listen();
        for left in [2, 1] {
            assert!(listening.next().await.is_some());
            assert_eq!(room.taken(), left * each, "the last one is on its way");
        }
        assert!(futures_util::poll!(listening.next()).is_pending(), "the third was dropped");
        assert_eq!(room.taken(), 0);
        service.send(changed("tools")).await.unwrap();
        drop((listening, session, service));
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn a_large_notification_does_not_wait_for_who_listens() {
        let logged = |length: usize| {
            let params = json!({ "level": "info", "data": "x".repeat(length) });
            server(json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }))
        };
        let room = Room::new(4 * LONGEST_UNHEARD, None);
        let (session, mut service) = Session::new(room.clone());
        service.send(logged(LONGEST_UNHEARD)).await.unwrap();
        assert_eq!(room.taken(), 0);
        service.send(logged(7)).await.unwrap();
        let listening = session.listen();
        service.send(logged(LONGEST_UNHEARD)).await.unwrap();
        service.close().await.unwrap();
        assert_eq!(all(listening).await.len(), 2);
    }

    #[tokio::test]
    async fn the_last_few_wait_for_who_listens_later_and_a_request_taken_back_ends() {
        let (session, mut service) = Session::new(Room::new(1 << 20, None));
        for list in ["tools"; 20].into_iter().chain(["prompts"]) {
            service.send(changed(list)).await.unwrap();
        }
        let asked = session.ask(call(1, "a")).await.unwrap();
        let params = json!({ "requestId": 1 });
        let cancel =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        session.say(client(cancel)).await.unwrap();
        assert!(all(asked).await.is_empty());
        let (first, second) = (session.listen(), session.listen());
        service.send(changed("resources")).await.unwrap();
        service.close().await.unwrap();
        let first = all(first).await;
        assert_eq!((first.len(), text(&first[15])), (WAITING, text(&changed("prompts"))));
        assert_eq!(all(second).await.len(), 1, "the newest one hears");
    }

    #[tokio::test]
    async fn a_request_whose_client_has_gone_is_taken_back() {
        let (session, mut service) = Session::new(Room::new(1 << 20, None));
        let mut told = async || serde_json::to_value(service.receive().await).unwrap();
        let gone = session.ask(call(1, "a")).await.unwrap();
        assert_eq!(told().await["id"], 1);
        drop(gone);
        let taken_back = told().await;
        assert_eq!(taken_back["method"], "notifications/cancelled");
        assert_eq!(taken_back["params"]["requestId"], 1);
        assert!(session.streams.lock().requests.is_empty());
        // Who has been answered, and whose name another request has taken, takes nothing back.
        let (first, second) =
            (session.ask(call(2, "a")).await.unwrap(), session.ask(call(2, "b")).await.unwrap());
        drop(first);
        session.streams.put(answer(2));
        drop(second);
        assert_eq!((told().await["id"].clone(), told().await["id"].clone()), (2.into(), 2.into()));
        drop(session);
        assert_eq!(told().await, Value::Null, "it ends with its session");
    }
}
