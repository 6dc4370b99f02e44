//! Routes of topics seen before.

use std::hash::BuildHasher;
use std::rc::Rc;

use crate::route::{Route, Traits};
use crate::subscriptions::Subscriptions;

/// Topic → route, valid while the generation of the subscriptions that concern the topic stands.
///
/// A table of sets: a topic's hash names its set, and a new topic takes the place of another one of
/// a full set. So the table is bounded, finding a place costs the same however many topics there
/// are, nothing is ever emptied at once, and topics made to collide push out each other only.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    /// A power of two of them, or none.
    sets: Vec<Set>,
    /// Routes in all sets.
    len: usize,
    /// Receivers of all routes.
    receivers: usize,
    /// The place that makes room next, in whichever set.
    hand: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct Set {
    /// The other half of each topic's hash, so that other topics are not looked at.
    tags: [u32; WAYS],
    routes: [Option<Rc<Route>>; WAYS],
}

impl RouteCache {
    /// The route of a topic that was resolved before and still holds.
    pub(crate) fn get(&self, topic: &str, subscriptions: &Subscriptions) -> Option<Rc<Route>> {
        let (at, tag) = self.place(topic);
        let set = self.sets.get(at)?;
        let route = set.routes[set.way_of(topic, tag)?].as_ref()?;
        subscriptions.is_current(route.generation).then(|| Rc::clone(route))
    }

    /// Resolves the route of a topic and remembers it. `bound` is the number of topics to
    /// remember, about [`RECEIVERS_PER_TOPIC`] times as many receivers among them.
    pub(crate) fn resolve(
        &mut self,
        topic: &str,
        subscriptions: &Subscriptions,
        bound: usize,
        traits: Traits,
    ) -> Rc<Route> {
        let route = Rc::new(Route::resolve(subscriptions, topic, traits));
        let receivers = bound.saturating_mul(RECEIVERS_PER_TOPIC);
        if route.size() <= receivers {
            self.resize(bound);
            self.put(Rc::clone(&route));
            self.keep_receivers(receivers);
        }
        route
    }

    fn place(&self, topic: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(topic.as_bytes());
        let mask = self.sets.len().wrapping_sub(1);
        (hash as usize & mask, (hash >> 32) as u32)
    }

    fn put(&mut self, route: Rc<Route>) {
        let (at, tag) = self.place(&route.topic);
        let hand = self.hand;
        let Some(set) = self.sets.get_mut(at) else { return };
        let free = || set.routes.iter().position(Option::is_none);
        let way = set.way_of(&route.topic, tag).or_else(free).unwrap_or(hand % WAYS);
        self.receivers += route.size();
        set.tags[way] = tag;
        match set.routes[way].replace(route) {
            None => self.len += 1,
            Some(old) => {
                self.receivers -= old.size();
                self.hand = hand.wrapping_add(1);
            }
        }
    }

    /// Doubles the table when half of it is in use and `bound` allows it.
    fn resize(&mut self, bound: usize) {
        let most = (bound.div_ceil(WAYS)).next_power_of_two();
        let count = self.sets.len();
        if count > most {
            *self = Self::default(); // the bound was lowered
        } else if count == most || (count > 0 && self.len < count * WAYS / 2) {
            return;
        }
        let more = (self.sets.len() * 2).max(1);
        let old = std::mem::take(&mut self.sets);
        self.sets.resize_with(more, Set::default);
        (self.len, self.receivers) = (0, 0);
        for route in old.into_iter().flat_map(|set| set.routes).flatten() {
            self.put(route);
        }
    }

    /// Without this bound a few thousand subscriptions to `#` times all topics would fill the
    /// memory.
    fn keep_receivers(&mut self, bound: usize) {
        while self.receivers > bound {
            let at = self.hand % self.sets.len().max(1);
            self.hand = self.hand.wrapping_add(1);
            let Some(set) = self.sets.get_mut(at) else { return };
            for route in set.routes.iter_mut().filter_map(Option::take) {
                self.receivers -= route.size();
                self.len -= 1;
            }
        }
    }
}

impl Set {
    fn way_of(&self, topic: &str, tag: u32) -> Option<usize> {
        let is_it = |way: &usize| {
            self.tags[*way] == tag
                && self.routes[*way].as_ref().is_some_and(|route| *route.topic == *topic)
        };
        (0..WAYS).find(is_it)
    }
}

/// Topics in one set.
const WAYS: usize = 8;
/// Receivers that a topic may have on average before others make room.
const RECEIVERS_PER_TOPIC: usize = 16;

#[cfg(test)]
mod tests {
    use agentmq_codec::SubscriptionOptions;

    use super::*;
    use crate::subscribers::Subscriber;

    fn subscriptions(count: u32) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        for session in 0..count {
            let options = SubscriptionOptions::default();
            subscriptions.insert("#", Subscriber { session, options, id: 0, is_kept: false });
        }
        subscriptions
    }

    fn counted(cache: &RouteCache) -> (usize, usize) {
        let routes = || cache.sets.iter().flat_map(|set| set.routes.iter().flatten());
        (routes().count(), routes().map(|route| route.size()).sum())
    }

    #[test]
    fn remembers_about_as_many_topics_as_it_may_and_finds_each_newest() {
        let (subscriptions, bound) = (subscriptions(1), 1024);
        let mut cache = RouteCache::default();
        for number in 0..10_000 {
            let topic = format!("t/{number}");
            cache.resolve(&topic, &subscriptions, bound, Traits::default());
            let found = cache.get(&topic, &subscriptions).expect("was just resolved");
            assert_eq!(&*found.topic, topic);
        }
        assert_eq!(counted(&cache), (cache.len, cache.receivers));
        assert_eq!(cache.len, bound, "full, and no more");
    }

    #[test]
    fn few_topics_are_all_remembered() {
        let (subscriptions, bound) = (subscriptions(1), 1024);
        let mut cache = RouteCache::default();
        let topics: Vec<_> = (0..256).map(|number| format!("t/{number}")).collect();
        for topic in &topics {
            cache.resolve(topic, &subscriptions, bound, Traits::default());
        }
        let found = topics.iter().filter(|topic| cache.get(topic, &subscriptions).is_some());
        assert!(found.count() >= 240, "a set that is full by chance forgets one");
    }

    #[test]
    fn receivers_are_bounded_too() {
        let (subscriptions, bound) = (subscriptions(100), 64);
        let mut cache = RouteCache::default();
        for number in 0..1_000 {
            let route =
                cache.resolve(&format!("t/{number}"), &subscriptions, bound, Traits::default());
            assert_eq!(route.size(), 100);
            assert!(cache.receivers <= bound * RECEIVERS_PER_TOPIC);
        }
        assert_eq!(counted(&cache), (cache.len, cache.receivers));
    }

    #[test]
    fn a_changed_subscription_makes_a_route_stale() {
        let mut subscriptions = subscriptions(1);
        let mut cache = RouteCache::default();
        cache.resolve("a/b", &subscriptions, 64, Traits::default());
        subscriptions.remove("#", 0);
        assert!(cache.get("a/b", &subscriptions).is_none());
        assert_eq!(cache.resolve("a/b", &subscriptions, 64, Traits::default()).size(), 0);
        assert_eq!((cache.len, cache.receivers), (1, 0), "took the stale one's place");
    }

    #[test]
    fn a_lower_bound_begins_anew() {
        let subscriptions = subscriptions(1);
        let mut cache = RouteCache::default();
        for number in 0..1_000 {
            cache.resolve(&format!("t/{number}"), &subscriptions, 4096, Traits::default());
        }
        cache.resolve("a", &subscriptions, 1, Traits::default());
        assert_eq!(counted(&cache), (1, 1));
        assert!(cache.get("a", &subscriptions).is_some());
    }
}
