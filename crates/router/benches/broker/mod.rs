//! A router whose clients read everything at once.

use std::sync::Arc;

use agentmq_codec::{ProtocolVersion, Publish, QoS, frame};
use agentmq_identity::{
    Authenticator, Claims, Credentials, Guarded, InForce, Open, Outcome, Policy, Principal,
};
use agentmq_quota::{Plan, Plans};
use agentmq_router::{ConnectionId, PORTION_BYTES, Quotas, Router, Settings};
use agentmq_session::{MemoryEngine, Time};

pub(crate) struct Broker {
    router: Router,
    dirty: Vec<ConnectionId>,
    /// Bytes that the clients have read.
    pub(crate) written: usize,
}

/// Takes everybody for one of the same organisation.
#[derive(Debug)]
struct Members;

impl Authenticator for Members {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let mut claims = Claims::default();
        claims.org_id = Some("acme".to_owned());
        Outcome::Accepted(Principal::verified(credentials.client_id, claims).into())
    }
}

/// The start of a CONNECT of version 3.1.1 with a clean session; its client identifier follows.
pub(crate) const CONNECT_311: &[u8] = b"\0\x04MQTT\x04\x02\0\0";

/// The same of version 5.
pub(crate) const CONNECT_5: &[u8] = b"\0\x04MQTT\x05\x02\0\0\0";

impl Broker {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::of(settings, Arc::new(Open))
    }

    /// One whose clients may do what a policy says.
    pub(crate) fn under(policy: Policy) -> Self {
        let guarded = Guarded::new(InForce::new(Arc::new(Open), Some(policy)));
        Self::of(Settings::default(), Arc::new(guarded))
    }

    /// One whose clients are of one organisation, which has this plan.
    pub(crate) fn counting(plan: Plan) -> Self {
        let Self { router, dirty, written } = Self::of(Settings::default(), Arc::new(Members));
        let quotas = Arc::new(Quotas::default());
        quotas.accounts.replace(Plans { default: Some(Arc::new(plan)), ..Plans::default() });
        Self { router: router.counting_in(quotas), dirty, written }
    }

    fn of(settings: Settings, authenticator: Arc<dyn Authenticator>) -> Self {
        let engine = Box::new(MemoryEngine);
        let router = Router::new(Arc::new(settings), authenticator, engine, 7);
        Self { router, dirty: Vec::new(), written: 0 }
    }

    /// Sends a CONNECT that begins with `start`.
    pub(crate) fn connect(&mut self, client: u32, start: &[u8]) {
        let name = client.to_string();
        let mut packet = vec![0x10, (start.len() + 2 + name.len()) as u8];
        packet.extend_from_slice(start);
        packet.extend_from_slice(&[0, name.len() as u8]);
        packet.extend_from_slice(name.as_bytes());
        self.send(client, &packet);
    }

    /// Sends a SUBSCRIBE of version 3.1.1.
    pub(crate) fn subscribe(&mut self, client: u32, filter: &str, qos: QoS) {
        self.subscribe_with(client, &[], filter, qos);
    }

    /// The same of version 5.
    pub(crate) fn subscribe_5(&mut self, client: u32, filter: &str, qos: QoS) {
        self.subscribe_with(client, &[0], filter, qos);
    }

    fn subscribe_with(&mut self, client: u32, properties: &[u8], filter: &str, qos: QoS) {
        let mut packet = vec![0x82, (5 + properties.len() + filter.len()) as u8, 0, 1];
        packet.extend_from_slice(properties);
        packet.extend_from_slice(&[0, filter.len() as u8]);
        packet.extend_from_slice(filter.as_bytes());
        packet.push(qos as u8);
        self.send(client, &packet);
    }

    /// One packet comes, and the turn ends.
    pub(crate) fn send(&mut self, client: u32, bytes: &[u8]) {
        let frame = frame::cut(bytes, 1 << 20).ok().flatten().expect("a whole packet");
        let body = &bytes[frame.body_at..frame.total];
        self.router.packet(ConnectionId(client), frame.first, body, Time::ZERO);
        self.flush();
    }

    /// Writes what there is; a long queue goes on when its portion is written.
    fn flush(&mut self) {
        loop {
            self.router.dirty(&mut self.dirty);
            if self.dirty.is_empty() {
                return;
            }
            for id in self.dirty.drain(..) {
                let mut written = 0;
                if let Some(outbox) = self.router.outbox(id) {
                    written = outbox.len();
                    outbox.consume(written);
                }
                self.written += written;
                if self.router.flushed(id, written) {
                    self.router.resume_queue(id, PORTION_BYTES, Time::ZERO);
                }
                if self.router.is_closing(id) {
                    self.router.closed(id, Time::ZERO);
                }
            }
        }
    }
}

pub(crate) fn publish(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Vec<u8> {
    let publish = Publish { qos, retain, topic, packet_id: 7, payload, ..Publish::default() };
    encoded(&publish, ProtocolVersion::V311)
}

pub(crate) fn publish_5(publish: &Publish<'_>) -> Vec<u8> {
    encoded(publish, ProtocolVersion::V5)
}

fn encoded(publish: &Publish<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut packet = Vec::new();
    publish.encode(version, &mut packet);
    packet
}
