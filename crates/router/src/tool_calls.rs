//! Calls of tools that sessions have got and not answered (MQTT.Agent 0.1 §5). A server that is
//! gone for good will not answer them; whoever has called is told so, and need not wait.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use agentmq_agents::{AgentTopic, CallError, CallErrorKind, ToolCall};
use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, Publish, QoS};
use agentmq_identity::seen_by_its_own;
use agentmq_session::{Message, MessageParts, Time};

use crate::fan_out::Source;
use crate::router::Router;

/// What a caller has asked, as it can be told by its answer.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Where the caller expects the answer, as the broker calls it.
    response: Box<str>,
    correlation: Box<[u8]>,
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
    under_way: HashMap<Rc<Key>, UnderWay>,
    /// What each session has got, oldest first; of some of it there is no more to say.
    by_session: HashMap<u32, VecDeque<Rc<Key>>>,
}

impl ToolCalls {
    /// Whether every call is answered, as is usual.
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.by_session.is_empty()
    }

    /// A session gets a call. Of more than `bound` it forgets the oldest.
    fn note(&mut self, key: Key, call: UnderWay, bound: usize, now: Time) {
        let Self { under_way, by_session } = self;
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
        let key = Rc::new(key);
        got.push_back(Rc::clone(&key));
        under_way.insert(key, call);
    }

    fn forget(&mut self, key: &Key) {
        let Some(call) = self.under_way.remove(key) else { return };
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
        let key =
            Key { response: [mount, response].concat().into(), correlation: correlation.into() };
        let call = UnderWay {
            session,
            call_id: call_id(source.payload, correlation).into(),
            until: source.now.after_secs(secs),
        };
        self.tool_calls.note(key, call, bound, source.now);
    }

    /// A client publishes: perhaps the answer to a call. Who may publish there may end the waiting.
    #[cold]
    pub(crate) fn note_tool_answer(&mut self, publish: &Publish<'_>, topic: &str) {
        if let Some(correlation) = publish.properties.binary(P::CorrelationData) {
            let key = Key { response: topic.into(), correlation: correlation.into() };
            self.tool_calls.forget(&key);
        }
    }

    /// A session is over, or its will has told that its client is gone: answers for it.
    pub(crate) fn end_tool_calls(&mut self, session: u32, now: Time) {
        if self.tool_calls.is_empty() {
            return;
        }
        for (key, call) in self.tool_calls.take(session, now) {
            let (call_id, kind) = (&*call.call_id, CallErrorKind::Unavailable);
            let error = CallError { call_id, kind, message: GONE };
            self.publish_message(answer(&key.response, &key.correlation, &error), now);
        }
    }
}

/// What a caller knows its call by: what it has called it, else what it expects back.
pub(crate) fn call_id<'a>(payload: &'a [u8], correlation: &'a [u8]) -> Cow<'a, str> {
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
        let key = key(correlation);
        let until = Time::ZERO.after_secs(until);
        let call = UnderWay { session, call_id: "c".into(), until };
        calls.note(key, call, 3, Time::ZERO.after_secs(now));
    }

    fn key(correlation: &[u8]) -> Key {
        Key { response: "r".into(), correlation: correlation.into() }
    }

    fn take(calls: &mut ToolCalls, session: u32) -> Vec<Box<[u8]>> {
        let taken = calls.take(session, Time::ZERO.after_secs(10)).into_iter();
        taken.map(|(key, _)| key.correlation.clone()).collect()
    }

    #[test]
    fn what_is_answered_is_forgotten() {
        let mut calls = ToolCalls::default();
        for correlation in [b"a", b"b", b"c"] {
            note(&mut calls, 1, correlation, 20, 0);
        }
        calls.forget(&Key { response: "elsewhere".into(), correlation: (*b"b").into() });
        calls.forget(&key(b"b"));
        calls.forget(&key(b"x"));
        assert!(take(&mut calls, 2).is_empty());
        assert_eq!(take(&mut calls, 1), [Box::from(*b"a"), Box::from(*b"c")]);
        assert!(calls.under_way.is_empty() && calls.by_session.is_empty());
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
