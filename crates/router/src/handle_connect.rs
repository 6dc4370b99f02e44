//! CONNECT: authentication, takeover, resumption, and the CONNACK.

use std::sync::Arc;

use agentmq_codec::{
    ConnAck, Connect, Disconnect, PropertiesBuf, Property, PropertyId as P, ProtocolVersion, QoS,
    ReasonCode, varint_len,
};
use agentmq_identity::{Action, Credentials, Outcome, Principal};
use agentmq_session::{OutboundAliases, Session, Time, Will};
use agentmq_topic::check_name;

use crate::connection::{AuthState, ConnectionId, NO_SESSION, Phase};
use crate::router::Router;
use crate::timers::Due;

/// Why a CONNECT is refused.
type Refused = (ReasonCode, &'static str);

impl Router {
    pub(crate) fn handle_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        body: &[u8],
        now: Time,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.version = connect.version;
        connection.max_packet =
            connect.properties.integer(P::MaximumPacketSize).unwrap_or(u32::MAX);
        connection.wants_problems =
            connect.properties.byte(P::RequestProblemInformation).unwrap_or(1) == 1;
        let limit = self.settings.limits.flapping_connects;
        if !connect.client_id.is_empty() && self.flapping.is_banned(connect.client_id, limit, now) {
            let why = "this client identifier connects too often: banned for five minutes";
            return self.refuse_connect(id, ReasonCode::Banned, why);
        }
        if let Err((reason, why)) = self.check_connect(connect) {
            return self.refuse_connect(id, reason, why);
        }
        let method = connect.properties.text(P::AuthenticationMethod);
        let data = connect.properties.binary(P::AuthenticationData).unwrap_or_default();
        let credentials = Credentials {
            client_id: connect.client_id,
            username: connect.username,
            password: connect.password,
            method: method.map(|method| (method, data)),
        };
        if let (Some(method), Some(connection)) = (method, self.connection_mut(id)) {
            let (exchange, connect) = (None, Some(body.into()));
            connection.auth =
                Some(Box::new(AuthState { method: method.into(), exchange, connect }));
        }
        let outcome = self.authenticator.authenticate(&credentials);
        self.connect_outcome(id, connect, outcome, now);
    }

    /// Goes on with a CONNECT once the authenticator has spoken.
    pub(crate) fn connect_outcome(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        outcome: Outcome,
        now: Time,
    ) {
        match outcome {
            Outcome::Accepted(principal, data) => {
                if let Err((reason, why)) = self.check_will(connect, &principal) {
                    return self.refuse_connect(id, reason, why);
                }
                self.accept(id, connect, principal, data.as_deref(), now);
            }
            Outcome::Refused(refusal) => self.refuse_connect(id, refusal.reason, refusal.why),
            Outcome::Continue(challenge) => self.challenge(id, challenge),
        }
    }

    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Refused> {
        if connect.client_id.is_empty() {
            // 3.1: 1 to 23 characters; 3.1.1 [MQTT-3.1.3-8]
            let may_be_assigned = match connect.version {
                ProtocolVersion::V31 => false,
                ProtocolVersion::V311 => connect.clean_start,
                ProtocolVersion::V5 => true,
            };
            if !may_be_assigned {
                let why = "an empty Client Identifier needs Clean Session 1";
                return Err((ReasonCode::ClientIdentifierNotValid, why));
            }
        }
        let limits = &self.settings.limits;
        let connections = self.counters.connections_now + self.peers.connections_elsewhere;
        if connections >= u64::from(limits.connections) {
            return Err((ReasonCode::QuotaExceeded, "the limit `connections` is reached"));
        }
        let is_new = !self.by_client.contains_key(connect.client_id);
        let sessions = self.sessions.len() as u64 + self.peers.sessions_elsewhere;
        if is_new && sessions >= u64::from(limits.sessions) {
            return Err((ReasonCode::QuotaExceeded, "the limit `sessions` is reached"));
        }
        Ok(())
    }

    /// A will that could not be published is refused now, not when it is due.
    fn check_will(&self, connect: &Connect<'_>, principal: &Principal) -> Result<(), Refused> {
        let Some(will) = &connect.will else { return Ok(()) };
        if check_name(will.topic, &self.settings.topic_limits()).is_err() {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds a topic limit"));
        }
        if will.qos > self.settings.maximum_qos {
            return Err((ReasonCode::QoSNotSupported, "Will QoS above Maximum QoS"));
        }
        if will.retain && !self.settings.retain_available {
            return Err((ReasonCode::RetainNotSupported, "retained messages are off"));
        }
        if !principal.authorize(Action::Publish, will.topic).allowed {
            return Err((ReasonCode::NotAuthorized, "the Will Topic is not allowed"));
        }
        Ok(())
    }

    /// CONNACK with an error, then close [MQTT-3.1.4-5].
    pub(crate) fn refuse_connect(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        self.counters.connections_refused += 1;
        tracing::info!(%reason, why, "refused a CONNECT");
        let Some(connection) = self.dirty_connection(id) else { return };
        connection.phase = Phase::Closing;
        let mut properties = PropertiesBuf::new().with(Property::Text(P::ReasonString, why));
        if connack_len(&properties) > connection.max_packet as usize {
            properties = PropertiesBuf::new(); // [MQTT-3.2.2-19]
        }
        ConnAck { session_present: false, reason, properties: properties.view() }
            .encode(connection.version, connection.outbox.bytes());
    }

    fn accept(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        principal: Principal,
        auth_data: Option<&[u8]>,
        now: Time,
    ) {
        let assigned = connect.client_id.is_empty().then(|| self.new_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let limits = &self.settings.limits;
        let asked_expiry = asked_expiry(connect);
        let expiry = asked_expiry.min(limits.session_expiry_secs);
        let keep_alive = self.effective_keep_alive(connect.keep_alive);
        let terms = Terms {
            expiry: (expiry != asked_expiry).then_some(expiry),
            keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            assigned: assigned.as_deref(),
            auth_data,
        };
        let properties = self.connack_properties(connect, &terms);
        if connect.version.is_v5()
            && self
                .connection_mut(id)
                .is_some_and(|it| connack_len(&properties) > it.max_packet as usize)
        {
            let why = "Maximum Packet Size has no room for CONNACK";
            return self.refuse_connect(id, ReasonCode::PacketTooLarge, why);
        }
        self.take_over(client_id, connect.clean_start, &principal, now);
        let (index, session_present) = self.open_session(client_id, connect.version);
        let limits = &self.settings.limits;
        let aliases = connect.properties.u16(P::TopicAliasMaximum).unwrap_or(0);
        let aliases = aliases.min(limits.topic_aliases_out);
        let (receives, aliases_in) = (limits.receive_maximum, limits.topic_aliases_in);
        let hold = if session_present { self.settings.hold_on_resume_ms } else { 0 };
        self.attach(index, id, connect, &principal, expiry);
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.hold_until = now.after_millis(u64::from(hold));
        }
        self.counters.connections += 1;
        self.counters.connections_now += 1;
        self.counters.connections_max =
            self.counters.connections_max.max(self.counters.connections_now);
        // Only version 5 can be told another keep alive.
        let keep_alive = if connect.version.is_v5() { keep_alive } else { connect.keep_alive };
        let Some(connection) = self.dirty_connection(id) else { return };
        connection.phase = Phase::Connected;
        connection.session = index;
        connection.principal = principal;
        connection.receive_maximum = receives;
        connection.topic_alias_maximum = aliases_in;
        connection.aliases_out = OutboundAliases::new(aliases);
        if let Some(state) = &mut connection.auth {
            state.connect = None; // a later exchange is a re-authentication
        }
        connection.keep_alive_ms = u32::from(keep_alive) * 1500;
        ConnAck { session_present, reason: ReasonCode::Success, properties: properties.view() }
            .encode(connection.version, connection.outbox.bytes());
        if connection.keep_alive_ms > 0 {
            let due = Due::KeepAlive(id.0, connection.generation);
            let deadline = connection.deadline();
            connection.keep_alive_at = deadline;
            self.timers.arm(deadline, due);
        }
        if session_present {
            self.resume(index, id, now);
        }
    }

    /// Gives a session its new connection, with what the CONNECT says of the client.
    fn attach(
        &mut self,
        index: u32,
        id: ConnectionId,
        connect: &Connect<'_>,
        principal: &Principal,
        expiry: u32,
    ) {
        self.disarm_session(index);
        let receive_maximum = connect.properties.u16(P::ReceiveMaximum).unwrap_or(u16::MAX);
        let in_flight = self.settings.limits.in_flight;
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.version = connect.version;
        session.principal = principal.clone();
        session.expiry = expiry;
        session.receive_maximum = receive_maximum.min(in_flight).max(1);
        session.will = connect.will.as_ref().map(|will| Box::new(Will::new(will)));
        session.connection = Some(id.0);
    }

    /// Goes on where the last connection of a session ended.
    fn resume(&mut self, index: u32, id: ConnectionId, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.hold_until > now {
            // Whatever comes until then waits, and nothing else would start it.
            self.timers.arm(session.hold_until, Due::Drain(index, session.generation));
        }
        self.tell_presence(index);
        self.resend(index, id, now);
        self.rebalance(index, now);
        self.drain(index, now);
    }

    /// Ends what an earlier connection or session of this client identifier has: the other
    /// connection gets 0x8E [MQTT-3.1.4-3], a clean start ends the session [MQTT-3.1.2-4]. So does
    /// a client of another name: what waits in a session is for whom it was queued.
    fn take_over(&mut self, client_id: &str, clean_start: bool, principal: &Principal, now: Time) {
        let Some(&index) = self.by_client.get(client_id) else { return };
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let same_name = session.principal.name() == principal.name();
        let goes_on = session.is_persistent() && !clean_start && same_name;
        if let Some(old) = session.connection.take() {
            self.counters.dropped_offline += session.disconnect() as u64;
            self.counters.sessions_taken_over += 1;
            self.counters.connections_now -= 1;
            if let Some(connection) = self.dirty_connection(ConnectionId(old)) {
                connection.phase = Phase::Closing;
                connection.session = NO_SESSION;
                if connection.version.is_v5() {
                    Disconnect::new(ReasonCode::SessionTakenOver)
                        .encode(connection.version, connection.outbox.bytes());
                }
            }
            let Some(session) = self.sessions.get_mut(index as usize) else { return };
            let delayed = session.will.as_ref().is_some_and(|will| will.delay > 0);
            if goes_on && !delayed {
                self.send_will(index, now);
            }
        }
        if goes_on {
            // The client is back before its will was due [MQTT-3.1.3-9].
            if let Some(session) = self.sessions.get_mut(index as usize) {
                session.will = None;
            }
        } else {
            self.end_session(index, now);
        }
    }

    /// The session of a client identifier, and whether it existed.
    fn open_session(&mut self, client_id: &str, version: ProtocolVersion) -> (u32, bool) {
        if let Some(&index) = self.by_client.get(client_id) {
            return (index, true);
        }
        let generation = self.next_generation();
        let client_id: Arc<str> = client_id.into();
        let session = Session::new(Arc::clone(&client_id), generation, version);
        let index = self.sessions.insert(session) as u32;
        self.note_session(&client_id, true);
        self.by_client.insert(client_id, index);
        (index, false)
    }

    /// The keep alive that the server wants instead of the one asked for (§3.2.2.3.14).
    fn effective_keep_alive(&self, asked: u16) -> u16 {
        let maximum = self.settings.limits.keep_alive_secs;
        match self.settings.server_keep_alive {
            0 if maximum == u16::MAX => asked,
            0 if asked == 0 => maximum,
            0 => asked.min(maximum),
            wanted => wanted,
        }
    }

    fn new_client_id(&mut self) -> String {
        loop {
            let id = format!("auto-{:016x}{:08x}", self.random(), self.random() as u32);
            if !self.by_client.contains_key(id.as_str()) {
                return id;
            }
        }
    }

    fn connack_properties(&self, connect: &Connect<'_>, terms: &Terms<'_>) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if !connect.version.is_v5() {
            return properties;
        }
        let (settings, limits) = (&self.settings, &self.settings.limits);
        if let Some(expiry) = terms.expiry {
            properties.push(Property::U32(P::SessionExpiryInterval, expiry));
        }
        properties.push(Property::U16(P::ReceiveMaximum, limits.receive_maximum));
        if settings.maximum_qos < QoS::ExactlyOnce {
            properties.push(Property::Byte(P::MaximumQoS, settings.maximum_qos as u8));
        }
        let available = [
            (P::RetainAvailable, settings.retain_available),
            (P::WildcardSubscriptionAvailable, settings.wildcard_subscriptions),
            (P::SubscriptionIdentifierAvailable, settings.subscription_identifiers),
            (P::SharedSubscriptionAvailable, settings.shared_subscriptions),
        ];
        for (id, is_available) in available {
            properties.push(Property::Byte(id, u8::from(is_available)));
        }
        properties.push(Property::U32(P::MaximumPacketSize, limits.packet_bytes));
        properties.push(Property::U16(P::TopicAliasMaximum, limits.topic_aliases_in));
        if let Some(client_id) = terms.assigned {
            properties.push(Property::Text(P::AssignedClientIdentifier, client_id));
        }
        if let Some(seconds) = terms.keep_alive {
            properties.push(Property::U16(P::ServerKeepAlive, seconds));
        }
        let asks = connect.properties.byte(P::RequestResponseInformation) == Some(1);
        if asks && !settings.response_information.is_empty() {
            let information = &settings.response_information;
            properties.push(Property::Text(P::ResponseInformation, information));
        }
        if let Some(method) = connect.properties.text(P::AuthenticationMethod) {
            properties.push(Property::Text(P::AuthenticationMethod, method));
            if let Some(data) = terms.auth_data {
                properties.push(Property::Binary(P::AuthenticationData, data));
            }
        }
        properties
    }
}

/// Bytes of a CONNACK with these properties, at most.
fn connack_len(properties: &PropertiesBuf) -> usize {
    let len = properties.view().as_bytes().len();
    let remaining = 2 + varint_len(len) + len;
    1 + varint_len(remaining) + remaining
}

/// What a CONNACK tells beside the settings.
struct Terms<'a> {
    /// Session Expiry Interval, where it differs from the one asked for.
    expiry: Option<u32>,
    /// Server Keep Alive, where it differs.
    keep_alive: Option<u16>,
    assigned: Option<&'a str>,
    auth_data: Option<&'a [u8]>,
}

/// The Session Expiry Interval that a CONNECT asks for. Before version 5, a session that is not
/// clean never expires.
fn asked_expiry(connect: &Connect<'_>) -> u32 {
    match (connect.version.is_v5(), connect.clean_start) {
        (true, _) => connect.properties.integer(P::SessionExpiryInterval).unwrap_or(0),
        (false, true) => 0,
        (false, false) => u32::MAX,
    }
}
