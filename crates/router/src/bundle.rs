//! Many small messages for one shard, as one piece of mail.
//!
//! A message alone would be allocated by the sender's thread, in four pieces, and freed by the
//! receiver's, and both would count its references. Here a turn's messages for a place lie behind
//! each other in three buffers, and the receiver reads them as it reads packets: where they lie. It
//! makes a message of its own of those that somebody must wait for.

use std::rc::Rc;
use std::sync::Arc;

use agentmq_codec::{Properties, PropertySet, QoS};
use agentmq_session::{Arrival, REFERENCE_FROM, Time};

use crate::fan_out::Source;
use crate::places::Place;
use crate::remote_member::SessionName;
use crate::route::Route;
use crate::router::Router;

/// Messages in the order in which they were accepted.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    items: Vec<Item>,
    /// Their topics, behind each other; what comes from one publisher often has one topic, which
    /// then stands here once.
    topics: String,
    /// The properties and payloads of all, behind each other.
    bytes: Vec<u8>,
    /// The groups that items are for.
    groups: Vec<Arc<str>>,
    /// The QoS 2 PUBLISHes that brought items, where these must survive a crash: by item.
    exchanges: Vec<(usize, Arrival)>,
    /// How far items and bytes have been read.
    read: (usize, usize),
}

#[derive(Debug, Clone, Copy)]
struct Item {
    topic: Span,
    properties_len: usize,
    payload_len: usize,
    properties: PropertySet,
    qos: QoS,
    retain: bool,
    expires_at: Option<Time>,
    receiver: Receiver,
}

/// How much a bundle holds, of each kind. The next one probably holds as much, and one that grows
/// step by step is copied at each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    items: usize,
    topics: usize,
    bytes: usize,
}

/// Where in the topics one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: usize,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Receiver {
    /// Whoever has subscribed to its topic.
    Matching,
    /// The member that the home of a shared group has chosen.
    Member { group: usize, member: Chosen },
}

/// A member of a shared group as its home chose it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) session: SessionName,
    /// The home believes that the client is here; if not, others may be.
    pub(crate) expects_client: bool,
}

/// The member that a message is for, or `None` for whoever has subscribed.
type Addressee<'b> = Option<(&'b Arc<str>, Chosen)>;

/// Whether a message goes by bundle: a larger payload is referenced instead of copied.
pub(crate) fn is_small(source: &Source<'_>) -> bool {
    source.payload.len() < REFERENCE_FROM
}

impl Bundle {
    /// Appends a message for whoever has subscribed to its topic.
    pub(crate) fn push(&mut self, source: &Source<'_>) {
        self.append(source, Receiver::Matching);
    }

    /// Appends a message for a member of a shared group.
    pub(crate) fn push_for(&mut self, source: &Source<'_>, group: &Arc<str>, member: Chosen) {
        if !self.groups.last().is_some_and(|last| Arc::ptr_eq(last, group)) {
            self.groups.push(Arc::clone(group));
        }
        self.append(source, Receiver::Member { group: self.groups.len() - 1, member });
    }

    /// An empty one.
    pub(crate) fn with_room(room: Room) -> Self {
        Self {
            items: Vec::with_capacity(room.items),
            topics: String::with_capacity(room.topics),
            bytes: Vec::with_capacity(room.bytes),
            ..Self::default()
        }
    }

    /// What it has needed.
    pub(crate) fn room(&self) -> Room {
        Room { items: self.items.len(), topics: self.topics.len(), bytes: self.bytes.len() }
    }

    fn append(&mut self, source: &Source<'_>, receiver: Receiver) {
        let last = self.items.last().map(|item| item.topic);
        let same = last.filter(|last| self.topic(*last) == Some(source.topic));
        let topic = same.unwrap_or_else(|| {
            let at = self.topics.len();
            self.topics.push_str(source.topic);
            Span { at, len: source.topic.len() }
        });
        if let Some(exchange) = source.arrived {
            self.exchanges.push((self.items.len(), exchange));
        }
        let properties = source.properties.as_bytes();
        self.items.push(Item {
            topic,
            properties_len: properties.len(),
            payload_len: source.payload.len(),
            properties: source.properties.present(),
            qos: source.qos,
            retain: source.retain,
            expires_at: source.expiry.map(|secs| source.now.after_secs(secs)),
            receiver,
        });
        self.bytes.extend_from_slice(properties);
        self.bytes.extend_from_slice(source.payload);
    }

    fn topic(&self, span: Span) -> Option<&str> {
        self.topics.get(span.at..span.at + span.len)
    }

    /// Whether it has grown enough to go as it is.
    pub(crate) fn is_full(&self) -> bool {
        self.size() >= FULL
    }

    /// Bytes that it keeps from being freed.
    pub(crate) fn size(&self) -> usize {
        let groups = self.groups.len() * size_of::<Arc<str>>();
        let exchanges = self.exchanges.len() * size_of::<(usize, Arrival)>();
        let items = self.items.len() * size_of::<Item>();
        items + self.topics.len() + self.bytes.len() + groups + exchanges
    }

    fn exchange(&self, item: usize) -> Option<Arrival> {
        let at = self.exchanges.binary_search_by_key(&item, |(item, _)| *item).ok()?;
        self.exchanges.get(at).map(|(_, exchange)| *exchange)
    }

    /// The next message and whom it is for. It counts as read from then on, whatever becomes of
    /// it.
    fn next(&mut self, now: Time) -> Option<(Source<'_>, Span, Addressee<'_>)> {
        let (index, at) = self.read;
        let item = *self.items.get(index)?;
        let payload_at = at + item.properties_len;
        let end = payload_at + item.payload_len;
        self.read = (index + 1, end);
        let properties = self.bytes.get(at..payload_at)?;
        let source = Source {
            topic: self.topic(item.topic)?,
            payload: self.bytes.get(payload_at..end)?,
            properties: Properties::checked(properties, item.properties),
            qos: item.qos,
            retain: item.retain,
            expiry: item.expires_at.map(|at| at.secs_from(now)),
            publisher: None,
            publisher_id: None,
            now,
            shared: None,
            is_for_one: false,
            is_tool_call: false,
            arrived: self.exchange(index),
            will: None,
            author: None,
        };
        let member = match item.receiver {
            Receiver::Matching => None,
            Receiver::Member { group, member } => Some((self.groups.get(group)?, member)),
        };
        Some((source, item.topic, member))
    }
}

impl Router {
    /// Delivers what is left of a bundle from another shard. After a panic it can be called again,
    /// and goes on with the message behind the one on which that happened.
    pub fn receive_bundle(&mut self, from: Place, bundle: &mut Bundle, now: Time) {
        if bundle.read == (0, 0) {
            self.mail_gate.count_piece(from);
        }
        // Nothing that is done here changes a subscription.
        let mut latest: Option<(Span, Rc<Route>)> = None;
        while let Some((mut source, span, member)) = bundle.next(now) {
            self.handle_mail(from, |router| match member {
                None => {
                    let same = latest.take().filter(|(topic, _)| *topic == span);
                    latest = same.or_else(|| Some((span, router.route(source.topic).ok()?)));
                    if let Some((_, route)) = &latest {
                        router.fan_out(&mut source, route);
                        router.record_message(&source, false);
                    }
                }
                Some((group, member)) => router.deliver_away(from, group, member, &mut source),
            });
        }
    }
}

/// Bytes from which on a bundle takes no more, so that the bound of a mailbox holds.
const FULL: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use agentmq_codec::{PropertiesBuf, Property, PropertyId};

    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let now = Time::default().after_secs(100);
        let none = PropertiesBuf::new();
        let some = PropertiesBuf::new().with(Property::Pair("naïve", "é"));
        let source = |topic, payload, properties, expiry| Source {
            topic,
            payload,
            properties,
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry,
            publisher: Some(7),
            publisher_id: None,
            now,
            shared: None,
            is_for_one: false,
            is_tool_call: false,
            arrived: None,
            will: None,
            author: None,
        };
        let session = SessionName { index: 3, generation: 4 };
        let chosen = Chosen { session, expects_client: true };
        let group: Arc<str> = "$share/g/é".into();
        let mut bundle = Bundle::default();
        bundle.push(&source("a/é", b"one", some.view(), Some(9)));
        bundle.push_for(&source("b", b"", none.view(), None), &group, chosen);
        bundle.push_for(&source("b", b"three", none.view(), None), &group, chosen);
        bundle.push(&source("c", b"four", none.view(), None));
        assert_eq!((bundle.groups.len(), &*bundle.topics), (1, "a/ébc"));

        let (first, _, member) = bundle.next(now.after_secs(2)).unwrap();
        assert_eq!((first.topic, first.payload, first.expiry), ("a/é", &b"one"[..], Some(7)));
        assert_eq!((first.qos, first.retain), (QoS::AtLeastOnce, true));
        assert!(first.properties == some.view() && first.publisher.is_none() && member.is_none());
        assert!(first.properties.has(PropertyId::UserProperty));
        let (second, _, member) = bundle.next(now).unwrap();
        assert_eq!((second.topic, second.payload), ("b", &b""[..]));
        let (text, member) = member.unwrap();
        assert!(**text == *group && member.session == session && member.expects_client);
        for (topic, payload) in [("b", &b"three"[..]), ("c", b"four")] {
            let (source, ..) = bundle.next(now).unwrap();
            assert_eq!((source.topic, source.payload), (topic, payload));
        }
        assert!(bundle.next(now).is_none());
    }

    #[test]
    fn a_bundle_fills() {
        let now = Time::default();
        let mut bundle = Bundle::default();
        let message = agentmq_session::Message::plain("t", &[0; 1000], QoS::AtMostOnce, false);

        let mut pushed = 0;
        while !bundle.is_full() {
            bundle.push(&Source::of(&message, now));
            pushed += 1;
        }
        assert!((60..=66).contains(&pushed), "{pushed}");
    }
}
