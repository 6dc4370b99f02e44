//! What a window may have to send again, or to give to another member of a group.

use std::collections::VecDeque;

use agentmq_codec::{Properties, PropertySet, QoS};

use crate::shelf::{Shelf, Spot};
use crate::{Delivery, Message, MessageParts, SubscriptionIds, Time};

/// What is to be kept of a delivery.
#[derive(Debug)]
pub enum Keep<'a> {
    /// A message that is one block of memory already, which others may keep as well.
    Shared(Delivery),
    /// A message that nobody else keeps. Its bytes are copied behind those of the one before, so
    /// that keeping it allocates nothing, and forgetting it touches nothing of what has left the
    /// cache meanwhile.
    Copy {
        /// The message, with a payload below [`crate::REFERENCE_FROM`].
        parts: MessageParts<'a>,
        /// As in [`Delivery`].
        qos: QoS,
        /// As in [`Delivery`].
        retain: bool,
        /// As in [`Delivery`].
        ids: &'a SubscriptionIds,
        /// As in [`Delivery`].
        group: Option<u32>,
    },
}

/// Deliveries by their place in the ring of a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptDeliveries {
    /// The last ones of the ring may be absent.
    places: VecDeque<Option<Kept>>,
    shelf: Shelf,
}

#[derive(Debug, Clone)]
enum Kept {
    Shared(Delivery),
    Copied(Copied),
}

/// A delivery whose topic, properties and payload stand on the shelf.
#[derive(Debug, Clone)]
struct Copied {
    ids: SubscriptionIds,
    expires_at: Option<Time>,
    present: PropertySet,
    group: Option<u32>,
    spot: Spot,
    topic_len: u16,
    properties_len: u16,
    payload_len: u16,
    published_qos: QoS,
    published_retain: bool,
    qos: QoS,
    retain: bool,
}

const _: () = assert!(size_of::<Option<Kept>>() == 64);

impl KeptDeliveries {
    /// Keeps what was sent at this place, behind all that are kept.
    pub(crate) fn put(&mut self, at: usize, keep: Keep<'_>) {
        let kept = match keep {
            Keep::Shared(delivery) => Kept::Shared(delivery),
            Keep::Copy { parts, qos, retain, ids, group } => {
                self.copied(&parts, qos, retain, ids, group)
            }
        };
        if self.places.len() != at {
            self.places.resize(at, None);
        }
        self.places.push_back(Some(kept));
    }

    /// Puts back what was there before a restart.
    pub(crate) fn restore(&mut self, at: usize, delivery: Delivery) {
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        self.places[at] = Some(Kept::Shared(delivery));
    }

    /// The delivery at this place.
    pub(crate) fn get(&self, at: usize) -> Option<Delivery> {
        match self.places.get(at)?.as_ref()? {
            Kept::Shared(delivery) => Some(delivery.clone()),
            Kept::Copied(copied) => Some(copied.delivery(&self.shelf)),
        }
    }

    /// The shared group through which the delivery at this place came.
    pub(crate) fn group(&self, at: usize) -> Option<u32> {
        match self.places.get(at)?.as_ref()? {
            Kept::Shared(delivery) => delivery.group,
            Kept::Copied(copied) => copied.group,
        }
    }

    /// What is at this place will not be sent again.
    #[inline]
    pub(crate) fn forget(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else { return };
        if let Some(Kept::Copied(Copied { spot, .. })) = place {
            self.shelf.clear(*spot);
        }
        *place = None;
    }

    /// The ring's front has gone; nothing is kept of it any more.
    #[inline]
    pub(crate) fn pop_front(&mut self) {
        debug_assert!(!matches!(self.places.front(), Some(Some(_))), "it was forgotten before");
        self.places.pop_front();
    }

    /// Places that it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.places.capacity()
    }

    fn copied(
        &mut self,
        parts: &MessageParts<'_>,
        qos: QoS,
        retain: bool,
        ids: &SubscriptionIds,
        group: Option<u32>,
    ) -> Kept {
        let (topic, properties) = (parts.topic.as_bytes(), parts.properties.as_bytes());
        let lengths = [topic, properties, parts.payload].map(|it| u16::try_from(it.len()));
        let [Ok(topic_len), Ok(properties_len), Ok(payload_len)] = lengths else {
            let (message, ids) = (Message::new(parts), ids.clone());
            return Kept::Shared(Delivery { message, qos, retain, ids, group, ordinal: 0 });
        };
        Kept::Copied(Copied {
            ids: ids.clone(),
            expires_at: parts.expires_at,
            present: parts.properties.present(),
            group,
            spot: self.shelf.put([topic, properties, parts.payload]),
            topic_len,
            properties_len,
            payload_len,
            published_qos: parts.qos,
            published_retain: parts.retain,
            qos,
            retain,
        })
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.shelf.is_clear()
    }
}

impl Copied {
    fn delivery(&self, shelf: &Shelf) -> Delivery {
        let (topic_len, properties_len) =
            (usize::from(self.topic_len), usize::from(self.properties_len));
        let len = topic_len + properties_len + usize::from(self.payload_len);
        let bytes = shelf.get(self.spot, len);
        let (topic, rest) = bytes.split_at_checked(topic_len).unwrap_or_default();
        let (properties, payload) = rest.split_at_checked(properties_len).unwrap_or_default();
        let message = Message::new(&MessageParts {
            topic: str::from_utf8(topic).unwrap_or_default(), // it was a `str`
            payload,
            properties: Properties::checked(properties, self.present),
            qos: self.published_qos,
            retain: self.published_retain,
            expires_at: self.expires_at,
        });
        let ids = self.ids.clone();
        let (qos, retain, group) = (self.qos, self.retain, self.group);
        Delivery { message, qos, retain, ids, group, ordinal: 0 }
    }
}

#[cfg(test)]
mod tests {
    use agentmq_codec::{PropertiesBuf, Property};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_copy_is_the_delivery_that_was_kept(
            topic in "[a-zé/]{1,40}",
            payload in prop::collection::vec(any::<u8>(), 0..300),
            pairs in prop::collection::vec("[a-z]{0,9}", 0..5),
            many in prop_oneof![Just(0usize), Just(5_000)],
            (retain, published_retain) in any::<(bool, bool)>(),
            expires_at in prop::option::of(0u64..1_000),
            ids in prop::option::of(prop::collection::vec(1u32..9, 1..3)),
            group in prop::option::of(0u32..9),
        ) {
            let pairs = pairs.iter().chain(std::iter::repeat_n(&topic, many));
            let pairs = pairs.map(|it| Property::Pair(it, "value"));
            let properties: PropertiesBuf = pairs.collect();
            let parts = MessageParts {
                topic: &topic,
                payload: &payload,
                properties: properties.view(),
                qos: QoS::ExactlyOnce,
                retain: published_retain,
                expires_at: expires_at.map(Time::from_millis),
            };
            let ids: SubscriptionIds = ids.map(Into::into);
            let qos = QoS::AtLeastOnce;
            let wanted = Delivery {
                message: Message::new(&parts),
                qos,
                retain,
                ids: ids.clone(),
                group,
                ordinal: 0,
            };
            let mut kept = KeptDeliveries::default();
            kept.put(2, Keep::Copy { parts, qos, retain, ids: &ids, group });
            prop_assert_eq!(kept.get(2), Some(wanted));
            prop_assert_eq!(kept.group(2), group);
            prop_assert_eq!((kept.get(1), kept.get(3)), (None, None));
            kept.forget(2);
            prop_assert_eq!(kept.get(2), None);
            (0..3).for_each(|_| kept.pop_front());
            prop_assert!(kept.is_empty());
        }
    }
}
