//! SUBSCRIBE, UNSUBSCRIBE and their answers (MQTT 5 §3.8 to §3.11), and the stream of a filter.

use std::sync::Arc;

use agentmq_codec::{
    DecodeError, Properties, PropertiesBuf, Property, PropertyId as P, ReasonCode, Subscribe,
    SubscribeFilter, Unsubscribe,
};

use crate::command::{Reply, SubscribeRequest};
use crate::connection::Connection;
use crate::driver::{Control, Driver};
use crate::inbox::Inbox;
use crate::routes::Route;
use crate::{Error, Event, Message};

/// The messages of one subscription. Bounded; dropping it does not unsubscribe, but what it did
/// not take is acknowledged and forgotten, and what comes later likewise.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) inbox: Arc<Inbox>,
    /// The filter.
    pub(crate) filter: String,
    /// What the server granted.
    pub(crate) granted: ReasonCode,
}

impl Subscription {
    /// The next message; `None` when the client is closed and everything is taken. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.inbox.poll_take(cx)).await
    }

    /// Acknowledges a message, with [`crate::Acknowledge::Manual`].
    pub fn ack(&self, message: &Message) {
        self.reject(message, ReasonCode::Success);
    }

    /// Acknowledges a message with another reason code; 0x80 and above tells the server that the
    /// message was not processed.
    pub fn reject(&self, message: &Message, reason: ReasonCode) {
        if let Some(delivery) = message.delivery {
            self.inbox.signal().taken(delivery, reason);
        }
    }

    /// The Topic Filter.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The reason code of SUBACK: the QoS granted.
    pub fn granted(&self) -> ReasonCode {
        self.granted
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inbox.abandon(true);
    }
}

impl Driver {
    pub(crate) fn subscribe(&mut self, request: SubscribeRequest, connection: &mut Connection) {
        let identifier = self.next_identifier;
        self.next_identifier = identifier % MAX_IDENTIFIER + 1;
        let limits = &connection.limits;
        let shared = request.filters.iter().any(|(filter, _)| filter.starts_with("$share/"));
        let wild = request.filters.iter().any(|(filter, _)| filter.contains(['+', '#']));
        let refusal = if shared && !limits.shared_subscriptions {
            Some("shared subscriptions")
        } else if wild && !limits.wildcard_subscriptions {
            Some("wildcards in filters")
        } else {
            None
        };
        if let Some(what) = refusal {
            let _ = request.done.send(Err(Error::Unsupported(what)));
            return;
        }
        let Some(id) = self.session.ids.take() else {
            let _ = request.done.send(Err(no_identifier()));
            return;
        };
        let identifier = if limits.subscription_identifiers { identifier } else { 0 };
        let filters = request.filters.iter().map(|(filter, options)| (filter.as_str(), *options));
        send_subscribe(self, connection, id, identifier, &request.properties, filters);
        self.unanswered.insert(id, Control::Subscribe { request, identifier });
    }

    pub(crate) fn unsubscribe(
        &mut self,
        filters: Vec<String>,
        done: Reply<Vec<ReasonCode>>,
        connection: &mut Connection,
    ) {
        let Some(id) = self.session.ids.take() else {
            let _ = done.send(Err(no_identifier()));
            return;
        };
        send_unsubscribe(self, connection, id, &filters);
        self.unanswered.insert(id, Control::Unsubscribe { filters, done });
    }

    /// Subscribes again to everything that a lost session held, with the same identifiers. When
    /// the server has the session (`present`), only what an earlier connection repeated in vain:
    /// the session may be one that began without it.
    pub(crate) fn repeat_subscriptions(&mut self, present: bool, connection: &mut Connection) {
        let mut routes = Vec::new();
        let repeats = self.unanswered.extract_if(|_, what| matches!(what, Control::Repeat(_)));
        for (id, repeat) in repeats {
            self.session.ids.free(id);
            if let Control::Repeat(vain) = repeat {
                routes.extend(vain);
            }
        }
        if !present && self.options.resubscribe {
            routes = self.routes.entries().to_vec();
        }
        routes.sort_by_key(|route| route.identifier);
        for group in routes.chunk_by(|a, b| a.identifier == b.identifier) {
            let Some(id) = self.session.ids.take() else { return };
            let identifier = group.first().map_or(0, |route| route.identifier);
            let filters = group.iter().map(|route| (route.filter.as_str(), route.options));
            send_subscribe(self, connection, id, identifier, &PropertiesBuf::new(), filters);
            self.unanswered.insert(id, Control::Repeat(group.to_vec()));
        }
    }

    /// Sends again what an earlier connection left unanswered.
    pub(crate) fn repeat_control(&mut self, connection: &mut Connection) {
        for (&id, control) in &self.unanswered {
            match control {
                Control::Subscribe { request, identifier } => {
                    let filters = request.filters.iter().map(|(f, options)| (f.as_str(), *options));
                    let properties = &request.properties;
                    send_subscribe(self, connection, id, *identifier, properties, filters);
                }
                Control::Unsubscribe { filters, .. } => {
                    send_unsubscribe(self, connection, id, filters);
                }
                // Of this connection, just sent.
                Control::Repeat(_) => {}
            }
        }
    }

    /// SUBACK or UNSUBACK.
    pub(crate) fn answered(
        &mut self,
        id: u16,
        reasons: Vec<ReasonCode>,
        properties: Properties<'_>,
    ) -> Result<(), Error> {
        let Some(control) = self.unanswered.remove(&id) else {
            return Err(DecodeError::protocol("answer to no SUBSCRIBE or UNSUBSCRIBE").into());
        };
        self.session.ids.free(id);
        match control {
            Control::Subscribe { request, identifier } => {
                self.subscribed(request, identifier, reasons, properties)?;
            }
            Control::Unsubscribe { filters, done } => {
                for filter in &filters {
                    self.routes.remove(filter);
                }
                // Versions before 5 do not say more than "done".
                let _ = done.send(Ok(if reasons.is_empty() {
                    vec![ReasonCode::Success; filters.len()]
                } else {
                    reasons
                }));
            }
            Control::Repeat(routes) => {
                let refused = reasons.iter().filter(|reason| reason.is_error()).count();
                for (route, _) in
                    routes.iter().zip(&reasons).filter(|(_, reason)| reason.is_error())
                {
                    self.routes.remove(&route.filter);
                }
                let _ = self.events.send(Event::Resubscribed { refused });
            }
        }
        Ok(())
    }

    fn subscribed(
        &mut self,
        request: SubscribeRequest,
        identifier: u32,
        reasons: Vec<ReasonCode>,
        properties: Properties<'_>,
    ) -> Result<(), Error> {
        if reasons.len() != request.filters.len() {
            return Err(DecodeError::protocol("SUBACK with another number of codes").into());
        }
        for ((filter, options), reason) in request.filters.iter().zip(&reasons) {
            if !reason.is_error() {
                self.routes.add(Route {
                    filter: filter.clone(),
                    options: *options,
                    identifier,
                    inbox: request.inbox.clone(),
                });
            }
        }
        let answer = match (request.filters.as_slice(), reasons.as_slice()) {
            ([(filter, _)], &[reason]) if reason.is_error() => Err(Error::Rejected {
                what: filter.clone(),
                reason,
                text: properties.text(P::ReasonString).map(str::to_owned),
            }),
            _ => Ok(reasons),
        };
        let _ = request.done.send(answer);
        Ok(())
    }
}

fn send_subscribe<'f>(
    driver: &Driver,
    connection: &mut Connection,
    id: u16,
    identifier: u32,
    properties: &PropertiesBuf,
    filters: impl Iterator<Item = (&'f str, agentmq_codec::SubscriptionOptions)>,
) {
    let mut properties = properties.clone();
    if identifier > 0 {
        properties.push(Property::VarInt(P::SubscriptionIdentifier, identifier));
    }
    let filters = filters.map(|(filter, options)| SubscribeFilter { filter, options });
    let version = driver.options.version;
    Subscribe::encode_parts(id, properties.view(), filters, version, &mut connection.out);
}

fn send_unsubscribe(driver: &Driver, connection: &mut Connection, id: u16, filters: &[String]) {
    let filters = filters.iter().map(String::as_str);
    let version = driver.options.version;
    Unsubscribe::encode_parts(id, Properties::EMPTY, filters, version, &mut connection.out);
}

fn no_identifier() -> Error {
    Error::Invalid("all packet identifiers are in use".into())
}

/// The largest Subscription Identifier (§3.8.2.1.2).
pub(crate) const MAX_IDENTIFIER: u32 = 268_435_455;
