//! CONNECT: authentication, takeover, resumption, and the CONNACK.

use std::borrow::Cow;
use std::sync::Arc;

use agentmq_agents::mcp;
use agentmq_codec::{
    ConnAck, Connect, PacketType, PropertiesBuf, PropertyId as P, ProtocolVersion, ReasonCode,
};
use agentmq_identity::{ASSIGNED, Acceptance, Credentials, Outcome, Principal, own_client_id};
use agentmq_session::{Deed, Gates, OutboundAliases, Session, Ticket, Time, Will};

use crate::connack_properties::{ConnAckTerms, connack_len};
use crate::connect_checks::{FLAPS, check_client_id};
use crate::connection::{AuthState, Connection, ConnectionId, Phase, property_limits};
use crate::mcp_over_mqtt::{component, with_sender};
use crate::queue_drain::PORTION_BYTES;
use crate::reason_string::reason_string;
use crate::router::Router;
use crate::timers::Due;

/// Why a CONNECT is refused.
pub(crate) type Refused = (ReasonCode, Cow<'static, str>);

impl Router {
    /// The first packet of a connection, which must be CONNECT [MQTT-3.1.0-1].
    pub(crate) fn first_packet(&mut self, id: ConnectionId, first: u8, body: &[u8], now: Time) {
        let index = id.0 as usize;
        while self.connections.len() <= index {
            self.connections.push(None);
        }
        let generation = self.next_generation();
        let version = ProtocolVersion::V311;
        let mut connection = Connection::new(generation, version, now);
        (connection.door, connection.source) = (self.arrival.door, self.arrival.source);
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(connection);
        }
        if PacketType::of(first) != Some(PacketType::Connect) || first & 0x0F != 0 {
            self.counters.protocol_errors += 1;
            let (reason, why) = (ReasonCode::ProtocolError, "the first packet is not CONNECT");
            self.note_refusal(id, "", reason, why, false);
            self.audit_refused_connect(id, "", reason, why);
            return self.disconnect(id, reason, why, now);
        }
        let limits = property_limits(&self.settings.limits);
        match Connect::decode(body, &limits) {
            Ok(connect) => self.handle_connect(id, &connect, body, now),
            Err(refused) => {
                self.counters.protocol_errors += 1;
                if let Some(connection) = self.connection_mut(id) {
                    connection.version = refused.answer_in.unwrap_or_default();
                }
                let tell = refused.answer_in.is_some_and(|version| {
                    // Before version 5 only an unknown level has an answer of its own.
                    version.is_v5()
                        || refused.error.reason == ReasonCode::UnsupportedProtocolVersion
                });
                let (reason, why) = (refused.error.reason, refused.error.what);
                if tell {
                    self.refuse_connect(id, "", reason, why);
                } else {
                    self.note_refusal(id, "", reason, why, true);
                    self.audit_refused_connect(id, "", reason, why);
                    self.disconnect(id, reason, why, now);
                }
            }
        }
    }

    pub(crate) fn handle_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        body: &[u8],
        now: Time,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.version = connect.version;
        // What it says that it is called, until that is judged. A longer one may be a token.
        if let Some(name) = connect.username.filter(|name| name.len() <= LONGEST_NAME) {
            connection.principal = Principal::named(name);
        }
        connection.max_packet =
            connect.properties.integer(P::MaximumPacketSize).unwrap_or(u32::MAX);
        connection.wants_problems =
            connect.properties.byte(P::RequestProblemInformation).unwrap_or(1) == 1;
        let is_checked =
            self.settings.limits.flapping_connects > 0 && !connect.client_id.is_empty();
        if is_checked
            && self.flapping.is_banned(connect.client_id, now)
            && !self.authenticator.keeps_apart()
        {
            return self.refuse_connect(id, connect.client_id, ReasonCode::Banned, FLAPS);
        }
        if let Err((reason, why)) = self.check_connect(connect) {
            return self.refuse_connect(id, connect.client_id, reason, &why);
        }
        if let Err((reason, why)) = self.check_audit() {
            return self.refuse_connect(id, connect.client_id, reason, &why);
        }
        let method = connect.properties.text(P::AuthenticationMethod);
        let data = connect.properties.binary(P::AuthenticationData).unwrap_or_default();
        let arrival = std::mem::take(&mut self.arrival);
        let credentials = Credentials {
            client_id: connect.client_id,
            username: connect.username,
            password: connect.password,
            method: method.map(|method| (method, data)),
            may_be_anonymous: self.settings.lets_anonymous_in(arrival.door),
            certificate: arrival.certificate.as_deref(),
            source: arrival.source,
            listener: arrival.door,
            version: connect.version,
        };
        let outcome = self.authenticator.authenticate(&credentials);
        let takes_steps = method.is_some() || matches!(outcome, Outcome::Later(_));
        if let Some(connection) = self.connection_mut(id).filter(|_| takes_steps) {
            connection.auth = Some(Box::new(AuthState::new(method, body)));
        }
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
            Outcome::Accepted(Acceptance { principal, data, lasts_secs }) => {
                let client_id = &*principal.mounted_client_id(connect.client_id);
                let checked = check_client_id(connect.client_id, &principal)
                    .and_then(|()| self.check_sessions(client_id))
                    .and_then(|()| self.check_owner(client_id, &principal))
                    .and_then(|()| self.check_will(connect, &principal))
                    .and_then(|()| self.check_flapping(client_id, now))
                    .and_then(|()| self.check_audit())
                    .and_then(|()| self.take_seat(client_id, &principal));
                if let Err((reason, why)) = checked {
                    self.note_refusal(id, client_id, reason, &why, true);
                    return self.refuse_noted(id, connect.client_id, reason, &why);
                }
                self.accept(id, connect, principal, data.as_deref(), now);
                self.watch_proof(id, lasts_secs, now);
                if connect.client_id.is_empty() {
                    // Rules may speak of the identifier that it has got.
                    self.judge_connection(id, now);
                }
            }
            Outcome::Refused(refusal) => {
                self.refuse_connect(id, connect.client_id, refusal.reason, &refusal.why);
            }
            Outcome::Continue(challenge) => self.challenge(id, challenge, now),
            Outcome::Later(work) => self.await_verdict(id, work),
        }
    }

    /// CONNACK with an error, then close [MQTT-3.1.4-5].
    pub(crate) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        client_id: &str,
        reason: ReasonCode,
        why: &str,
    ) {
        self.note_refusal(id, client_id, reason, why, true);
        self.refuse_noted(id, client_id, reason, why);
    }

    /// The same, when the log has it already.
    fn refuse_noted(&mut self, id: ConnectionId, client_id: &str, reason: ReasonCode, why: &str) {
        self.counters.connections_refused += 1;
        self.seat = None;
        self.audit_refused_connect(id, client_id, reason, why);
        let audit = self.audited;
        let Some(connection) = self.dirty_connection(id) else { return };
        connection.phase = Phase::Closing;
        connection.opens_at = Gates { audit, ..Gates::default() }.boxed();
        let properties = reason_string(why, 2, connection.max_packet);
        if connack_len(&properties) > connection.max_packet as usize {
            return; // [MQTT-3.1.2-24]: closing says it too
        }
        let properties = properties.view();
        let packet = ConnAck { session_present: false, reason, properties };
        self.write(id, |version, out| packet.encode(version, out));
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
        let own_client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let client_id = &*principal.mounted_client_id(own_client_id);
        let principal = match &assigned {
            // Rules may speak of it, and CONNACK says what they come to.
            Some(assigned) => self.called(principal, assigned, id),
            None => principal,
        };
        let limits = &self.settings.limits;
        let asked_expiry = asked_expiry(connect);
        let loan = self.loan(id, connect, &principal);
        let expiry = loan.unwrap_or(asked_expiry).min(limits.session_expiry_secs);
        let keep_alive = self.effective_keep_alive(connect.keep_alive);
        let terms = ConnAckTerms {
            expiry: (expiry != asked_expiry).then_some(expiry),
            keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            assigned: assigned.as_deref(),
            auth_data,
        };
        let mut properties = self.connack_properties(connect, &terms);
        if connect.version.is_v5()
            && self
                .connection_mut(id)
                .is_some_and(|it| connack_len(&properties) > it.max_packet as usize)
        {
            let why = "Maximum Packet Size has no room for CONNACK";
            return self.refuse_connect(id, own_client_id, ReasonCode::PacketTooLarge, why);
        }
        // A session that this has ended must not be there again after a crash, once the client
        // knows that it has a new one. And what it publishes then comes behind its last will.
        let mail = self.take_over(client_id, connect.clean_start, &principal, now);
        let ended = self.recorded;
        let (index, session_present) = self.open_session(client_id, connect.version);
        let limits = &self.settings.limits;
        let aliases = connect.properties.u16(P::TopicAliasMaximum).unwrap_or(0);
        let aliases = aliases.min(limits.topic_aliases_out);
        let (receives, aliases_in) = (limits.receive_maximum, limits.topic_aliases_in);
        self.attach(index, id, connect, &principal, expiry);
        self.lend(index, connect, loan);
        let hold = if session_present { self.hold_on_resume(index) } else { 0 };
        self.settle(index);
        self.end_forbidden_subscriptions(index);
        self.record_session(index);
        let mut commit = if connect.will.is_some() { self.recorded } else { ended };
        if commit > Ticket::default() {
            commit = self.commit.draw(commit);
        }
        let deed = Deed::Connected { version: connect.version, session_present };
        self.audit_as(id, own_client_id, &principal, deed);
        let opens_at = Gates { commit, mail, audit: self.audited, ..Gates::default() };
        self.tell_dropped(index, id, &mut properties);
        self.tell_durability(id, &mut properties);
        self.tell_mcp(id, connect, &principal, &mut properties);
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
        connection.opens_at = opens_at.boxed();
        connection.session = index;
        connection.act_as(principal);
        connection.is_mcp_component = component(connect).is_some();
        connection.receive_maximum = receives;
        connection.topic_alias_maximum = aliases_in;
        connection.aliases_out = (aliases > 0).then(|| Box::new(OutboundAliases::new(aliases)));
        // A later exchange is a re-authentication, which only a method has.
        connection.auth.take_if(|state| state.method.is_none());
        if let Some(state) = &mut connection.auth {
            state.connect = None;
        }
        connection.keep_alive_ms = u32::from(keep_alive) * 1500;
        let (reason, properties) = (ReasonCode::Success, properties.view());
        let packet = ConnAck { session_present, reason, properties };
        self.write(id, |version, out| packet.encode(version, out));
        self.watch_keep_alive(id);
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
        let client_id = self.sessions.get(index as usize).map(|it| Arc::clone(&it.client_id));
        let client_id = own_client_id(client_id.as_deref().unwrap_or_default());
        let will = connect.will.as_ref().map(|will| self.will(id, will, principal, client_id));
        self.set_will(index, will);
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.version = connect.version;
        session.principal = principal.clone();
        session.expiry = expiry;
        session.receive_maximum = receive_maximum.min(in_flight).max(1);
        session.connection = Some(id.0);
    }

    /// A will, which says whose it is where messages say so.
    fn will(
        &self,
        id: ConnectionId,
        will: &agentmq_codec::Will<'_>,
        principal: &Principal,
        client_id: &str,
    ) -> Box<Will> {
        let settings = &self.settings;
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let publisher = settings.told_publisher(connection.map_or(0, |it| it.door), principal);
        let is_identified = settings.identifies(will.topic);
        let identified =
            is_identified.then(|| settings.identified(&will.properties, publisher)).flatten();
        let properties = identified.as_ref().map_or(will.properties, PropertiesBuf::view);
        let is_mcp = settings.agents.mcp && mcp::is_meant(will.topic);
        let sent = is_mcp.then(|| with_sender(&properties, client_id)).flatten();
        let properties = sent.as_ref().map_or(properties, PropertiesBuf::view);
        let topic = &principal.published(will.topic);
        Box::new(Will::new(&agentmq_codec::Will { topic, properties, ..*will }))
    }

    /// Goes on where the last connection of a session ended.
    fn resume(&mut self, index: u32, id: ConnectionId, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.hold_until > now {
            // Whatever comes until then waits, and nothing else would start it.
            self.timers.arm(session.hold_until, Due::Drain(index, session.generation));
        }
        self.tell_presence(index);
        self.show_online_again(index, now);
        self.resend(index, id, now);
        self.rebalance(index, now);
        self.drain(index, PORTION_BYTES, now);
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

    fn new_client_id(&mut self) -> String {
        loop {
            let (first, second) = (self.entropy.next(), self.entropy.next() as u32);
            let id = format!("{ASSIGNED}{first:016x}{second:08x}");
            if !self.by_client.contains_key(id.as_str()) {
                return id;
            }
        }
    }
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

/// Bytes of a user name that the audit log has of who is refused.
const LONGEST_NAME: usize = 64;
