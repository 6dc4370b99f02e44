//! Calls of tools that sessions have got and not answered (MQTT.Agent 0.1 §5). A server that is
//! gone for good will not answer them; whoever has called is told so, and need not wait.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use agentmq_agents::{AgentTopic, CallError, CallErrorKind, ToolCall};
use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, Publish, QoS};
use agentmq_identity::seen_by_its_own;
use agentmq_session::{Message, MessageParts, Time};
use foldhash::quality::RandomState;

use crate::router::Router;
use crate::source::Source;

/// What a caller has asked, as it can be told by its answer: where that is expected, as the broker
/// calls it, and the Correlation Data, with a zero between them, which no topic has.
type Key = [u8];

/// The same in its parts.
struct Asked<'a> {
    /// What comes before each of the caller's topics.
    mount: &'a str,
    response: &'a str,
    correlation: &'a [u8],
}

impl<'a> Asked<'a> {
    fn key<'k>(&self, memory: &'k mut Vec<u8>) -> &'k Key {
        memory.clear();
        memory.extend_from_slice(self.mount.as_bytes());
        memory.extend_from_slice(self.response.as_bytes());
        memory.push(0);
        memory.extend_from_slice(self.correlation);
        memory
    }

    fn of(key: &'a Key) -> Option<Self> {
        let (response, correlation) = key.split_at_checked(key.iter().position(|it| *it == 0)?)?;
        let response = str::from_utf8(response).ok()?;
        Some(Self { mount: "", response, correlation: correlation.get(1..)? })
    }
}

/// A call that a session has got last: it may have been another's before.
#[derive(Debug)]
struct UnderWay {
    session: u32,
    call_id: Box<str>,
    /// Nobody waits longer for it.
    until: Time,
}

/// Calls that are not answered.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    under_way: HashMap<Rc<Key>, UnderWay, RandomState>,
    /// What each session has got, oldest first; of some of it there is no more to say.
    by_session: HashMap<u32, VecDeque<Rc<Key>>, RandomState>,
    /// Memory for the key that is asked for.
    key: Vec<u8>,
}

impl ToolCalls {
    /// Whether every call is answered, as is usual.
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.by_session.is_empty()
    }

    /// A session gets a call. Of more than `bound` it forgets the oldest.
    fn note(&mut self, asked: &Asked<'_>, call: UnderWay, bound: usize, now: Time) {
        let Self { under_way, by_session, key } = self;
        let session = call.session;
        let got = by_session.entry(session).or_default();
        if got.len() >= bound {
            got.retain(|key| match under_way.get(key) {
                Some(call) if call.session != session => false,
                Some(call) if call.until > now => true,
                _ => under_way.remove(key).is_some_and(|_| false),
            });
        }
        if got.len() >= bound
            && let Some(oldest) = got.pop_front()
        {
            under_way.remove(&oldest);
        }
        let key = Rc::from(asked.key(key));
        got.push_back(Rc::clone(&key));
        under_way.insert(key, call);
    }

    fn forget(&mut self, asked: &Asked<'_>) {
        let Some(call) = self.under_way.remove(asked.key(&mut self.key)) else { return };
        let Some(got) = self.by_session.get_mut(&call.session) else { return };
        while got.front().is_some_and(|key| !self.under_way.contains_key(key)) {
            got.pop_front();
        }
        if got.is_empty() {
            self.by_session.remove(&call.session);
        }
    }

    /// What a session has not answered and nobody else has got.
    fn take(&mut self, session: u32, now: Time) -> Vec<(Rc<Key>, UnderWay)> {
        let got = self.by_session.remove(&session).unwrap_or_default();
        let is_its =
            |key: &Rc<Key>| self.under_way.get(key).is_some_and(|it| it.session == session);
        let its: Vec<_> = got.into_iter().filter(is_its).collect();
        let calls = its.into_iter().filter_map(|key| {
            let call = self.under_way.remove(&key)?;
            Some((key, call))
        });
        calls.filter(|(_, call)| call.until > now).collect()
    }
}

impl Router {
    /// Whether the messages of a topic are calls of a tool.
    pub(crate) fn is_tool_call(&self, topic: &str) -> bool {
        let found = self.settings.agents.namespaces.find(seen_by_its_own(topic));
        matches!(found, Some((_, AgentTopic::ToolCall { .. })))
    }

    /// A session gets a call, now or when its client is back.
    #[cold]
    pub(crate) fn note_tool_call(&mut self, session: u32, source: &Source<'_>) {
        let Some(response) = source.properties.text(P::ResponseTopic) else { return };
        let Some(correlation) = source.properties.binary(P::CorrelationData) else { return };
        if response.len() + correlation.len() > LONGEST {
            return;
        }
        let own = seen_by_its_own(source.topic);
        let mount = source.topic.strip_suffix(own).unwrap_or_default();
        let limits = &self.settings.limits;
        let secs = source.expiry.unwrap_or(limits.open_request_secs).min(limits.open_request_secs);
        let bound = limits.open_requests as usize;
        let named = source.call.and_then(|it| it.call_id.as_deref());
        let call_id = named.map(Cow::Borrowed);
        let call_id = call_id.unwrap_or_else(|| call_id_of(source.payload, correlation)).into();
        let call = UnderWay { session, call_id, until: source.now.after_secs(secs) };
        self.tool_calls.note(&Asked { mount, response, correlation }, call, bound, source.now);
    }

    /// A client publishes: perhaps the answer to a call. Who may publish there may end the waiting.
    #[cold]
    pub(crate) fn note_tool_answer(&mut self, publish: &Publish<'_>, topic: &str) {
        let correlation = publish.properties.binary(P::CorrelationData);
        // What is longer has not been noted.
        if let Some(correlation) = correlation.filter(|it| it.len() <= LONGEST) {
            self.tool_calls.forget(&Asked { mount: "", response: topic, correlation });
        }
    }

    /// A session is over, or its will has told that its client is gone: answers for it.
    pub(crate) fn end_tool_calls(&mut self, session: u32, now: Time) {
        if self.tool_calls.is_empty() {
            return;
        }
        for (key, call) in self.tool_calls.take(session, now) {
            let Some(asked) = Asked::of(&key) else { continue };
            let (call_id, kind) = (&*call.call_id, CallErrorKind::Unavailable);
            let error = CallError { call_id, kind, message: GONE };
            self.publish_message(answer(asked.response, asked.correlation, &error), now);
        }
    }
}

/// What a caller knows its call by: what it has called it, else what it expects back.
pub(crate) fn call_id_of<'a>(payload: &'a [u8], correlation: &'a [u8]) -> Cow<'a, str> {
    let named = ToolCall::parse(payload).and_then(|call| call.call_id);
    named.unwrap_or_else(|| String::from_utf8_lossy(correlation))
}

/// The answer to a call that failed.
pub(crate) fn answer(response: &str, correlation: &[u8], error: &CallError<'_>) -> Message {
    let properties = PropertiesBuf::new().with(Property::Binary(P::CorrelationData, correlation));
    Message::new(&MessageParts {
        topic: response,
        payload: &error.payload(),
        properties: properties.view(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
    })
}

/// Bytes of a Response Topic and Correlation Data that are worth remembering.
const LONGEST: usize = 1024;
const GONE: &str = "the tool server went away before it answered, and may have done its work: \
    call again if that does no harm";

#[cfg(test)]
mod tests {
    use super::*;

    fn note(calls: &mut ToolCalls, session: u32, correlation: &[u8], until: u32, now: u32) {
        let until = Time::ZERO.after_secs(until);
        let call = UnderWay { session, call_id: "c".into(), until };
        calls.note(&asked(correlation), call, 3, Time::ZERO.after_secs(now));
    }

    fn asked(correlation: &[u8]) -> Asked<'_> {
        Asked { mount: "", response: "r", correlation }
    }

    fn take(calls: &mut ToolCalls, session: u32) -> Vec<Box<[u8]>> {
        let taken = calls.take(session, Time::ZERO.after_secs(10)).into_iter();
        taken.map(|(key, _)| Asked::of(&key).unwrap().correlation.into()).collect()
    }

    #[test]
    fn what_is_answered_is_forgotten() {
        let mut calls = ToolCalls::default();
        for correlation in [b"a", b"b", b"c"] {
            note(&mut calls, 1, correlation, 20, 0);
        }
        calls.forget(&Asked { mount: "", response: "elsewhere", correlation: b"b" });
        calls.forget(&asked(b"b"));
        calls.forget(&asked(b"x"));
        assert!(take(&mut calls, 2).is_empty());
        assert_eq!(take(&mut calls, 1), [Box::from(*b"a"), Box::from(*b"c")]);
        assert!(calls.under_way.is_empty() && calls.by_session.is_empty());
    }

    #[test]
    fn a_key_is_told_in_its_parts() {
        for correlation in [&b""[..], b"\0", b"a\0b", b"\xff"] {
            let mut memory = vec![7];
            let asked = Asked { mount: "$o/1/", response: "me/é", correlation };
            let told = Asked::of(asked.key(&mut memory)).unwrap();
            assert_eq!((told.response, told.correlation), ("$o/1/me/é", correlation));
        }
    }

    #[test]
    fn who_has_a_call_last_has_it() {
        let mut calls = ToolCalls::default();
        note(&mut calls, 1, b"a", 20, 0);
        note(&mut calls, 2, b"a", 20, 0);
        assert!(take(&mut calls, 1).is_empty());
        assert_eq!(take(&mut calls, 2).len(), 1);
    }

    #[test]
    fn what_is_late_or_too_much_is_forgotten() {
        let mut calls = ToolCalls::default();
        note(&mut calls, 1, b"late", 5, 0);
        note(&mut calls, 1, b"a", 20, 0);
        note(&mut calls, 1, b"moved", 20, 0);
        note(&mut calls, 2, b"moved", 20, 0);
        note(&mut calls, 1, b"b", 20, 6);
        note(&mut calls, 1, b"c", 20, 6);
        note(&mut calls, 1, b"d", 20, 6);
        assert_eq!(take(&mut calls, 1), [b"b", b"c", b"d"].map(|it| Box::from(*it)), "three");
        assert_eq!(take(&mut calls, 2).len(), 1);
        note(&mut calls, 1, b"late", 5, 0);
        assert!(take(&mut calls, 1).is_empty());
        assert!(calls.under_way.is_empty() && calls.by_session.is_empty());
    }
}
