//! What rules give to servers and clients of MCP over MQTT: CONNACK says it, and what a client with
//! roles asks of a server is looked at. That names and filters hold is the principal's matter.

use agentmq_agents::mcp;
use agentmq_codec::{Connect, PropertiesBuf, Publish, ReasonCode};
use agentmq_identity::{Presence, Principal, own_client_id, seen_by_its_own};

use crate::connack_properties::tell;
use crate::connection::ConnectionId;
use crate::handle_connect::Refused;
use crate::mcp_over_mqtt::{Asked, component};
use crate::router::Router;

impl Router {
    /// A client that has got its identifier, of which rules may speak.
    pub(crate) fn called(
        &self,
        principal: Principal,
        client_id: &str,
        id: ConnectionId,
    ) -> Principal {
        if !principal.is_restricted() {
            return principal;
        }
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let source = connection.and_then(|it| it.source);
        let presence = Presence { client_id, source, may_be_anonymous: true };
        self.authenticator.remembered(&principal, &presence).unwrap_or(principal)
    }

    /// Tells a component its name, or what it reaches; what does not fit [MQTT-3.2.2-20] is left
    /// out.
    pub(crate) fn tell_mcp(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
        principal: &Principal,
        properties: &mut PropertiesBuf,
    ) {
        let Some(rights) = principal.mcp().filter(|_| self.settings.agents.mcp) else { return };
        let Some(component) = component(connect) else { return };
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let max_packet = connection.map_or(u32::MAX, |it| it.max_packet);
        for (name, value) in rights.told(component) {
            if value.len() <= usize::from(u16::MAX) {
                tell(properties, name, &value, max_packet);
            }
        }
    }

    /// Whether a client may publish this message of the binding, whose topic it may publish to.
    #[cold]
    pub(crate) fn check_mcp_publish(
        &self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), Refused> {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let Some(connection) = connection else { return Ok(()) };
        if self.settings.agents.mcp_component_type && !connection.is_mcp_component {
            return Err((ReasonCode::NotAuthorized, NO_COMPONENT.into()));
        }
        let session = connection.session().and_then(|index| self.sessions.get(index as usize));
        let client_id = session.map_or("", |it| &it.client_id);
        if mcp::is_word(own_client_id(client_id)) {
            return Err((ReasonCode::NotAuthorized, IS_WORD.into()));
        }
        if publish.retain && !publish.payload.is_empty() {
            self.check_mcp_names(&connection.principal, client_id, topic)?;
        }
        self.check_roles(&connection.principal, client_id, topic, publish.payload)
    }

    /// Whether one of a client's roles allows it to say this to a server. What cannot be read for
    /// sure is refused: a server might read it.
    pub(crate) fn check_roles(
        &self,
        principal: &Principal,
        client_id: &str,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), Refused> {
        let Some(rights) = principal.mcp().filter(|it| it.has_roles()) else { return Ok(()) };
        let (own, seen) = (own_client_id(client_id), seen_by_its_own(topic));
        if !mcp::is_meant(seen) {
            return Ok(());
        }
        let Some(asked) = Asked::by(topic, own) else {
            // It answers a client of its own, or says something of itself, or nobody can tell.
            return match mcp::Topic::parse(seen) {
                Some(_) => Ok(()),
                None => Err((ReasonCode::TopicNameInvalid, NO_TOPIC.into())),
            };
        };
        if matches!(&asked, Asked::One(instance) if instance.id() == own) {
            return Ok(()); // what it says to itself
        }
        let Some(roles) = rights.roles_at(asked.name()) else { return Ok(()) };
        let call = match mcp::Call::parse(payload) {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(()),
            Err(mcp::Unreadable) => {
                return Err((ReasonCode::NotAuthorized, UNREADABLE.into()));
            }
        };
        // What a server says of its roles lies where it says that it is there. Of several that may
        // get the message each must allow it.
        let presence = asked.presence();
        let presence = principal.mounted(&presence);
        let Some(online) = self.retained.few_topics(&presence, MOST_INSTANCES) else {
            return Err((ReasonCode::NotAuthorized, TOO_MANY.into()));
        };
        let allows = |topic: &String| {
            let online = self.retained.get(topic);
            online.is_some_and(|online| call.is_allowed(online.payload(), &roles))
        };
        if !online.is_empty() && online.iter().all(allows) {
            return Ok(());
        }
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
        let why = format!("none of your roles at {} allows this: you have {roles}", asked.name());
        Err((ReasonCode::NotAuthorized, why.into()))
    }
}

/// Instances of a name whose roles are looked up for one request.
const MOST_INSTANCES: usize = 16;
pub(crate) const NO_COMPONENT: &str = "topics below $mcp- are for servers and clients of MCP: say \
    at CONNECT which you are, by the User Property MCP-COMPONENT-TYPE (mcp-server or mcp-client)";
/// `{client_id}` in a rule would be a branch of the topics, or any instance.
pub(crate) const IS_WORD: &str = "no client that is called presence, capability or $any has topics \
    below $mcp-, where these are words: connect with another client identifier";
const TOO_MANY: &str = "your roles cannot be asked for: too many servers are there, or more than \
    16 instances of this name; ask one instance, at $mcp-rpc/{client-id}/{server-id}/{server-name}";
const NO_TOPIC: &str = "this is no topic of MCP over MQTT: look at docs/mcp-over-mqtt.md";
const UNREADABLE: &str = "your roles cannot be asked about this: send one JSON-RPC message, with \
    each member once";
