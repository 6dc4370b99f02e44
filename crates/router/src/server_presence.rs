//! Whether a tool server is there, as its card says and those of its tools (MQTT.Agent 0.1 §4).
//! The published server writes them once, when it starts, and its will says that it is offline:
//! where it has replicas, when the first of them goes; where it comes back, for ever. Here the
//! cards follow the clients whose will goes to the server's card.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentmq_agents::{AgentTopic, Card, Status, card_topic};
use agentmq_codec::{QoS, Subscribe};
use agentmq_identity::seen_by_its_own;
use agentmq_session::{Message, Time, Will};
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::ConnectionId;
use crate::router::Router;
use crate::source::Source;

/// How many clients stand behind each server card: those whose will goes there, and those that are
/// waited for. One for all shards; locked when such a client comes or goes.
#[derive(Debug, Default)]
pub struct Replicas(Mutex<HashMap<Box<str>, u32>>);

impl Replicas {
    fn join(&self, card: &str) {
        *self.counts().entry(card.into()).or_default() += 1;
    }

    fn leave(&self, card: &str) {
        let mut counts = self.counts();
        let Some(count) = counts.get_mut(card) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(card);
        }
    }

    fn count(&self, card: &str) -> u32 {
        self.counts().get(card).copied().unwrap_or_default()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Box<str>, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // a count is changed at once
    }
}

impl Router {
    /// Gives a session this will and answers the one that it had.
    pub(crate) fn set_will(&mut self, index: u32, will: Option<Box<Will>>) -> Option<Box<Will>> {
        let session = self.sessions.get_mut(index as usize)?;
        let old = std::mem::replace(&mut session.will, will);
        self.count_replica(index);
        if let Some(old) = old.as_deref().filter(|old| self.is_server_card(old.topic())) {
            self.replicas.leave(old.topic());
        }
        old
    }

    /// Counts a session that has its will.
    pub(crate) fn count_replica(&self, index: u32) {
        if let Some(will) = self.sessions.get(index as usize).and_then(|it| it.will.as_deref())
            && self.is_server_card(will.topic())
        {
            self.replicas.join(will.topic());
        }
    }

    fn is_server_card(&self, topic: &str) -> bool {
        let found = self.settings.agents.namespaces.find(seen_by_its_own(topic));
        matches!(found, Some((_, AgentTopic::ServerCard { .. })))
    }

    /// Whether a will must not be sent, since other clients stand behind the card that it would
    /// put offline. It is no session's any more.
    pub(crate) fn others_serve(&self, will: &Will) -> bool {
        self.is_server_card(will.topic()) && self.replicas.count(will.topic()) > 0
    }

    /// Whether a client's publication must not be made, since it would put a card offline behind
    /// which there are other clients: a replica that stops says so of all.
    pub(crate) fn is_others_card(&self, publisher: ConnectionId, topic: &str, card: &[u8]) -> bool {
        let Some(card) = Card::parse(card).filter(|it| it.status() == Some(Status::Offline)) else {
            return false;
        };
        let own = seen_by_its_own(topic);
        let Some((namespace, of)) = self.settings.agents.namespaces.find(own) else { return false };
        let of_server = match (of, card.server()) {
            (AgentTopic::ServerCard { .. }, _) => topic.to_owned(),
            (AgentTopic::ToolCard { .. }, Some(server)) => {
                beside(topic, &card_topic(namespace, AgentTopic::ServerCard { server }))
            }
            _ => return false,
        };
        let connection = self.connections.get(publisher.0 as usize).and_then(Option::as_ref);
        let index = connection.and_then(|it| it.session());
        let session = index.and_then(|index| self.sessions.get(index as usize));
        let will = session.and_then(|it| it.will.as_deref());
        let is_one = will.is_some_and(|will| *will.topic() == of_server);
        is_one && self.replicas.count(&of_server) > 1
    }

    /// A server is gone, its will says so: so say the cards of its tools.
    pub(crate) fn show_tools_offline(&mut self, index: u32, will: &Message, now: Time) {
        let topic = will.topic();
        let Some((namespace, of)) = self.settings.agents.namespaces.find(seen_by_its_own(topic))
        else {
            return;
        };
        let AgentTopic::ServerCard { server } = of else { return };
        let Some(card) = Card::parse(will.payload()) else { return };
        if card.status() != Some(Status::Offline) {
            return;
        }
        for tool in card.tools().take(MOST_TOOLS) {
            let tool = beside(topic, &card_topic(namespace, AgentTopic::ToolCard { tool }));
            self.show(index, &tool, server, Status::Offline, now);
        }
    }

    /// A server that was away longer than its will has waited subscribes again.
    pub(crate) fn show_subscribed(&mut self, id: ConnectionId, packet: &Subscribe<'_>, now: Time) {
        let Some((connection, session)) = self.connected(id) else { return };
        let (index, will) = (connection.session, session.will.as_ref().map(|it| it.topic()));
        let Some(card) = will.map(str::to_owned).filter(|topic| self.is_server_card(topic)) else {
            return;
        };
        for request in packet.filters() {
            let mounted = self.mounted_filter(id, request.filter);
            let filter = mounted.as_deref().unwrap_or(request.filter);
            let session = self.sessions.get(index as usize);
            if session.is_some_and(|it| it.find_subscription(filter).is_ok()) {
                self.show_online(index, &card, filter, now);
            }
        }
    }

    /// A server comes back to what it had subscribed to.
    pub(crate) fn show_online_again(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let Some(will) = session.will.as_deref().filter(|it| self.is_server_card(it.topic()))
        else {
            return;
        };
        let (card, filters) = (will.topic().to_owned(), session.subscriptions.clone());
        for filter in filters {
            self.show_online(index, &card, &filter, now);
        }
    }

    /// A server has calls of one of its tools: its cards say that it is there, if they say
    /// anything. Which tools are its own is told by its will.
    fn show_online(&mut self, index: u32, server_card: &str, filter: &str, now: Time) {
        let parsed = Subscription::parse(filter, &TopicLimits::NONE);
        let called = parsed.map_or("", |it| seen_by_its_own(it.filter));
        let namespaces = self.settings.agents.namespaces.clone();
        let (Some((namespace, of)), Some((home, server))) =
            (namespaces.find(called), namespaces.find(seen_by_its_own(server_card)))
        else {
            return;
        };
        let (AgentTopic::ToolCall { tool }, AgentTopic::ServerCard { server }) = (of, server)
        else {
            return;
        };
        let will = self.sessions.get(index as usize).and_then(|it| it.will.as_deref());
        let Some(said) = will.and_then(|will| Card::parse(will.payload())) else { return };
        if home == namespace && said.tools().any(|name| name == tool) {
            let tool_card = beside(server_card, &card_topic(namespace, of));
            for topic in [server_card, &tool_card] {
                self.show(index, topic, server, Status::Online, now);
            }
        }
    }

    /// Makes a card of a server say this, if it says otherwise and the server may write it.
    fn show(&mut self, index: u32, topic: &str, server: &str, status: Status, now: Time) {
        let Some(card) = self.retained.get(topic).and_then(|it| Card::parse(it.payload())) else {
            return;
        };
        if card.server() != Some(server) || card.status() == Some(status) {
            return;
        }
        let Some(session) = self.sessions.get(index as usize) else { return };
        let qos = QoS::AtLeastOnce;
        if !session.principal.authorize_message(topic, qos, true).allowed {
            return;
        }
        let author = self.author_of(index);
        let message = Message::plain(topic, &card.with(status), qos, true);
        let Ok(route) = self.route(topic) else { return };
        self.publish(&mut Source { author, ..Source::of(&message, now) }, &route);
    }
}

/// Where a topic is that is beside another one, of the same organisation.
pub(crate) fn beside(topic: &str, own: &str) -> String {
    let mount = topic.strip_suffix(seen_by_its_own(topic)).unwrap_or_default();
    format!("{mount}{own}")
}

/// Tools of one server whose cards are looked at.
const MOST_TOOLS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_as_many_replicas_as_have_come_and_not_gone() {
        let replicas = Replicas::default();
        replicas.leave("a");
        replicas.join("a");
        replicas.join("a");
        replicas.join("b");
        replicas.leave("a");
        assert_eq!((replicas.count("a"), replicas.count("b")), (1, 1));
        replicas.leave("a");
        assert_eq!(replicas.count("a"), 0);
        assert_eq!(replicas.counts().len(), 1, "nothing is kept of who is gone");
    }

    #[test]
    fn what_is_beside_is_of_the_same_organisation() {
        assert_eq!(beside("a/b", "c"), "c");
        assert_eq!(beside("$org/acme/a/b", "c/d"), "$org/acme/c/d");
    }
}
