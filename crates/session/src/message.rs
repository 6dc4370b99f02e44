//! An application message that waits somewhere, and what is known of one delivery of it.

use agentmq_codec::{Properties, PropertyId, PropertySet, PublishHead, QoS};
use triomphe::{Arc, ThinArc};

use crate::{REFERENCE_FROM, Time};

/// An application message, shared by all that must still get it: a clone is one more reference.
///
/// What the message says is one block of memory, since whoever keeps many of them finds each block
/// out of the cache when its turn comes. Only a large payload is apart, so that it is copied once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(ThinArc<Fixed, u8>);

/// What stands in the block before topic name, properties and payload.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    expires_at: Option<Time>,
    present: PropertySet,
    /// A payload of at least [`REFERENCE_FROM`] bytes.
    large: Option<Box<[u8]>>,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct MessageParts<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// What is forwarded unaltered; see [`Properties::forwarded`].
    pub properties: Properties<'a>,
    /// QoS as published.
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// When the Message Expiry Interval ends.
    pub expires_at: Option<Time>,
}

impl Message {
    /// What a queued message costs beside its bytes: two reference counts, pointers, lengths.
    pub const OVERHEAD: usize = 160;

    /// Copies the parts.
    pub fn new(parts: &MessageParts<'_>) -> Self {
        let (topic, properties) = (parts.topic.as_bytes(), parts.properties.as_bytes());
        let is_large = parts.payload.len() >= REFERENCE_FROM;
        let payload = if is_large { &[] } else { parts.payload };
        let fixed = Fixed {
            expires_at: parts.expires_at,
            present: parts.properties.present(),
            large: is_large.then(|| parts.payload.into()),
            // Both came out of a packet, which bounds them.
            properties_len: properties.len() as u32,
            topic_len: topic.len() as u16,
            qos: parts.qos,
            retain: parts.retain,
        };
        let len = topic.len() + properties.len() + payload.len();
        let Some(blank) = BLANK.get(..len) else {
            return Self(ThinArc::from_header_and_slice(
                fixed,
                &[topic, properties, payload].concat(),
            ));
        };
        // Put together where it stays: to read what has just been written elsewhere would wait
        // until all stores before are done.
        let mut block = ThinArc::from_header_and_slice(fixed, blank);
        block.with_arc_mut(|block| {
            let Some(block) = Arc::get_mut(block) else { return };
            let (to_topic, rest) = block.slice_mut().split_at_mut(topic.len());
            let (to_properties, to_payload) = rest.split_at_mut(properties.len());
            to_topic.copy_from_slice(topic);
            to_properties.copy_from_slice(properties);
            to_payload.copy_from_slice(payload);
        });
        Self(block)
    }

    /// A message of the broker's own.
    pub fn plain(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Self {
        let properties = Properties::EMPTY;
        Self::new(&MessageParts { topic, payload, properties, qos, retain, expires_at: None })
    }

    /// The same with another end of its Message Expiry Interval. In place if nobody shares it.
    #[must_use]
    pub fn expiring_at(mut self, expires_at: Option<Time>) -> Self {
        let is_alone = self.0.with_arc_mut(|block| {
            let block = Arc::get_mut(block);
            block.map(|block| block.header_mut().expires_at = expires_at).is_some()
        });
        if is_alone {
            return self;
        }
        Self::new(&MessageParts {
            topic: self.topic(),
            payload: self.payload(),
            properties: self.properties(),
            qos: self.qos(),
            retain: self.retain(),
            expires_at,
        })
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        let bytes = self.0.slice.get(..self.properties_at()).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default() // it was a `str`
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        let here = || self.0.slice.get(self.payload_at()..).unwrap_or_default();
        self.fixed().large.as_deref().unwrap_or_else(here)
    }

    /// What is forwarded unaltered; see [`Properties::forwarded`].
    pub fn properties(&self) -> Properties<'_> {
        let bytes = self.0.slice.get(self.properties_at()..self.payload_at()).unwrap_or_default();
        Properties::checked(bytes, self.fixed().present)
    }

    /// QoS as published.
    pub fn qos(&self) -> QoS {
        self.fixed().qos
    }

    /// RETAIN as published.
    pub fn retain(&self) -> bool {
        self.fixed().retain
    }

    /// When the Message Expiry Interval ends.
    pub fn expires_at(&self) -> Option<Time> {
        self.fixed().expires_at
    }

    /// Bytes that the message takes in a queue.
    pub fn size(&self) -> usize {
        self.0.slice.len() + self.fixed().large.as_ref().map_or(0, |it| it.len()) + Self::OVERHEAD
    }

    /// Whether its time has run out: it must not be delivered any more [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at().is_some_and(|deadline| deadline <= now)
    }

    /// What remains of the Message Expiry Interval, in seconds [MQTT-3.3.2-6].
    pub fn remaining_expiry(&self, now: Time) -> Option<u32> {
        self.expires_at().map(|deadline| deadline.secs_from(now))
    }

    /// The head of a PUBLISH that delivers the message now; packet id, DUP and alias are to be
    /// filled in.
    pub fn head<'a>(&'a self, delivery: &'a Delivery, now: Time) -> PublishHead<'a> {
        PublishHead {
            dup: false,
            qos: delivery.qos,
            retain: delivery.retain,
            topic: self.topic(),
            packet_id: 0,
            topic_alias: None,
            message_expiry: self.remaining_expiry(now),
            subscription_identifiers: delivery.subscription_ids(),
            properties: self.properties(),
            payload_len: self.payload().len(),
        }
    }

    /// How many hold it.
    #[cfg(test)]
    pub(crate) fn references(&self) -> usize {
        ThinArc::strong_count(&self.0)
    }

    fn fixed(&self) -> &Fixed {
        &self.0.header.header
    }

    fn properties_at(&self) -> usize {
        usize::from(self.fixed().topic_len)
    }

    fn payload_at(&self) -> usize {
        self.properties_at() + self.fixed().properties_len as usize
    }
}

/// The Message Expiry Interval of a PUBLISH or a will, in seconds.
pub(crate) fn expiry(properties: Properties<'_>) -> Option<u32> {
    properties.integer(PropertyId::MessageExpiryInterval)
}

/// Subscription Identifiers of one delivery; `None` when no matching subscription has any.
pub type SubscriptionIds = Option<std::sync::Arc<[u32]>>;

/// One message on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// QoS of this delivery: the lower of published and granted.
    pub qos: QoS,
    /// RETAIN as this client sees it.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: SubscriptionIds,
    /// The shared subscription it came through: if the client vanishes before it acknowledges,
    /// another member gets the message.
    pub group: Option<u32>,
    /// Its place in the session's line, where that must survive a crash; else 0.
    pub ordinal: u64,
}

impl Delivery {
    /// The Subscription Identifiers as a slice.
    pub fn subscription_ids(&self) -> &[u32] {
        self.ids.as_deref().unwrap_or_default()
    }
}

/// What a new block holds before it is filled. All but messages with very many properties fit.
static BLANK: [u8; 2 * REFERENCE_FROM] = [0; 2 * REFERENCE_FROM];

#[cfg(test)]
mod tests {
    use agentmq_codec::{PropertiesBuf, Property};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_come_out_as_they_went_in(
            topic in "[a-zé/]{1,40}",
            payload in prop_oneof![0usize..300, 4_090usize..4_100, 9_000usize..9_001],
            pairs in prop::collection::vec("[a-z]{0,9}", 0..5),
            many in prop_oneof![Just(0usize), Just(700)],
            retain: bool,
            expires_at in prop::option::of(0u64..1_000),
        ) {
            let payload: Vec<u8> = (0..payload).map(|at| at as u8).collect();
            let pairs = pairs.iter().chain(std::iter::repeat_n(&topic, many));
            let pairs = pairs.map(|it| Property::Pair(it, "value"));
            let properties: PropertiesBuf = pairs.collect();
            let expires_at = expires_at.map(Time::from_millis);
            let message = Message::new(&MessageParts {
                topic: &topic,
                payload: &payload,
                properties: properties.view(),
                qos: QoS::ExactlyOnce,
                retain,
                expires_at,
            });
            prop_assert_eq!(message.topic(), topic.as_str());
            prop_assert_eq!(message.payload(), payload.as_slice());
            prop_assert_eq!(message.properties(), properties.view());
            prop_assert_eq!((message.qos(), message.retain()), (QoS::ExactlyOnce, retain));
            prop_assert_eq!(message.expires_at(), expires_at);
            let says = topic.len() + payload.len() + properties.view().as_bytes().len();
            prop_assert_eq!(message.size(), says + Message::OVERHEAD);
            let shared = message.clone();
            let other = message.expiring_at(Some(Time::from_millis(7)));
            prop_assert_eq!(other.expires_at(), Some(Time::from_millis(7)));
            prop_assert_eq!(shared.expires_at(), expires_at);
            prop_assert_eq!(other.expiring_at(expires_at), shared);
        }
    }
}
