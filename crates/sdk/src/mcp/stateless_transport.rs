//! What a client says and hears without a session: to and from all instances of a server.

use std::sync::Arc;

use agentmq_agents::mcp::{NO_SERVER, Topic};
use rmcp::RoleClient;
use rmcp::model::{
    ClientNotification, ClientRequest, GetExtensions as _, GetMeta as _, JsonRpcMessage,
    JsonRpcRequest, RequestId, ServerNotification, ServerResult,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;

use super::bus::{Shared, lock};
use super::call::{Limit, Repeatable};
use super::identifier::dice;
use super::inbox::{Incoming, Outlet};
use super::stateless_ask::Ask;
use super::stateless_calls::{Request, SharedCalls, Way};
use super::wire::{Arrived, Received, TAKEN, cancelled, read};
use super::{Error, request_timeout, traced};

/// The transport of one client to one server-name. Each request goes to an instance; answers come
/// from the one that has it.
pub(crate) struct StatelessTransport {
    shared: Arc<Shared>,
    calls: SharedCalls,
    inbox: Outlet,
    /// Added to the identifiers of requests: those of the transport before may still be answered.
    base: i64,
    ended: bool,
}

impl StatelessTransport {
    pub(crate) fn new(shared: &Arc<Shared>, calls: &SharedCalls, inbox: Outlet) -> Self {
        // JSON's numbers are exact up to 53 bits.
        let base = i64::try_from(dice() >> 33).unwrap_or_default() << 21;
        let (shared, calls) = (shared.clone(), calls.clone());
        Self { shared, calls, inbox, base, ended: false }
    }

    fn on_wire(&self, id: &RequestId) -> RequestId {
        match id {
            RequestId::Number(number) => RequestId::Number(number.wrapping_add(self.base)),
            RequestId::String(_) => id.clone(),
        }
    }

    fn ours(&self, id: &RequestId) -> RequestId {
        match id {
            RequestId::Number(number) => RequestId::Number(number.wrapping_sub(self.base)),
            RequestId::String(_) => id.clone(),
        }
    }

    fn ask(&self, mut it: JsonRpcRequest<ClientRequest>) -> Result<Ask, Error> {
        it.id = self.on_wire(&it.id);
        let extensions = it.request.extensions();
        let limit = extensions.get::<Limit>().cloned();
        let marked = extensions.get::<Repeatable>().is_some();
        let method = it.request.method();
        let request = Request {
            limit: limit.unwrap_or_else(|| Limit::new(request_timeout(method))),
            is_repeatable: marked || READS.contains(&method),
            is_bound: method == "subscriptions/listen",
            trace: traced::outgoing(it.request.get_meta_mut()),
            payload: serde_json::to_vec(&it).unwrap_or_default().into(),
        };
        let mut calls = lock(&self.calls);
        let way = calls.begin(&it.id, request.clone(), &lock(&self.shared.directory));
        let way = way.ok_or_else(|| Error::Offline(calls.name().to_owned()))?;
        drop(calls);
        let ask = Ask::new(&self.shared, &self.calls, it.id, way, request);
        ask.watch();
        Ok(ask)
    }

    /// Takes a request back from whoever has it.
    fn take_back(&self, id: &RequestId, word: Vec<u8>) {
        let link = &self.shared.link;
        let mut calls = lock(&self.calls);
        if let Some(taker) = calls.take_back(id, &word) {
            let topic = calls.topic(&Way::To(taker), link.client_id());
            drop(link.outbox.send(&topic, word));
        }
    }

    /// A message of an instance, in our words; `None` if it is not for us.
    fn heard(&self, arrived: &Arrived) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Some(Topic::Rpc { instance, .. }) = Topic::parse(&arrived.topic) else { return None };
        let dropped = |why| self.shared.link.dropped.add(&arrived.topic, why);
        let message = match read::<RoleClient>(&arrived.payload) {
            Received::Message(message) => message,
            Received::BadRequest(..) | Received::Disconnected | Received::Garbage(_) => {
                dropped("is nothing that a server says");
                return None;
            }
        };
        match message {
            JsonRpcMessage::Response(mut it) => {
                if !lock(&self.calls).answered(&it.id, instance.id()) {
                    dropped("answers nothing that this server was asked");
                    return None;
                }
                it.id = self.ours(&it.id);
                if let ServerResult::SubscriptionsListenResult(result) = &mut it.result {
                    result.meta.set_subscription_id(it.id.clone());
                }
                Some(JsonRpcMessage::Response(it))
            }
            JsonRpcMessage::Error(mut it) => {
                let id = it.id.take()?;
                // The broker says so by its acknowledgement, too, and then another one is asked.
                let by_broker = it.error.code.0 == NO_SERVER && it.error.data.is_none();
                if by_broker && !arrived.is_signed {
                    return None;
                }
                if !lock(&self.calls).answered(&id, instance.id()) {
                    dropped("answers nothing that this server was asked");
                    return None;
                }
                it.id = Some(self.ours(&id));
                Some(JsonRpcMessage::Error(it))
            }
            JsonRpcMessage::Notification(it) => {
                let notification = self.notified(it.notification, instance.id())?;
                Some(JsonRpcMessage::notification(notification))
            }
            JsonRpcMessage::Request(_) => {
                dropped("is a request, which this revision does not have");
                None
            }
        }
    }

    fn notified(
        &self,
        mut notification: ServerNotification,
        from: &str,
    ) -> Option<ServerNotification> {
        match &mut notification {
            ServerNotification::CustomNotification(it) if it.method == TAKEN => {
                let id = it.params.as_ref()?.get("requestId")?;
                let id: RequestId = serde_json::from_value(id.clone()).ok()?;
                let link = &self.shared.link;
                let mut calls = lock(&self.calls);
                if let Some(word) = calls.taken(&id, from) {
                    let topic = calls.topic(&Way::To(from.into()), link.client_id());
                    drop(link.outbox.send(&topic, word));
                }
                return None;
            }
            ServerNotification::CancelledNotification(it) => {
                let id = it.params.request_id.take()?;
                if !lock(&self.calls).answered(&id, from) {
                    return None;
                }
                it.params.request_id = Some(self.ours(&id));
            }
            other => {
                if let Some(id) = other.get_meta().subscription_id() {
                    let ours = self.ours(&id);
                    other.get_meta_mut().set_subscription_id(ours);
                }
            }
        }
        Some(notification)
    }
}

impl Transport<RoleClient> for StatelessTransport {
    type Error = Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let asking = match item {
            JsonRpcMessage::Request(it) => self.ask(it).map(|ask| Some((ask.send(), ask))),
            JsonRpcMessage::Notification(mut it) => {
                if let ClientNotification::CancelledNotification(cancelled) = &mut it.notification
                    && let Some(id) = cancelled.params.request_id.take()
                {
                    let id = self.on_wire(&id);
                    cancelled.params.request_id = Some(id.clone());
                    self.take_back(&id, serde_json::to_vec(&it).unwrap_or_default());
                }
                Ok(None)
            }
            // Nobody has asked us anything.
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => Ok(None),
        };
        async move {
            match asking? {
                Some((sent, ask)) => ask.finish(sent).await,
                None => Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.inbox.take().await? {
                Incoming::Message(arrived) => {
                    if let Some(message) = self.heard(&arrived) {
                        return Some(message);
                    }
                }
                Incoming::Failed(id, error) => {
                    return Some(JsonRpcMessage::error(error, Some(self.ours(&id))));
                }
                Incoming::Gone => {
                    self.ended = true;
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inbox.close();
        let link = &self.shared.link;
        let mut calls = lock(&self.calls);
        let open = calls.end();
        if self.ended || self.inbox.is_gone() {
            return Ok(());
        }
        for (id, taker) in open {
            let topic = calls.topic(&Way::To(taker), link.client_id());
            drop(link.outbox.send(&topic, cancelled(&id)));
        }
        Ok(())
    }
}

/// Requests that change nothing: whoever answers, and however often.
const READS: [&str; 8] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
];
