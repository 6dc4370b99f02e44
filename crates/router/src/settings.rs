//! What an operator may choose about the protocol, beside the limits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use agentmq_agents::Namespaces;
use agentmq_codec::QoS;
use agentmq_session::{Limits, QueueBound};
use agentmq_topic::{ReplyTopic, TopicLimits};

use crate::topic_prefix::DOLLAR_PREFIXES;

/// The router's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// All bounds.
    pub limits: Limits,
    /// Highest QoS that clients may publish with; stated in CONNACK where below 2.
    pub maximum_qos: QoS,
    /// Whether retained messages are accepted.
    pub retain_available: bool,
    /// Whether a retained message is served only while its author may retain it.
    pub check_retain_source: bool,
    /// Whether filters may hold wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers: bool,
    /// Whether `$share` filters are accepted.
    pub shared_subscriptions: bool,
    /// Seconds that version 5 clients are told to use as their keep alive; 0: what they ask for.
    pub server_keep_alive: u16,
    /// Milliseconds between a SUBACK and the first retained message that it causes.
    pub retained_gap_ms: u32,
    /// Milliseconds for which a resumed session's messages wait.
    pub hold_on_resume_ms: u32,
    /// Whether QoS 0 messages are kept for absent clients.
    pub queue_qos0: bool,
    /// Name of what an acknowledgement promises, told to clients and in `$SYS`; empty: not told.
    pub durability: &'static str,
    /// Basis for response topics, told to clients that ask (§3.2.2.3.15); empty: that of the
    /// client's reply topics.
    pub response_information: Box<str>,
    /// How a shared group chooses the receiver.
    pub share_strategy: ShareStrategy,
    /// Exceptions by group name.
    pub share_strategies: BTreeMap<String, ShareStrategy>,
    /// What holds at each listener, in their order.
    pub doors: Vec<DoorSettings>,
    /// First levels with `$` below which clients may publish; `*` stands for all.
    pub dollar_prefixes: Vec<Box<str>>,
    /// What agent protocols get beyond the letter of MQTT.
    pub agents: AgentSettings,
    /// Filters of topics whose messages say who has published them.
    pub identity_topics: Vec<Box<str>>,
    /// What the User Properties that say so begin with; nobody else may set such.
    pub identity_prefix: Box<str>,
    /// Filters of topics that the audit log follows: who publishes and subscribes there.
    pub audit_topics: Vec<Box<str>>,
}

/// What holds for those who come through one listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DoorSettings {
    /// Whether who brings no credentials comes in, where others must bring some.
    pub lets_anonymous_in: bool,
    /// Connections at most; 0: no bound of its own.
    pub max_connections: u32,
    /// Whether messages say nothing of their publishers, where those of others do.
    pub hide_publishers: bool,
    /// Whether all of them are taken for agents, whatever they claim; see [`AgentSettings`].
    pub serves_agents: bool,
}

/// What agent protocols get beyond the letter of MQTT. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSettings {
    /// Below which topics MQTT.Agent is spoken.
    pub namespaces: Namespaces,
    /// Session Expiry Interval in seconds that an agent is lent which resumes its session and asks
    /// for none; 0: none.
    pub session_expiry_secs: u32,
    /// The same for one with a will, and the delay of that, if it asks for none.
    pub return_secs: u32,
    /// Milliseconds for which the messages of such a session wait when its client is back.
    pub hold_on_resume_ms: u32,
    /// And so many more for each of its subscriptions.
    pub hold_per_subscription_ms: u32,
    /// Whether the arguments of a call must be what the tool's card says.
    pub check_arguments: bool,
    /// Whether MCP over MQTT is spoken below `$mcp-…`.
    pub mcp: bool,
    /// Whether who has not said at CONNECT which part of it he is may do nothing there.
    pub mcp_component_type: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            check_retain_source: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            server_keep_alive: 0,
            retained_gap_ms: 10,
            hold_on_resume_ms: 0,
            queue_qos0: false,
            durability: "",
            response_information: Box::default(),
            share_strategy: ShareStrategy::RoundRobin,
            share_strategies: BTreeMap::new(),
            doors: Vec::new(),
            dollar_prefixes: DOLLAR_PREFIXES.map(Into::into).into(),
            agents: AgentSettings::default(),
            identity_topics: Vec::new(),
            identity_prefix: "agentmq-".into(),
            audit_topics: Vec::new(),
        }
    }
}

impl Settings {
    pub(crate) fn topic_limits(&self) -> TopicLimits {
        TopicLimits {
            max_levels: usize::from(self.limits.topic_levels),
            max_bytes: usize::from(self.limits.topic_bytes),
        }
    }

    /// What a client that asks is told to begin its response topics with.
    pub(crate) fn response_information(&self, client_id: &str) -> Option<Cow<'_, str>> {
        if !self.response_information.is_empty() {
            return Some((&*self.response_information).into());
        }
        let own = ReplyTopic::beginning(client_id)?;
        self.knows_prefix(&own).then(|| own.into())
    }

    /// Whether who brings no credentials may come through a listener.
    pub(crate) fn lets_anonymous_in(&self, door: u16) -> bool {
        self.doors.get(usize::from(door)).is_some_and(|door| door.lets_anonymous_in)
    }

    /// Whether any shared group may ask for a publisher's client identifier.
    #[inline]
    pub(crate) fn any_hash_client(&self) -> bool {
        self.any_strategy(ShareStrategy::HashClient)
    }

    /// Whether any shared group may ask for a member's load.
    pub(crate) fn any_least_in_flight(&self) -> bool {
        self.any_strategy(ShareStrategy::LeastInFlight)
    }

    #[inline]
    fn any_strategy(&self, wanted: ShareStrategy) -> bool {
        // Asked for each message between shards: the map is empty nearly everywhere.
        let by_name = &self.share_strategies;
        self.share_strategy == wanted
            || (!by_name.is_empty() && by_name.values().any(|&it| it == wanted))
    }

    /// The bound of what waits for a session: of what survives the broker, or of all else.
    pub(crate) fn queue_bound(&self, is_durable: bool) -> QueueBound {
        if is_durable {
            let bytes = usize::try_from(self.limits.durable_queue_bytes).unwrap_or(usize::MAX);
            return QueueBound { messages: usize::MAX, bytes };
        }
        QueueBound {
            messages: self.limits.queue_messages as usize,
            bytes: self.limits.queue_bytes as usize,
        }
    }
}

/// How a shared group chooses one of its members for a message.
///
/// `round_robin`, `random` and `least_inflight` pass over a member whose window is full or whose
/// client does not read, as long as another can have the message at once. For `sticky`,
/// `hash_client` and `hash_topic` who gets it matters more than when: it waits in the member's
/// queue. All pass over absent members while any other is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest messages in flight and in its queue.
    LeastInFlight,
    /// The same one until it goes.
    Sticky,
    /// By a hash of the publisher's client identifier.
    HashClient,
    /// By a hash of the topic name.
    HashTopic,
}

impl ShareStrategy {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::Random,
        Self::LeastInFlight,
        Self::Sticky,
        Self::HashClient,
        Self::HashTopic,
    ];

    /// Whether a message waits for its member although another could have it at once.
    pub(crate) const fn has_affinity(self) -> bool {
        matches!(self, Self::Sticky | Self::HashClient | Self::HashTopic)
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastInFlight => "least_inflight",
            Self::Sticky => "sticky",
            Self::HashClient => "hash_client",
            Self::HashTopic => "hash_topic",
        }
    }
}
