//! Routes of topics seen before.

use std::collections::HashMap;
use std::rc::Rc;

use crate::route::Route;
use crate::subscriptions::{Generation, Subscriptions};

/// Topic → route, valid while the generation of the subscriptions that concern the topic stands.
/// Bounded: a full cache is emptied, which costs each topic one walk of the trie.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    routes: HashMap<Box<str>, Cached, foldhash::quality::RandomState>,
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
        if self.routes.len() >= bound {
            self.routes.clear();
        }
        let generation = subscriptions.generation(topic);
        self.routes.insert(topic.into(), Cached { generation, route: Rc::clone(&route) });
        route
    }
}
