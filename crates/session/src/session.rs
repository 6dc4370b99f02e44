//! What MQTT remembers of one client (MQTT 5 §4.1).

use std::sync::Arc;

use agentmq_codec::{ProtocolVersion, QoS};
use agentmq_identity::{Principal, own_client_id};
use agentmq_quota::{Account, Holder, Member};

use crate::{
    Delivery, Keep, LazyQueue, OpenRequests, Overflow, QueueBound, SessionKey, Ticket, Time,
    Unreleased, Will, Window,
};

/// One client's session, connected or not.
#[derive(Debug)]
pub struct Session {
    /// Client identifier, by which the broker knows it; see `agentmq_identity::own_client_id`.
    pub client_id: Arc<str>,
    /// What survives a crash of it; `None` when nothing does.
    pub durable: Option<Box<Durable>>,
    /// Tells this session from later ones in the same place, for timers that outlive it.
    pub generation: u32,
    /// Version of the newest connection.
    pub version: ProtocolVersion,
    /// Whose session it is: the rights under which its will is published.
    pub principal: Principal,
    /// Session Expiry Interval in seconds: 0 ends the session with its connection, `u32::MAX`
    /// never (§3.1.2.11.2).
    pub expiry: u32,
    /// Publications that the client accepts unacknowledged.
    pub receive_maximum: u16,
    /// Exchanges towards the client.
    pub window: Window,
    /// What waits for the client.
    pub queue: LazyQueue,
    /// Exchanges from the client.
    pub unreleased: Unreleased,
    /// Its filters, with their share prefix, sorted.
    pub subscriptions: Vec<Box<str>>,
    /// Published if the connection breaks.
    pub will: Option<Box<Will>>,
    /// When the will of an absent client is due.
    pub will_at: Option<Time>,
    /// The connection that serves it.
    pub connection: Option<u32>,
    /// Deliveries wait until this point (a hold on resume).
    pub hold_until: Time,
    /// Ends at this point, when no client is connected.
    pub expires_at: Option<Time>,
    /// Other shards that choose receivers for its shared groups know that its window is full.
    pub is_known_full: bool,
    /// Its client has a retained message that says that it is there, as an MCP server.
    pub has_mcp_presence: bool,
    /// It goes on although its client has asked for nothing of the kind, until that leaves.
    pub is_lent: bool,
    /// Its requests that wait for answers; made with the first.
    pub open_requests: Option<Box<OpenRequests>>,
    /// Messages that its queue could not hold, and that its client has not been told of.
    pub dropped: u64,
    /// Its client as a member of an organisation; `None`: that has no plan.
    pub member: Option<Box<Member>>,
}

/// How a session is kept where a crash cannot take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Its name there.
    pub key: SessionKey,
    /// The place in line of its newest message.
    pub next_ordinal: u64,
    /// With this ticket all its QoS 2 exchanges are safe as they stand.
    pub exchanges: Ticket,
    /// With this position of the mail all QoS 2 publications and wills of its client have arrived
    /// for good.
    pub posted: Ticket,
}

impl Session {
    /// A new session.
    pub fn new(client_id: Arc<str>, generation: u32, version: ProtocolVersion) -> Self {
        Self {
            client_id,
            durable: None,
            generation,
            version,
            principal: Principal::ANONYMOUS,
            expiry: 0,
            receive_maximum: u16::MAX,
            window: Window::default(),
            queue: LazyQueue::default(),
            unreleased: Unreleased::default(),
            subscriptions: Vec::new(),
            will: None,
            will_at: None,
            connection: None,
            hold_until: Time::ZERO,
            expires_at: None,
            is_known_full: false,
            is_lent: false,
            has_mcp_presence: false,
            open_requests: None,
            dropped: 0,
            member: None,
        }
    }

    /// Whether the session outlives its connection.
    pub fn is_persistent(&self) -> bool {
        self.expiry > 0
    }

    /// Its name where a crash cannot take it.
    pub fn key(&self) -> SessionKey {
        self.durable.as_ref().map_or(SessionKey::NONE, |durable| durable.key)
    }

    /// The place in line of a message that must survive a crash; 0 when it need not.
    pub fn next_ordinal(&mut self, qos: QoS) -> u64 {
        let Some(durable) = self.durable.as_mut().filter(|_| qos != QoS::AtMostOnce) else {
            return 0;
        };
        durable.next_ordinal += 1;
        durable.next_ordinal
    }

    /// Whether a new delivery of this QoS may go out at once, ahead of nothing: QoS 0 waits only
    /// behind retained messages, holds and other QoS 0, never for the window.
    pub fn may_send(&self, qos: QoS, now: Time) -> bool {
        if self.queue.has_cursor() || now < self.hold_until {
            return false;
        }
        match qos {
            QoS::AtMostOnce => !self.queue.has_qos0(),
            _ => self.queue.is_empty() && self.window.has_room(self.receive_maximum),
        }
    }

    /// What it holds counts in this account from now on, or in none.
    pub fn count_in(&mut self, account: Option<Arc<Account>>) {
        let counts_in = self.member.as_ref().map(|member| Arc::as_ptr(member.account()));
        if counts_in == account.as_ref().map(Arc::as_ptr) {
            return;
        }
        let holder = account.map(|account| Holder::new(account, own_client_id(&self.client_id)));
        self.queue.belong_to(holder.clone());
        let count = self.subscriptions.len();
        self.member = holder.map(|holder| Box::new(Member::new(holder, count)));
    }

    /// The place of a filter among the subscriptions, or where it belongs.
    pub fn find_subscription(&self, text: &str) -> Result<usize, usize> {
        self.subscriptions.binary_search_by(|known| (**known).cmp(text))
    }

    /// Begins an exchange. The delivery is kept only where it may be needed again: in a session
    /// that can be resumed, or for another member of the group. One of QoS 2 that must survive a
    /// crash waits for its commit, see [`Window::commit`].
    pub fn begin<'a>(
        &mut self,
        qos: QoS,
        delivery: impl FnOnce() -> Keep<'a>,
        shared: bool,
    ) -> u16 {
        let is_durable = self.durable.is_some();
        let keep = (self.is_persistent() || is_durable || shared).then(delivery);
        let waits = is_durable && qos == QoS::ExactlyOnce;
        self.window.begin(qos, keep, waits)
    }

    /// Puts a delivery in line, and says what made room for it.
    pub fn enqueue(&mut self, delivery: Delivery, bound: QueueBound, now: Time) -> Overflow {
        let bound = match &self.member {
            Some(member) => {
                self.queue.bound_within(bound, member.queue_room(), delivery.ordinal > 0)
            }
            None => bound,
        };
        let overflow = self.queue.push(delivery, bound, now);
        self.dropped += overflow.dropped as u64;
        overflow
    }

    /// What a lost connection takes with it: QoS 0 messages, retained ones of a QoS 0
    /// subscription included, unless the session keeps those. What else waits is part of the
    /// session (§4.1). Returns how many messages were dropped.
    pub fn disconnect(&mut self, keeps_qos0: bool) -> usize {
        self.connection = None;
        if let Some(member) = &mut self.member {
            member.stand_up();
        }
        if keeps_qos0 {
            return 0;
        }
        self.queue.retain_cursors(|cursor| cursor.qos > QoS::AtMostOnce);
        self.queue.take_qos0().len()
    }
}
