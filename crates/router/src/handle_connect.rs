//! CONNECT: authentication, takeover, resumption, and the CONNACK.

use std::borrow::Cow;
use std::sync::Arc;

use agentmq_agents::mcp;
use agentmq_codec::{
    ConnAck, Connect, PropertiesBuf, PropertyId as P, ProtocolVersion, ReasonCode,
};
use agentmq_identity::{
    ASSIGNED, Acceptance, Action, Credentials, Outcome, Principal, own_client_id,
};
use agentmq_session::{AuditCondition, Deed, Gates, OutboundAliases, Session, Ticket, Time, Will};
use agentmq_topic::{ReplyTopic, check_name};

use crate::audit::CANNOT_AUDIT;
use crate::connack_properties::{ConnAckTerms, connack_len};
use crate::connection::{AuthState, ConnectionId, Phase};
use crate::mcp_over_mqtt::{check_component, component, with_sender};
use crate::mcp_rights::{IS_WORD, NO_COMPONENT};
use crate::queue_drain::PORTION_BYTES;
use crate::reason_string::reason_string;
use crate::router::Router;
use crate::timers::Due;
use crate::topic_prefix::NoRoute;

/// Why a CONNECT is refused.
pub(crate) type Refused = (ReasonCode, Cow<'static, str>);

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

    pub(crate) fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Refused> {
        if connect.client_id.is_empty() {
            // 3.1: 1 to 23 characters; 3.1.1 [MQTT-3.1.3-8]
            let may_be_assigned = match connect.version {
                ProtocolVersion::V31 => false,
                ProtocolVersion::V311 => connect.clean_start,
                ProtocolVersion::V5 => true,
            };
            if !may_be_assigned {
                let why = "an empty Client Identifier needs Clean Session 1";
                return Err((ReasonCode::ClientIdentifierNotValid, why.into()));
            }
        }
        if self.settings.agents.mcp {
            check_component(connect)?;
        }
        let limits = &self.settings.limits;
        if connect.client_id.len() > usize::from(limits.client_id_bytes) {
            // Many things are kept by it.
            let why = "the Client Identifier is longer than client_id_bytes: shorten it";
            return Err((ReasonCode::ClientIdentifierNotValid, why.into()));
        }
        let connections = self.counters.connections_now + self.peers.connections_elsewhere;
        if connections >= u64::from(limits.connections) {
            return Err((ReasonCode::QuotaExceeded, "the limit `connections` is reached".into()));
        }
        Ok(())
    }

    /// Asked of who has proved who he is: whether he has a session already is nobody else's matter.
    fn check_sessions(&self, client_id: &str) -> Result<(), Refused> {
        let sessions = self.sessions.len() as u64 + self.peers.sessions_elsewhere;
        let is_full = sessions >= u64::from(self.settings.limits.sessions);
        if is_full && !self.by_client.contains_key(client_id) {
            return Err((ReasonCode::QuotaExceeded, "the limit `sessions` is reached".into()));
        }
        Ok(())
    }

    /// The session of who has proved its name is nobody else's: neither can he be thrown out by
    /// his client identifier, nor can what waits for him be taken or thrown away.
    fn check_owner(&self, client_id: &str, principal: &Principal) -> Result<(), Refused> {
        let Some(session) = self.session(client_id) else { return Ok(()) };
        if session.principal.claims().is_some() && !session.principal.is_same(principal) {
            let why = "this client identifier has a session of somebody else: choose another";
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        Ok(())
    }

    /// Who is let in must be in the audit log. Asked before anybody is asked for a proof, too.
    fn check_audit(&self) -> Result<(), Refused> {
        match self.audit.condition() {
            AuditCondition::Failed => Err((ReasonCode::ServerUnavailable, CANNOT_AUDIT.into())),
            AuditCondition::Good | AuditCondition::Behind => Ok(()),
        }
    }

    fn check_flapping(&self, client_id: &str, now: Time) -> Result<(), Refused> {
        let limit = self.settings.limits.flapping_connects;
        if !client_id.is_empty() && self.flapping.comes_too_often(client_id, limit, now) {
            return Err((ReasonCode::Banned, FLAPS.into()));
        }
        Ok(())
    }

    /// A will that could not be published is refused now, not when it is due.
    fn check_will(&self, connect: &Connect<'_>, principal: &Principal) -> Result<(), Refused> {
        let Some(will) = &connect.will else { return Ok(()) };
        if check_name(will.topic, &self.settings.topic_limits()).is_err() {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds a topic limit".into()));
        }
        if !self.settings.knows_prefix(will.topic) {
            let (reason, why) = NoRoute::Prefix.refusal(&self.settings);
            return Err((reason, format!("Will Topic: {why}").into()));
        }
        if ReplyTopic::is_meant(will.topic) {
            return Err((ReasonCode::NotAuthorized, WILL_IS_NO_REPLY.into()));
        }
        let topic = principal.published(will.topic);
        if topic.len() > usize::from(u16::MAX) {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds a topic limit".into()));
        }
        if will.qos > self.settings.maximum_qos {
            return Err((ReasonCode::QoSNotSupported, "Will QoS above Maximum QoS".into()));
        }
        if will.retain && !self.settings.retain_available {
            return Err((ReasonCode::RetainNotSupported, "retained messages are off".into()));
        }
        let asks_component = self.settings.agents.mcp_component_type;
        if asks_component && mcp::is_meant(will.topic) && component(connect).is_none() {
            return Err((ReasonCode::NotAuthorized, NO_COMPONENT.into()));
        }
        let is_mcp = self.settings.agents.mcp && mcp::is_meant(will.topic);
        if is_mcp && mcp::is_word(connect.client_id) {
            return Err((ReasonCode::NotAuthorized, IS_WORD.into()));
        }
        let decision = principal.authorize_message(&topic, will.qos, will.retain);
        if !decision.allowed {
            let why = format!("the Will Topic is not allowed: {}", decision.reason);
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        let is_asked = self.check_roles(principal, connect.client_id, &topic, will.payload);
        is_asked
            .map_err(|(reason, why)| (reason, format!("the will is not allowed: {why}").into()))?;
        let response = will.properties.text(P::ResponseTopic);
        if response.is_some_and(ReplyTopic::is_meant) {
            let why = "a will is no request: nobody would wait for answers below $reply/";
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        if let Some(response) = response.filter(|_| principal.is_restricted()) {
            let response = principal.mounted(response);
            let decision = principal.authorize(Action::Subscribe, &response);
            if !decision.allowed {
                let why = format!("the will's Response Topic is not allowed: {}", decision.reason);
                return Err((ReasonCode::NotAuthorized, why.into()));
            }
        }
        Ok(())
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

/// Those of organisations that are kept apart are elsewhere, and nobody else comes there.
fn check_client_id(own: &str, principal: &Principal) -> Result<(), Refused> {
    if principal.may_be_called(own) {
        return Ok(());
    }
    let why = "a Client Identifier that begins with $org/ is that of an organisation's client, or \
        it is too long: choose another";
    Err((ReasonCode::ClientIdentifierNotValid, why.into()))
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
const WILL_IS_NO_REPLY: &str = "a will is no answer: its topic cannot be below $reply/";
const FLAPS: &str = "this client identifier connects too often: banned for five minutes";
