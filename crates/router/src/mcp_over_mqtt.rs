//! What a broker does for MCP over MQTT: who speaks is who it says, a request that reaches nobody
//! is answered, and who is gone is not shown as there.

use agentmq_agents::mcp;
use agentmq_codec::{Connect, Properties, PropertiesBuf, Property, Publish, QoS, ReasonCode, Will};
use agentmq_identity::{Principal, client_id_beside, own_client_id, seen_by_its_own};
use agentmq_session::{Message, MessageParts, Time};

use crate::connection::ConnectionId;
use crate::handle_connect::Refused;
use crate::router::Router;
use crate::source::Source;

/// What a client says that it is: a server or a client.
pub(crate) fn component<'c>(connect: &Connect<'c>) -> Option<&'c str> {
    connect.properties.user_properties().find_map(|(name, value)| {
        let is_known = name == mcp::COMPONENT_TYPE && [mcp::SERVER, mcp::CLIENT].contains(&value);
        is_known.then_some(value)
    })
}

/// A component's client identifier is a level of its topics.
pub(crate) fn check_component(connect: &Connect<'_>) -> Result<(), Refused> {
    if component(connect).is_none() || connect.client_id.is_empty() {
        return Ok(());
    }
    mcp::check_client_id(connect.client_id)
        .map_err(|wrong| (ReasonCode::ClientIdentifierNotValid, wrong.to_string().into()))
}

/// A message's own properties with the sender that it has; `None` where it says so itself.
pub(crate) fn with_sender(properties: &Properties<'_>, client_id: &str) -> Option<PropertiesBuf> {
    let mut senders = properties.user_properties().filter(|(name, _)| *name == mcp::CLIENT_ID);
    if senders.next() == Some((mcp::CLIENT_ID, client_id)) && senders.next().is_none() {
        return None;
    }
    let is_sender =
        |it: &Property<'_>| matches!(it, Property::Pair(name, _) if *name == mcp::CLIENT_ID);
    let others: PropertiesBuf = properties.iter().filter(|it| !is_sender(it)).collect();
    Some(others.with(Property::Pair(mcp::CLIENT_ID, client_id)))
}

impl Router {
    pub(crate) fn is_mcp_component(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        connection.is_some_and(|it| it.is_mcp_component)
    }

    /// Whether a topic is one of the binding.
    pub(crate) fn is_mcp(&self, topic: &str) -> bool {
        self.settings.agents.mcp && mcp::is_meant(seen_by_its_own(topic))
    }

    /// A client has published on a topic of the binding.
    #[cold]
    pub(crate) fn note_mcp_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        reason: ReasonCode,
        now: Time,
    ) {
        if publish.retain {
            self.note_mcp_presence(id, topic);
        } else if reason == ReasonCode::NoMatchingSubscribers {
            self.reply_mcp_error(id, publish, topic, (NO_SERVER, None), now);
        }
    }

    /// A retained message of its presence goes with its client.
    fn note_mcp_presence(&mut self, id: ConnectionId, topic: &str) {
        let Some((_, session)) = self.connected(id) else { return };
        if let Some(mcp::Topic::Presence(of)) = mcp::Topic::parse(seen_by_its_own(topic)) {
            session.has_mcp_presence |= of.id() == own_client_id(&session.client_id);
        }
    }

    /// A server's will takes it off its presence: one that says something there would stay when it
    /// has gone.
    pub(crate) fn check_mcp_will(&self, will: &Will<'_>) -> Result<(), Refused> {
        let stays = self.settings.agents.mcp && will.retain && !will.payload.is_empty();
        if stays && let Some(mcp::Topic::Presence(_)) = mcp::Topic::parse(will.topic) {
            return Err((ReasonCode::NotAuthorized, WILL_STAYS.into()));
        }
        Ok(())
    }

    /// A client's presence goes with it under every name, so there is a bound to these.
    pub(crate) fn check_mcp_names(
        &self,
        principal: &Principal,
        client_id: &str,
        topic: &str,
    ) -> Result<(), Refused> {
        let own = own_client_id(client_id);
        match mcp::Topic::parse(seen_by_its_own(topic)) {
            Some(mcp::Topic::Presence(of)) if of.id() == own => {}
            _ => return Ok(()),
        }
        let has_room = self.retained.few_topics(&own_presence(principal, own), MOST_NAMES - 1);
        let is_there = || self.retained.few_topics(topic, 1).is_some_and(|it| !it.is_empty());
        if has_room.is_some() || is_there() {
            return Ok(());
        }
        Err((ReasonCode::QuotaExceeded, MANY_NAMES.into()))
    }

    /// Answers a request with an error and, if there is one, a reason in its `data`. Nobody but the
    /// client that has sent it gets the answer.
    #[cold]
    pub(crate) fn reply_mcp_error(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        (why, reason): (&str, Option<&str>),
        now: Time,
    ) {
        let Some((connection, session)) = self.connected(id) else { return };
        let (caller, own) = (connection.session, own_client_id(&session.client_id));
        let Some(asked) = Asked::by(topic, own) else { return };
        let answers = connection.principal.mounted(&asked.rpc(own)).into_owned();
        let Some(request) = mcp::Request::parse(publish.payload) else { return };
        let payload = mcp::error_response(&request, mcp::NO_SERVER, why, reason);
        let message = Message::plain(&answers, &payload, QoS::AtLeastOnce, false);
        if let Ok(route) = self.route(&answers) {
            self.publish(&mut Source::of(&message, now), &route.only_to(caller));
        }
    }

    /// A client is gone: so is what it has said of its being there, wherever its will went.
    pub(crate) fn clear_mcp_presence(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        if !std::mem::take(&mut session.has_mcp_presence) {
            return;
        }
        let principal = session.principal.clone();
        let own = own_client_id(&session.client_id).to_owned();
        // All of them, however many it has taken off itself in the last minute.
        for topic in self.retained.topics(&own_presence(&principal, &own)) {
            if !principal.authorize_message(&topic, QoS::AtLeastOnce, true).allowed {
                continue;
            }
            self.publish_message(cleared(&topic, &own), now);
        }
    }

    /// Everything that survived the broker is taken up: servers whose sessions did not are gone,
    /// and could not say so. The others are waited for as ever.
    pub fn clear_lost_presence(&mut self, now: Time) {
        if !self.settings.agents.mcp {
            return;
        }
        // Also those of organisations that are kept apart.
        for filter in ["$mcp-server/presence/#", "$org$/+/$mcp-server/presence/#"] {
            for topic in self.retained.topics(filter) {
                let Some(mcp::Topic::Presence(of)) = mcp::Topic::parse(seen_by_its_own(&topic))
                else {
                    continue;
                };
                let index = self.by_client.get(&*client_id_beside(&topic, of.id())).copied();
                match index.and_then(|index| self.sessions.get_mut(index as usize)) {
                    Some(session) => session.has_mcp_presence = true,
                    None => self.publish_message(cleared(&topic, of.id()), now),
                }
            }
        }
    }
}

/// Where a client says that it is there, under any name.
fn own_presence(principal: &Principal, own: &str) -> String {
    principal.mounted(&format!("$mcp-server/presence/{own}/#")).into_owned()
}

/// What takes a server off a topic of its presence.
fn cleared(topic: &str, server_id: &str) -> Message {
    let properties = PropertiesBuf::new()
        .with(Property::Pair(mcp::COMPONENT_TYPE, mcp::SERVER))
        .with(Property::Pair(mcp::CLIENT_ID, server_id));
    Message::new(&MessageParts {
        topic,
        payload: b"",
        properties: properties.view(),
        qos: QoS::AtLeastOnce,
        retain: true,
        expires_at: None,
    })
}

/// Whom a client asks by a message.
#[derive(Debug)]
pub(crate) enum Asked<'t> {
    /// This server.
    One(mcp::Instance),
    /// Any instance of this name.
    Any(&'t str),
}

impl<'t> Asked<'t> {
    /// Whom a client asks by a message of this topic; `None`: nobody.
    pub(crate) fn by(topic: &'t str, own_client_id: &str) -> Option<Self> {
        match mcp::Topic::parse(seen_by_its_own(topic))? {
            mcp::Topic::Control(instance) => Some(Self::One(instance)),
            mcp::Topic::Rpc { client, instance } if client == own_client_id => {
                Some(Self::One(instance))
            }
            mcp::Topic::Service { client, name } if client == own_client_id => {
                Some(Self::Any(name))
            }
            _ => None,
        }
    }

    /// The server-name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::One(instance) => instance.name(),
            Self::Any(name) => name,
        }
    }

    /// Where the client expects an answer.
    fn rpc(&self, client: &str) -> String {
        match self {
            Self::One(instance) => instance.rpc(client),
            Self::Any(name) => mcp::no_service(client, name),
        }
    }

    /// Where all say that they are there who may get the message.
    pub(crate) fn presence(&self) -> String {
        match self {
            Self::One(instance) => instance.presence(),
            Self::Any(name) => mcp::presence_filter(name),
        }
    }
}

/// Names under which one client serves, at most. A further one is refused.
const MOST_NAMES: usize = 64;
const MANY_NAMES: &str = "a client is a server of MCP under 64 names at most: take one off \
    $mcp-server/presence, or serve by another connection";
const WILL_STAYS: &str = "a retained will on $mcp-server/presence is empty: it says that the \
    server has gone";
const NO_SERVER: &str = "no server is there by this name and client identifier: look at \
    $mcp-server/presence/# for those that are";

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(properties: &PropertiesBuf) -> Vec<(String, String)> {
        let pairs = properties.view();
        let pairs = pairs.user_properties();
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_sender_is_who_it_is() {
        let pair = |value| Property::Pair(mcp::CLIENT_ID, value);
        let other = Property::Pair("other", "x");
        let right = PropertiesBuf::new().with(other).with(pair("a"));
        assert!(with_sender(&right.view(), "a").is_none());
        let told = |it: &PropertiesBuf| pairs(&with_sender(&it.view(), "a").unwrap());
        let expected = pairs(&right);
        assert_eq!(told(&PropertiesBuf::new().with(other)), expected, "it says nothing");
        assert_eq!(told(&PropertiesBuf::new().with(pair("b")).with(other)), expected, "a lie");
        assert_eq!(told(&right.clone().with(pair("b"))), expected, "twice");
        assert_eq!(told(&right.clone().with(pair("a"))), expected, "twice the same");
    }
}
