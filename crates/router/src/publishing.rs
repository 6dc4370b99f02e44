//! One message on its way, whoever publishes it: retained, to its receivers, to the other shards.

use agentmq_codec::{QoS, ReasonCode};
use agentmq_session::{Message, Time};

use crate::mail::{Mail, Stamp};
use crate::places::Place;
use crate::retained::RetainedBound;
use crate::route::Route;
use crate::router::Router;
use crate::source::Source;

impl Router {
    /// Publishes a message of the broker's own.
    pub(crate) fn publish_message(&mut self, message: Message, now: Time) {
        if let Ok(route) = self.route(message.topic()) {
            self.publish(&mut Source::of(&message, now), &route);
        }
    }

    /// Retains and fans out one message, here and to the other shards that want it.
    pub(crate) fn publish(&mut self, source: &mut Source<'_>, route: &Route) -> ReasonCode {
        let mut reason = ReasonCode::NoMatchingSubscribers;
        let mut stamp = None;
        if source.retain && !self.cannot_keep(QoS::AtLeastOnce, true, route) {
            stamp = self.retain(source);
            if stamp.is_none() {
                reason = ReasonCode::QuotaExceeded;
            }
        }
        let mut taken = false;
        let posted = self.posted_by(|router| {
            taken = router.fan_out(source, route);
            router.post_publish(source, route, stamp);
            taken |= !route.places.is_empty();
            router.record_message(source, stamp.is_some());
        });
        self.record_whole(source, posted);
        if taken && reason == ReasonCode::NoMatchingSubscribers {
            reason = ReasonCode::Success;
        }
        reason
    }

    /// Stores a message as its topic's retained one, if there is room for it.
    fn retain(&mut self, source: &mut Source<'_>) -> Option<Stamp> {
        let limits = &self.settings.limits;
        let bound = RetainedBound {
            messages: limits.retained_messages as usize,
            bytes: limits.retained_bytes,
        };
        let (now, publisher, author) = (source.now, source.publisher, source.author.clone());
        let message = source.message();
        let stamp = self.peers.stamp();
        let has_room = self.retained.has_room(message, bound);
        if !has_room || !self.may_retain(publisher, message, stamp) {
            self.counters.retained_refused += 1;
            // Better none than one that has been replaced [MQTT-3.3.1-5].
            let clearing = Message::plain(source.topic, b"", QoS::AtMostOnce, true);
            self.clear_retained(clearing, stamp, now);
            return None;
        }
        if self.peers.is_alone() {
            self.retained.store(message, stamp, author);
        } else {
            self.retained.replicate(message, stamp, author, now);
        }
        Some(stamp)
    }

    /// Takes a topic's retained message away, here and on the other shards.
    fn clear_retained(&mut self, clearing: Message, stamp: Stamp, now: Time) {
        self.record_clearing(clearing.topic());
        self.quotas.retained.forget(clearing.topic(), stamp);
        if self.peers.is_alone() {
            return self.retained.store(&clearing, stamp, None);
        }
        self.retained.replicate(&clearing, stamp, None, now);
        if self.peers.own != Place(0) {
            self.must_keep(Place(0), QoS::AtLeastOnce); // which records it
        }
        self.peers.post_all(|| Mail::Clear(clearing.clone(), stamp));
    }
}
