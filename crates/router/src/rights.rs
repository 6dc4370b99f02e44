//! What rights come to in a session: what its client may publish, and what it may still have when
//! it comes back, or is served from its queue. Its rights may have become less since it subscribed.

use std::sync::Arc;

use agentmq_codec::{PropertyId, Publish};
use agentmq_identity::{Action, Decision, Principal};
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

/// The last few different texts.
#[derive(Debug, Default)]
struct Recent {
    texts: Vec<Box<str>>,
    /// The one that gives way next.
    next: usize,
}

impl Recent {
    fn has(&self, text: &str) -> bool {
        self.texts.iter().any(|known| **known == *text)
    }

    fn note(&mut self, text: &str) {
        if text.len() > LONGEST {
            return;
        }
        if self.texts.len() < REMEMBERED {
            return self.texts.push(text.into());
        }
        self.texts[self.next] = text.into();
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
            let action = Action::to_publish(publish.retain);
            return allowed(&self.principal.authorize(action, topic), "");
        }
        let permits = self.permits.get_or_insert_default();
        let is_known = permits.topics.has(topic);
        if publish.retain || !is_known {
            let action = Action::to_publish(publish.retain);
            allowed(&self.principal.authorize(action, topic), "")?;
        }
        if !is_known {
            permits.topics.note(topic);
        }
        if let Some(response) = response
            && !permits.response_topics.has(response)
        {
            let mounted = self.principal.mounted(response);
            let decision = self.principal.authorize(Action::Subscribe, &mounted);
            allowed(&decision, "the Response Topic is none of your own: ")?;
            permits.response_topics.note(response);
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
            connection.principal = principal.clone();
            connection.is_apart = principal.is_apart();
            connection.permits = None;
        }
    }

    /// Ends the subscriptions of a session that its principal may not have any more.
    pub(crate) fn end_forbidden_subscriptions(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        // The limits may have been lowered since they were made.
        let limits = TopicLimits::NONE;
        let is_forbidden = |text: &str| {
            let inner = Subscription::parse(text, &limits).map_or(text, |it| it.filter);
            !session.principal.authorize(Action::Subscribe, inner).allowed
        };
        let all = session.subscriptions.iter();
        let forbidden: Vec<_> = all.filter(|text| is_forbidden(text)).cloned().collect();
        for text in forbidden {
            self.end_subscription(index, &text);
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
