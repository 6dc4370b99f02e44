//! Routes of topics seen before.

use std::collections::HashMap;
use std::rc::Rc;

use crate::route::Route;
use crate::subscriptions::{Generation, Subscriptions};

/// Topic → route, valid while the generation of the subscriptions that concern the topic stands.
/// Bounded by topics and by the receivers of all of them: a full cache is emptied, which costs each
/// topic one walk of the trie.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    routes: HashMap<Box<str>, Cached, foldhash::quality::RandomState>,
    /// Receivers of all routes.
    receivers: usize,
}

#[derive(Debug)]
struct Cached {
    generation: Generation,
    route: Rc<Route>,
}

impl RouteCache {
    /// The route of a topic that was resolved before and still holds.
    pub(crate) fn get(&self, topic: &str, subscriptions: &Subscriptions) -> Option<Rc<Route>> {
        let cached = self.routes.get(topic)?;
        let holds = cached.generation == subscriptions.generation(topic);
        holds.then(|| Rc::clone(&cached.route))
    }

    /// Resolves the route of a topic and remembers it.
    pub(crate) fn resolve(
        &mut self,
        topic: &str,
        subscriptions: &Subscriptions,
        bound: usize,
    ) -> Rc<Route> {
        let route = Rc::new(Route::resolve(subscriptions, topic));
        let count = route.receivers.len() + route.groups.len();
        if self.routes.len() >= bound || self.receivers + count > bound * RECEIVERS_PER_TOPIC {
            self.routes.clear();
            self.receivers = 0;
        }
        self.receivers += count;
        let generation = subscriptions.generation(topic);
        let cached = Cached { generation, route: Rc::clone(&route) };
        if let Some(Cached { route, .. }) = self.routes.insert(topic.into(), cached) {
            self.receivers -= route.receivers.len() + route.groups.len();
        }
        route
    }
}

/// Receivers that a topic may have on average before the cache counts as full. Without it, a few
/// thousand subscriptions to `#` times all topics would fill the memory.
const RECEIVERS_PER_TOPIC: usize = 16;
