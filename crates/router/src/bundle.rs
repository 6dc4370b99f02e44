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

use crate::places::Place;
use crate::remote_member::SessionName;
use crate::route::Route;
use crate::router::Router;
use crate::source::Source;

/// Messages in the order in which they were accepted.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    items: Vec<Item>,
    /// Their topics, behind each other; what comes from one publisher often has one topic, which
    /// then stands here once.
    topics: String,
    /// The properties and payloads of all, behind each other.
    bytes: Vec<u8>,
    /// What is to be said of some items beside that, in their order.
    more: Vec<More>,
    /// Whom items are for that are not for whoever has subscribed, in their order.
    members: Vec<Member>,
    /// The groups of these.
    groups: Vec<Arc<str>>,
    /// How much has been read.
    read: Read,
}

/// What is to be said of each message. It is small, because one core writes it and another reads
/// it, and moving it from one to the other is what costs.
#[derive(Debug, Clone, Copy)]
struct Item {
    topic: Span,
    payload_len: u32,
    qos: QoS,
    retain: bool,
    /// There is [`More`] to say.
    has_more: bool,
    /// It is for a [`Member`].
    has_member: bool,
}

/// What most messages do not have.
#[derive(Debug, Clone, Copy)]
struct More {
    properties: PropertySet,
    properties_len: usize,
    expires_at: Option<Time>,
    /// The QoS 2 PUBLISH that brought it, where that must survive a crash.
    exchange: Option<Arrival>,
}

/// A place in a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Read {
    items: usize,
    bytes: usize,
    more: usize,
    members: usize,
}

/// How much a bundle holds, of each kind. The next one probably holds as much, and one that grows
/// step by step is copied at each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    items: usize,
    topics: usize,
    bytes: usize,
    more: usize,
    members: usize,
}

/// Where in the topics one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: u32,
    len: u32,
}

/// The member that the home of a shared group has chosen.
#[derive(Debug, Clone, Copy)]
struct Member {
    group: u32,
    chosen: Chosen,
}

/// A member of a shared group as its home chose it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) session: SessionName,
    /// The home believes that the client is here; if not, others may be.
    pub(crate) expects_client: bool,
}

/// Whether a message goes by bundle: a larger payload is referenced instead of copied.
pub(crate) fn is_small(source: &Source<'_>) -> bool {
    source.payload.len() < REFERENCE_FROM
}

impl Bundle {
    /// Appends a message for whoever has subscribed to its topic.
    pub(crate) fn push(&mut self, source: &Source<'_>) {
        self.append(source, false);
    }

    /// Appends a message for a member of a shared group.
    pub(crate) fn push_for(&mut self, source: &Source<'_>, group: &Arc<str>, member: Chosen) {
        if !self.groups.last().is_some_and(|last| Arc::ptr_eq(last, group)) {
            self.groups.push(Arc::clone(group));
        }
        self.members.push(Member { group: self.groups.len() as u32 - 1, chosen: member });
        self.append(source, true);
    }

    /// An empty one.
    pub(crate) fn with_room(room: Room) -> Self {
        Self {
            items: Vec::with_capacity(room.items),
            topics: String::with_capacity(room.topics),
            bytes: Vec::with_capacity(room.bytes),
            more: Vec::with_capacity(room.more),
            members: Vec::with_capacity(room.members),
            ..Self::default()
        }
    }

    /// What it has needed.
    pub(crate) fn room(&self) -> Room {
        Room {
            items: self.items.len(),
            topics: self.topics.len(),
            bytes: self.bytes.len(),
            more: self.more.len(),
            members: self.members.len(),
        }
    }

    fn append(&mut self, source: &Source<'_>, has_member: bool) {
        let last = self.items.last().map(|item| item.topic);
        let same = last.filter(|last| self.topic(*last) == Some(source.topic));
        let topic = same.unwrap_or_else(|| {
            let (at, len) = (self.topics.len() as u32, source.topic.len() as u32);
            self.topics.push_str(source.topic);
            Span { at, len }
        });
        let properties = source.properties.as_bytes();
        let exchange = source.arrived;
        let expires_at = source.expiry.map(|secs| source.now.after_secs(secs));
        let has_more = !properties.is_empty() || expires_at.is_some() || exchange.is_some();
        if has_more {
            let (properties_len, properties) = (properties.len(), source.properties.present());
            self.more.push(More { properties, properties_len, expires_at, exchange });
        }
        let payload_len = source.payload.len() as u32; // a packet has less than 256 MiB
        let (qos, retain) = (source.qos, source.retain);
        self.items.push(Item { topic, payload_len, qos, retain, has_more, has_member });
        self.bytes.extend_from_slice(properties);
        self.bytes.extend_from_slice(source.payload);
    }

    fn topic(&self, span: Span) -> Option<&str> {
        let (at, len) = (span.at as usize, span.len as usize);
        self.topics.get(at..at + len)
    }

    /// Whether it has grown enough to go as it is.
    pub(crate) fn is_full(&self) -> bool {
        self.size() >= FULL
    }

    /// Bytes that it keeps from being freed.
    pub(crate) fn size(&self) -> usize {
        let groups = self.groups.len() * size_of::<Arc<str>>();
        let members = self.members.len() * size_of::<Member>();
        let more = self.more.len() * size_of::<More>();
        let items = self.items.len() * size_of::<Item>();
        items + self.topics.len() + self.bytes.len() + groups + members + more
    }

    /// What is said of the next message, and where the rest of it is. It counts as read from then
    /// on, whatever becomes of it.
    fn next(&mut self) -> Option<(Item, Read)> {
        let at = self.read;
        let item = *self.items.get(at.items)?;
        let properties_len = self.more(item, at).map_or(0, |more| more.properties_len);
        self.read.items += 1;
        self.read.bytes += properties_len + item.payload_len as usize;
        self.read.more += usize::from(item.has_more);
        self.read.members += usize::from(item.has_member);
        Some((item, at))
    }

    /// The message, put together where it is used ([`Source::new`]).
    #[inline(always)]
    fn source(&self, item: Item, at: Read, now: Time) -> Source<'_> {
        let more = self.more(item, at);
        let payload_at = at.bytes + more.map_or(0, |more| more.properties_len);
        let end = payload_at + item.payload_len as usize;
        let properties = self.bytes.get(at.bytes..payload_at).unwrap_or_default();
        let present = more.map_or(Properties::EMPTY.present(), |more| more.properties);
        let properties = Properties::checked(properties, present);
        let payload = self.bytes.get(payload_at..end).unwrap_or_default();
        Source {
            qos: item.qos,
            retain: item.retain,
            expiry: more.and_then(|more| more.expires_at).map(|at| at.secs_from(now)),
            arrived: more.and_then(|more| more.exchange),
            ..Source::new(self.topic(item.topic).unwrap_or_default(), payload, properties, now)
        }
    }

    /// The member that a message is for; `None` where it is for whoever has subscribed.
    fn member(&self, item: Item, at: Read) -> Option<Member> {
        if item.has_member { self.members.get(at.members).copied() } else { None }
    }

    fn more(&self, item: Item, at: Read) -> Option<&More> {
        if item.has_more { self.more.get(at.more) } else { None }
    }
}

impl Router {
    /// Delivers what is left of a bundle from another shard. After a panic it can be called again,
    /// and goes on with the message behind the one on which that happened.
    pub fn receive_bundle(&mut self, from: Place, bundle: &mut Bundle, now: Time) {
        if bundle.read == Read::default() {
            self.mail_gate.count_piece(from);
        }
        // Nothing that is done here changes a subscription: what was found for the message before
        // is so for the next one with the same topic, or of the same group.
        let mut latest: Option<(Span, Rc<Route>)> = None;
        let mut latest_group: Option<(u32, Option<u32>)> = None;
        while let Some((item, at)) = bundle.next() {
            self.handle_mail(from, |router| {
                let mut source = bundle.source(item, at, now);
                if let Some(Member { group, chosen }) = bundle.member(item, at) {
                    let Some(text) = bundle.groups.get(group as usize) else { return };
                    let same = latest_group.filter(|(latest, _)| *latest == group);
                    let (_, number) =
                        same.unwrap_or_else(|| (group, router.away_groups.find(text)));
                    latest_group = Some((group, number));
                    return router.deliver_away(from, (text, number), chosen, &mut source);
                }
                if latest.as_ref().is_none_or(|(topic, _)| *topic != item.topic) {
                    let route = router.route(source.topic).ok();
                    latest = route.map(|route| (item.topic, route));
                }
                if let Some((_, route)) = &latest {
                    router.fan_out(&mut source, route);
                    router.record_message(&source, false);
                }
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
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry,
            publisher: Some(7),
            ..Source::new(topic, payload, properties, now)
        };
        let session = SessionName { index: 3, generation: 4 };
        let chosen = Chosen { session, expects_client: true };
        let group: Arc<str> = "$share/g/é".into();
        let mut bundle = Bundle::default();
        bundle.push(&source("a/é", b"one", some.view(), Some(9)));
        bundle.push_for(&source("b", b"", none.view(), None), &group, chosen);
        bundle.push_for(&source("b", b"three", none.view(), None), &group, chosen);
        bundle.push(&source("c", b"four", none.view(), None));
        bundle.push(&source("c", b"five", some.view(), Some(1)));
        assert_eq!((bundle.groups.len(), &*bundle.topics), (1, "a/ébc"));

        let (first, member) = next(&mut bundle, now.after_secs(2));
        assert_eq!((first.topic, first.payload, first.expiry), ("a/é", &b"one"[..], Some(7)));
        assert_eq!((first.qos, first.retain), (QoS::AtLeastOnce, true));
        assert!(first.properties == some.view() && first.publisher.is_none() && member.is_none());
        assert!(first.properties.has(PropertyId::UserProperty));
        let (second, member) = next(&mut bundle, now);
        assert_eq!((second.topic, second.payload), ("b", &b""[..]));
        let (text, member) = member.unwrap();
        assert!(**text == *group && member.session == session && member.expects_client);
        for (topic, payload) in [("b", &b"three"[..]), ("c", b"four")] {
            let (source, _) = next(&mut bundle, now);
            assert_eq!((source.topic, source.payload, source.expiry), (topic, payload, None));
            assert!(source.properties.is_empty());
        }
        let (last, _) = next(&mut bundle, now);
        assert_eq!((last.topic, last.payload, last.expiry), ("c", &b"five"[..], Some(1)));
        assert!(last.properties == some.view());
        assert!(bundle.next().is_none());
        assert_eq!(size_of::<Item>(), 16);
    }

    /// The next message, which is there, and the group and member that it is for.
    fn next(bundle: &mut Bundle, now: Time) -> (Source<'_>, Option<(&Arc<str>, Chosen)>) {
        let (item, at) = bundle.next().unwrap();
        let member = bundle.member(item, at);
        let member = member.map(|it| (&bundle.groups[it.group as usize], it.chosen));
        (bundle.source(item, at, now), member)
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
