//! What rights come to in a session: what its client may publish, and what it may still have when
//! it comes back, or is served from its queue. Its rights may have become less since it subscribed.

use std::sync::Arc;

use agentmq_codec::{PropertyId, Publish, QoS};
use agentmq_identity::{Action, Decision, Principal, own_client_id};
use agentmq_session::Author;
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::{Connection, ConnectionId};
use crate::handle_connect::Refused;
use crate::reply_topics::check_response_topic;
use crate::router::Router;

/// What a connection was allowed lately, and as whom: most publish to a few topics again and again,
/// and ask for answers at one, and looking through the rules costs as much as routing.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    topics: Recent,
    response_topics: Recent,
    /// As whom it retains messages.
    pub(crate) author: Option<Arc<Author>>,
}

/// The last few different texts, and the highest QoS that was allowed for each.
#[derive(Debug, Default)]
struct Recent {
    texts: Vec<(Box<str>, QoS)>,
    /// The one that gives way next.
    next: usize,
}

impl Recent {
    fn highest(&self, text: &str) -> Option<QoS> {
        self.texts.iter().find(|(known, _)| **known == *text).map(|(_, qos)| *qos)
    }

    fn note(&mut self, text: &str, qos: QoS) {
        if text.len() > LONGEST {
            return;
        }
        if let Some((_, known)) = self.texts.iter_mut().find(|(known, _)| **known == *text) {
            *known = qos;
            return;
        }
        if self.texts.len() < REMEMBERED {
            return self.texts.push((text.into(), qos));
        }
        self.texts[self.next] = (text.into(), qos);
        self.next = (self.next + 1) % REMEMBERED;
    }
}

impl Connection {
    /// Whether its client may publish this: to its topic, by its name in the broker, and with its
    /// Response Topic, where somebody else will publish because of it. Who may not receive there
    /// may not have it done.
    pub(crate) fn permits(
        &mut self,
        publish: &Publish<'_>,
        topic: &str,
        client_id: &str,
    ) -> Result<(), Refused> {
        let response = match publish.properties.has(PropertyId::ResponseTopic) {
            true => publish.properties.text(PropertyId::ResponseTopic),
            false => None,
        };
        if let Some(response) = response {
            check_response_topic(response, client_id)?;
        }
        if !self.principal.is_restricted() {
            let decision = self.principal.authorize_message(topic, publish.qos, publish.retain);
            return allowed(&decision, "");
        }
        let permits = self.permits.get_or_insert_default();
        // What is allowed with one QoS is allowed with every lower one, and not with a higher one.
        let is_known = permits.topics.highest(topic).is_some_and(|it| publish.qos <= it);
        if publish.retain || !is_known {
            let decision = self.principal.authorize_message(topic, publish.qos, publish.retain);
            allowed(&decision, "")?;
        }
        if !is_known {
            permits.topics.note(topic, publish.qos);
        }
        if let Some(response) = response
            && permits.response_topics.highest(response).is_none()
        {
            let mounted = self.principal.mounted(response);
            let decision = self.principal.authorize(Action::Subscribe, &mounted);
            allowed(&decision, "the Response Topic is none of your own: ")?;
            permits.response_topics.note(response, QoS::AtMostOnce);
        }
        Ok(())
    }
}

fn allowed(decision: &Decision<'_>, what: &str) -> Result<(), Refused> {
    if decision.allowed {
        return Ok(());
    }
    // One that is not told why is not told what, either.
    let what = if decision.reason.is_empty() { "" } else { what };
    Err((decision.code, format!("{what}{}", decision.reason).into()))
}

impl Router {
    /// From now on a connection, and its session, acts as this one.
    pub(crate) fn acts_as(&mut self, id: ConnectionId, principal: &Principal) {
        if let Some((connection, session)) = self.connected(id) {
            session.principal = principal.clone();
            let index = connection.session;
            self.settle(index);
            self.end_forbidden_subscriptions(index);
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.act_as(principal.clone());
            connection.permits = None;
        }
    }

    /// Ends the subscriptions of a session that its principal may not have any more, and lowers the
    /// QoS of those that it may have with a lower one only.
    pub(crate) fn end_forbidden_subscriptions(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        // The limits may have been lowered since they were made.
        let limits = TopicLimits::NONE;
        let granted = |text: &str| {
            let inner = Subscription::parse(text, &limits).map_or(text, |it| it.filter);
            let client_id = own_client_id(&session.client_id);
            let (decision, qos) = session.principal.grant_as(client_id, inner, QoS::ExactlyOnce);
            decision.allowed.then_some(qos)
        };
        let all = session.subscriptions.iter().map(|text| (text, granted(text)));
        let narrowed = all.filter(|(_, granted)| *granted != Some(QoS::ExactlyOnce));
        let narrowed: Vec<_> = narrowed.map(|(text, granted)| (text.clone(), granted)).collect();
        for (text, granted) in narrowed {
            match granted {
                Some(highest) => self.lower_subscription(index, &text, highest),
                None => self.end_subscription(index, &text),
            }
        }
    }

    /// Whether a message that was kept for a session may still go to it.
    pub(crate) fn may_receive(&self, index: u32, topic: &str) -> bool {
        let session = self.sessions.get(index as usize);
        session.is_none_or(|it| it.principal.authorize(Action::Receive, topic).allowed)
    }
}

/// Texts that are remembered.
const REMEMBERED: usize = 8;
/// Bytes of a text that is remembered, at most.
const LONGEST: usize = 256;
