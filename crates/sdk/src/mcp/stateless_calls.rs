//! Who has which request of a client that has no sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use agentmq_agents::mcp::{Instance, service};
use bytes::Bytes;
use rmcp::model::RequestId;

use super::call::Limit;
use super::{Directory, TAKEN_BACK};
use crate::TraceContext;

/// The requests to the instances of one server that have no answer yet. Bounded by those who make
/// them; what was taken back is bounded by [`TAKEN_BACK`].
#[derive(Debug)]
pub(crate) struct StatelessCalls {
    name: Arc<str>,
    /// The one instance that is asked, if it is to be that one.
    only: Option<Arc<str>>,
    open: HashMap<RequestId, Open>,
    /// Taken back before it was known who has them, with the word for who has them.
    taken_back: VecDeque<(RequestId, Vec<u8>)>,
    any: AnyInstance,
    /// Among equals, each in turn.
    turn: usize,
}

/// They are the transport's, and of whoever hears that an instance has gone.
pub(crate) type SharedCalls = Arc<Mutex<StatelessCalls>>;

/// What is known of a request.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    /// Who has it, if that is known.
    taker: Option<Arc<str>>,
    pub(crate) request: Request,
}

/// A request as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) payload: Bytes,
    pub(crate) limit: Limit,
    pub(crate) trace: TraceContext,
    /// To do it twice is to do it once.
    pub(crate) is_repeatable: bool,
    /// It goes to an instance of our choice, since what comes of it comes from that one.
    pub(crate) is_bound: bool,
}

/// Whether the broker gives requests to any instance that has subscribed to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnyInstance {
    /// Nobody has tried.
    Untried,
    /// A request was answered.
    Works,
    /// None was: that costs a client nothing but the choice.
    Not,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// To this instance.
    To(Arc<str>),
    /// To any.
    Any,
}

impl StatelessCalls {
    pub(crate) fn new(name: &str, only: Option<&str>) -> Self {
        Self {
            name: name.into(),
            only: only.map(Into::into),
            open: HashMap::new(),
            taken_back: VecDeque::new(),
            any: AnyInstance::Untried,
            turn: 0,
        }
    }

    /// The server that is asked.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The topic of a way.
    pub(crate) fn topic(&self, way: &Way, client: &str) -> String {
        match way {
            Way::Any => service(client, &self.name),
            Way::To(id) => format!("$mcp-rpc/{client}/{id}/{}", self.name),
        }
    }

    /// Who may be asked.
    fn instances<'d>(&self, directory: &'d Directory) -> Vec<&'d Instance> {
        let all = directory.instances(&self.name).filter(|it| it.is_stateless());
        let all = all.map(|it| &it.instance);
        all.filter(|it| self.only.as_deref().is_none_or(|only| only == it.id())).collect()
    }

    /// Whether anybody may be asked.
    pub(crate) fn is_served(&self, directory: &Directory) -> bool {
        !self.instances(directory).is_empty()
    }

    /// Where a request goes that begins now; `None` when nobody is there.
    pub(crate) fn begin(
        &mut self,
        id: &RequestId,
        request: Request,
        directory: &Directory,
    ) -> Option<Way> {
        let several = self.instances(directory).len() > 1;
        let may_try = match self.any {
            AnyInstance::Works => true,
            // What is lost where the broker does not deliver it is asked again.
            AnyInstance::Untried => request.is_repeatable,
            AnyInstance::Not => false,
        };
        let way = if several && may_try && !request.is_bound && self.only.is_none() {
            Way::Any
        } else {
            Way::To(self.choose(directory, None)?)
        };
        let taker = match &way {
            Way::To(taker) => Some(taker.clone()),
            Way::Any => None,
        };
        self.open.insert(id.clone(), Open { taker, request });
        Some(way)
    }

    /// The instance with the fewest of our requests, but for one.
    fn choose(&mut self, directory: &Directory, but: Option<&str>) -> Option<Arc<str>> {
        let mut loads: Vec<(usize, &str)> = self
            .instances(directory)
            .into_iter()
            .filter(|it| but != Some(it.id()))
            .map(|it| (self.load(it.id()), it.id()))
            .collect();
        let least = loads.iter().map(|(load, _)| *load).min()?;
        loads.retain(|(load, _)| *load == least);
        self.turn = self.turn.wrapping_add(1);
        Some(loads[self.turn % loads.len()].1.into())
    }

    /// Listening is no work.
    fn load(&self, id: &str) -> usize {
        let work = self.open.values().filter(|it| !it.request.is_bound);
        work.filter(|it| it.taker.as_deref() == Some(id)).count()
    }

    /// Gives a request to another instance than the one that has it, or to one if it was anybody's.
    /// `None` when it is over or nobody else is there.
    pub(crate) fn turn_over(
        &mut self,
        id: &RequestId,
        directory: &Directory,
    ) -> Option<(Way, Request)> {
        let taker = self.open.get(id)?.taker.clone();
        let next = self.choose(directory, taker.as_deref())?;
        let open = self.open.get_mut(id)?;
        open.taker = Some(next.clone());
        Some((Way::To(next), open.request.clone()))
    }

    /// The broker does not give requests to any instance.
    pub(crate) fn any_does_not_work(&mut self) {
        if self.any != AnyInstance::Not {
            tracing::debug!(server = &*self.name, "instances are chosen: no broker does it");
        }
        self.any = AnyInstance::Not;
    }

    /// An instance answers a request; `false` when it is not the one that has it, or it is over.
    pub(crate) fn answered(&mut self, id: &RequestId, from: &str) -> bool {
        self.taken_back.retain(|(known, _)| known != id);
        let Some(open) = self.open.get(id) else { return false };
        match &open.taker {
            Some(taker) if **taker != *from => return false,
            Some(_) => {}
            None => self.any = AnyInstance::Works,
        }
        self.open.remove(id);
        true
    }

    /// An instance says that it has a request. If that was taken back, what it is to be told.
    pub(crate) fn taken(&mut self, id: &RequestId, from: &str) -> Option<Vec<u8>> {
        if let Some(open) = self.open.get_mut(id) {
            if open.taker.is_none() {
                open.taker = Some(from.into());
                self.any = AnyInstance::Works;
            }
            return None;
        }
        let place = self.taken_back.iter().position(|(known, _)| known == id)?;
        self.taken_back.remove(place).map(|(_, word)| word)
    }

    /// We take a request back; who is to be told, if that is known.
    pub(crate) fn take_back(&mut self, id: &RequestId, word: &[u8]) -> Option<Arc<str>> {
        let taker = self.open.remove(id)?.taker;
        if taker.is_none() {
            if self.taken_back.len() >= TAKEN_BACK {
                self.taken_back.pop_front();
            }
            self.taken_back.push_back((id.clone(), word.to_owned()));
        }
        taker
    }

    /// Nothing will come of a request.
    pub(crate) fn forget(&mut self, id: &RequestId) {
        self.open.remove(id);
    }

    /// Whether nobody knows who has it, if anybody.
    pub(crate) fn is_untaken(&self, id: &RequestId) -> bool {
        self.open.get(id).is_some_and(|it| it.taker.is_none())
    }

    /// The requests that went with an instance, and whether they may be done again.
    pub(crate) fn of(&self, taker: Option<&str>) -> Vec<(RequestId, bool)> {
        let its = self.open.iter().filter(|(_, it)| it.taker.as_deref() == taker);
        its.map(|(id, it)| (id.clone(), it.request.is_repeatable)).collect()
    }

    /// All that are open, and who is to be told of their end.
    pub(crate) fn end(&mut self) -> Vec<(RequestId, Arc<str>)> {
        let all = self.open.drain();
        all.filter_map(|(id, it)| Some((id, it.taker?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mcp::Online;

    fn directory(ids: &[&str]) -> Directory {
        let mut directory = Directory::default();
        for id in ids {
            let instance = Instance::new(id, "calc").unwrap();
            let meta = serde_json::json!({ "supportedVersions": ["2026-07-28"] });
            let online = Online { instance: instance.clone(), description: String::new(), meta };
            directory.heard(&instance, &online.encode());
        }
        directory
    }

    fn request(is_repeatable: bool) -> Request {
        let (limit, trace) = (Limit::new(Duration::from_secs(1)), TraceContext::default());
        Request { payload: Bytes::from_static(b"{}"), limit, trace, is_repeatable, is_bound: false }
    }

    fn id(number: i64) -> RequestId {
        RequestId::Number(number)
    }

    #[test]
    fn the_broker_chooses_where_it_has_shown_that_it_does() {
        let mut calls = StatelessCalls::new("calc", None);
        let (one, two) = (directory(&["a"]), directory(&["a", "b"]));
        assert_eq!(calls.begin(&id(1), request(true), &one), Some(Way::To("a".into())));
        assert!(matches!(calls.begin(&id(2), request(false), &two), Some(Way::To(_))), "untried");
        assert_eq!(calls.begin(&id(3), request(true), &two), Some(Way::Any));
        assert!(calls.is_untaken(&id(3)) && calls.answered(&id(3), "b"));
        assert_eq!(calls.begin(&id(4), request(false), &two), Some(Way::Any));
        let bound = Request { is_bound: true, ..request(true) };
        assert!(matches!(calls.begin(&id(5), bound, &two), Some(Way::To(_))));
        calls.any_does_not_work();
        assert!(calls.turn_over(&id(4), &two).is_some() && !calls.is_untaken(&id(4)));
        assert!(matches!(calls.begin(&id(6), request(true), &two), Some(Way::To(_))));
        assert_eq!(calls.begin(&id(7), request(true), &directory(&[])), None);
    }

    #[test]
    fn instances_that_are_chosen_have_the_same_load() {
        let mut calls = StatelessCalls::new("calc", None);
        let all = directory(&["a", "b", "c"]);
        calls.any_does_not_work();
        (0..30).for_each(|number| drop(calls.begin(&id(number), request(false), &all)));
        assert_eq!([calls.load("a"), calls.load("b"), calls.load("c")], [10, 10, 10]);
        let bound = Request { is_bound: true, ..request(false) };
        (30..33).for_each(|number| drop(calls.begin(&id(number), bound.clone(), &all)));
        assert_eq!([calls.load("a"), calls.load("b"), calls.load("c")], [10, 10, 10]);
        let mut only = StatelessCalls::new("calc", Some("b"));
        assert_eq!(only.begin(&id(1), request(true), &all), Some(Way::To("b".into())));
        assert!(only.turn_over(&id(1), &all).is_none());
        assert!(only.is_served(&all) && !only.is_served(&directory(&["a"])));
    }

    #[test]
    fn who_has_a_request_answers_it_and_is_told_of_its_end() {
        let mut calls = StatelessCalls::new("calc", None);
        let all = directory(&["a", "b"]);
        let Some(Way::To(taker)) = calls.begin(&id(1), request(false), &all) else { panic!("one") };
        let other = if &*taker == "a" { "b" } else { "a" };
        assert!(!calls.answered(&id(1), other), "forged");
        assert_eq!(calls.of(Some(&*taker)), [(id(1), false)]);
        assert_eq!(calls.take_back(&id(1), b"x"), Some(taker));
        assert_eq!(calls.begin(&id(2), request(true), &all), Some(Way::Any));
        assert_eq!(calls.take_back(&id(2), b"two"), None);
        assert_eq!(calls.taken(&id(2), "a"), Some(b"two".to_vec()));
        assert_eq!(calls.taken(&id(2), "a"), None);
        calls.begin(&id(3), request(true), &all);
        assert_eq!(calls.taken(&id(3), "a"), None);
        assert_eq!(calls.of(Some("a")), [(id(3), true)]);
        let (next, _) = calls.turn_over(&id(3), &all).unwrap();
        assert_eq!(next, Way::To("b".into()));
        assert_eq!(calls.end(), [(id(3), "b".into())]);
        for number in 0..300 {
            calls.begin(&id(number), request(true), &all);
            calls.take_back(&id(number), b"");
        }
        assert!(calls.taken_back.len() <= TAKEN_BACK);
    }
}
