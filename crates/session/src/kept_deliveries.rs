//! What a window may have to send again, or to give to another member of a group.

use std::collections::VecDeque;

use agentmq_codec::{Properties, PropertiesBuf, PropertySet, QoS};

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
    places: VecDeque<Place>,
    shelf: Shelf,
    /// Those that are no copies, in their order; `None` for one that is forgotten.
    shared: VecDeque<Option<Delivery>>,
    /// The number of the first of them; they wrap.
    first_shared: u32,
}

/// Two words, which no store must be waited for to move.
#[derive(Debug, Clone, Copy)]
enum Place {
    Nothing,
    /// On the shelf.
    Copied(Spot),
    /// By its number.
    Shared(u32),
}

impl KeptDeliveries {
    /// Keeps what was sent at this place, behind all that are kept.
    pub(crate) fn put(&mut self, at: usize, keep: Keep<'_>) {
        let place = match keep {
            Keep::Shared(delivery) => self.share(delivery),
            Keep::Copy { parts, qos, retain, ids, group } => {
                match Head::of(&parts, qos, retain, ids, group) {
                    Some(head) => Place::Copied(head.put(&mut self.shelf, &parts, ids)),
                    None => {
                        let (message, ids) = (Message::new(&parts), ids.clone());
                        self.share(Delivery { message, qos, retain, ids, group, ordinal: 0 })
                    }
                }
            }
        };
        if self.places.len() != at {
            self.places.resize(at, Place::Nothing);
        }
        self.places.push_back(place);
    }

    /// Puts back what was there before a restart, in the order in which it was sent.
    pub(crate) fn restore(&mut self, at: usize, delivery: Delivery) {
        if self.places.len() <= at {
            self.places.resize(at + 1, Place::Nothing);
        }
        self.places[at] = self.share(delivery);
    }

    /// The delivery at this place.
    pub(crate) fn get(&self, at: usize) -> Option<Delivery> {
        match self.places.get(at)? {
            Place::Nothing => None,
            Place::Copied(spot) => read(self.shelf.get(*spot)),
            Place::Shared(number) => self.shared.get(self.index_of(*number))?.clone(),
        }
    }

    /// The shared group through which the delivery at this place came.
    pub(crate) fn group(&self, at: usize) -> Option<u32> {
        match self.places.get(at)? {
            Place::Nothing => None,
            Place::Copied(spot) => Head::read(&mut self.shelf.get(*spot))?.group,
            Place::Shared(number) => self.shared.get(self.index_of(*number))?.as_ref()?.group,
        }
    }

    /// What is at this place will not be sent again.
    #[inline]
    pub(crate) fn forget(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else { return };
        match std::mem::replace(place, Place::Nothing) {
            Place::Nothing => {}
            Place::Copied(spot) => self.shelf.clear(spot),
            Place::Shared(number) => self.forget_shared(number),
        }
    }

    /// The ring's front has gone; nothing is kept of it any more.
    #[inline]
    pub(crate) fn pop_front(&mut self) {
        debug_assert!(
            matches!(self.places.front(), None | Some(Place::Nothing)),
            "forgotten before"
        );
        self.places.pop_front();
    }

    /// Whether it holds more memory than an idle session may keep.
    pub(crate) fn is_large(&self) -> bool {
        let slots = self.places.capacity().max(self.shared.capacity());
        slots > IDLE_SLOTS || self.shelf.memory() > IDLE_BYTES
    }

    fn share(&mut self, delivery: Delivery) -> Place {
        let number = self.first_shared.wrapping_add(self.shared.len() as u32);
        self.shared.push_back(Some(delivery));
        Place::Shared(number)
    }

    fn forget_shared(&mut self, number: u32) {
        let at = self.index_of(number);
        if let Some(delivery) = self.shared.get_mut(at) {
            *delivery = None;
        }
        while let Some(None) = self.shared.front() {
            self.shared.pop_front();
            self.first_shared = self.first_shared.wrapping_add(1);
        }
    }

    fn index_of(&self, number: u32) -> usize {
        number.wrapping_sub(self.first_shared) as usize
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.shelf.is_clear() && self.shared.is_empty()
    }
}

/// What stands on the shelf before the Subscription Identifiers, topic, properties and payload of a
/// copy. Each field is written by itself: put together elsewhere and moved as a whole, it would
/// have to wait until all stores before are done.
struct Head {
    expires_at: Option<Time>,
    group: Option<u32>,
    ids: u16,
    topic: u16,
    properties: u16,
    payload: u16,
    published_qos: QoS,
    published_retain: bool,
    qos: QoS,
    retain: bool,
}

impl Head {
    /// `None` for what is too large for a shelf.
    fn of(
        parts: &MessageParts<'_>,
        qos: QoS,
        retain: bool,
        ids: &SubscriptionIds,
        group: Option<u32>,
    ) -> Option<Self> {
        Some(Self {
            expires_at: parts.expires_at,
            group,
            ids: u16::try_from(ids.as_deref().unwrap_or_default().len()).ok()?,
            topic: u16::try_from(parts.topic.len()).ok()?,
            properties: u16::try_from(parts.properties.as_bytes().len()).ok()?,
            payload: u16::try_from(parts.payload.len()).ok()?,
            published_qos: parts.qos,
            published_retain: parts.retain,
            qos,
            retain,
        })
    }

    #[inline]
    fn put(self, shelf: &mut Shelf, parts: &MessageParts<'_>, ids: &SubscriptionIds) -> Spot {
        let texts = self.topic as usize + self.properties as usize + self.payload as usize;
        shelf.put(HEAD + 4 * self.ids as usize + texts, |out| {
            let expires_at = self.expires_at.map_or(u64::MAX, Time::as_millis);
            out.extend_from_slice(&expires_at.to_le_bytes());
            out.extend_from_slice(&self.group.map_or(u64::MAX, u64::from).to_le_bytes());
            for len in [self.ids, self.topic, self.properties, self.payload] {
                out.extend_from_slice(&len.to_le_bytes());
            }
            for qos in [self.published_qos, self.qos] {
                out.push(qos as u8);
            }
            for retain in [self.published_retain, self.retain] {
                out.push(u8::from(retain));
            }
            for id in ids.as_deref().unwrap_or_default() {
                out.extend_from_slice(&id.to_le_bytes());
            }
            out.extend_from_slice(parts.topic.as_bytes());
            out.extend_from_slice(parts.properties.as_bytes());
            out.extend_from_slice(parts.payload);
        })
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let [expires_at, group] = [take(bytes)?, take(bytes)?].map(u64::from_le_bytes);
        let mut len = || take(bytes).map(u16::from_le_bytes);
        let [ids, topic, properties, payload] = [len()?, len()?, len()?, len()?];
        let [published_qos, qos, published_retain, retain] = take(bytes)?;
        Some(Self {
            expires_at: (expires_at != u64::MAX).then(|| Time::from_millis(expires_at)),
            group: u32::try_from(group).ok(),
            ids,
            topic,
            properties,
            payload,
            published_qos: QoS::from_bits(published_qos)?,
            published_retain: published_retain != 0,
            qos: QoS::from_bits(qos)?,
            retain: retain != 0,
        })
    }
}

/// Reads what [`Head::put`] has written.
fn read(mut bytes: &[u8]) -> Option<Delivery> {
    let head = Head::read(&mut bytes)?;
    let ids: Option<Vec<u32>> =
        (0..head.ids).map(|_| take(&mut bytes).map(u32::from_le_bytes)).collect();
    let mut text = |len: u16| bytes.split_off(..usize::from(len));
    let (topic, properties) = (text(head.topic)?, text(head.properties)?);
    let properties: PropertiesBuf =
        Properties::checked(properties, PropertySet::default()).iter().collect();
    let message = Message::new(&MessageParts {
        topic: str::from_utf8(topic).ok()?,
        payload: text(head.payload)?,
        properties: properties.view(),
        qos: head.published_qos,
        retain: head.published_retain,
        expires_at: head.expires_at,
    });
    let ids = ids.filter(|ids| !ids.is_empty()).map(Into::into);
    let Head { qos, retain, group, .. } = head;
    Some(Delivery { message, qos, retain, ids, group, ordinal: 0 })
}

fn take<const LEN: usize>(bytes: &mut &[u8]) -> Option<[u8; LEN]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Slots that an idle window may keep.
pub(crate) const IDLE_SLOTS: usize = 128;
/// Bytes of its shelf that it may.
const IDLE_BYTES: usize = 4 << 10;
/// Bytes of a head.
const HEAD: usize = 8 + 8 + 4 * 2 + 4;

#[cfg(test)]
mod tests {
    use agentmq_codec::Property;
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
