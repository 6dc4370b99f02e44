//! Where the messages of one topic go.

use crate::overlapping_subscriptions::Receiver;
use crate::places::PlaceSet;
use crate::subscribers::Subscriber;
use crate::subscriptions::{Generation, Subscriptions};

/// The resolved receivers of one topic: each session once, with its overlapping subscriptions
/// merged (maximum QoS, all identifiers [MQTT-3.3.4-2, -3]).
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) topic: Box<str>,
    /// Of the subscriptions that it was resolved from.
    pub(crate) generation: Generation,
    pub(crate) receivers: Box<[Receiver]>,
    pub(crate) groups: Box<[u32]>,
    /// Other shards that have receivers.
    pub(crate) places: PlaceSet,
    /// Those of them that must keep what goes there.
    pub(crate) keeping: PlaceSet,
    pub(crate) traits: Traits,
}

/// What holds for the messages of one topic, by the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    /// They say who has published them.
    pub(crate) is_identified: bool,
    /// The audit log says who has.
    pub(crate) is_audited: bool,
    /// It leads to one client, and only to what that has asked for.
    pub(crate) is_reply: bool,
    /// They are calls, cards or MCP: looked at before they are published.
    pub(crate) is_of_agents: bool,
    /// They are calls of a tool, which somebody waits for.
    pub(crate) is_tool_call: bool,
    /// They are MCP over MQTT.
    pub(crate) is_mcp: bool,
}

impl Route {
    pub(crate) fn resolve(subscriptions: &Subscriptions, topic: &str, traits: Traits) -> Self {
        let (mut matches, mut groups) = (Vec::new(), Vec::new());
        let (mut places, mut keeping) = (PlaceSet::NONE, PlaceSet::NONE);
        subscriptions.for_each_match(topic, |entry| {
            matches.extend(entry.subscribers.iter().copied());
            groups.extend_from_slice(&entry.groups);
            places = places.or(entry.places);
            keeping = keeping.or(entry.keeping);
        });
        matches.sort_by_key(|subscriber: &Subscriber| subscriber.session);
        let receivers =
            matches.chunk_by(|a, b| a.session == b.session).map(Receiver::merge).collect();
        let generation = subscriptions.generation(topic);
        let groups = groups.into_boxed_slice();
        let topic = topic.into();
        Self { topic, generation, receivers, groups, places, keeping, traits }
    }

    /// The part of it that leads to one session of this shard.
    pub(crate) fn only_to(&self, session: u32) -> Self {
        let receivers = self.receivers.iter().filter(|it| it.session == session).cloned().collect();
        let (groups, topic) = (Box::default(), self.topic.clone());
        let (places, keeping) = (PlaceSet::NONE, PlaceSet::NONE);
        let traits = Traits { is_reply: false, ..self.traits };
        Self { topic, receivers, groups, places, keeping, traits, ..*self }
    }

    /// Receivers and groups.
    pub(crate) fn size(&self) -> usize {
        self.receivers.len() + self.groups.len()
    }
}
