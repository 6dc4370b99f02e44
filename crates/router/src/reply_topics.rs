//! Answers below `$reply/`: a topic there is open while a request waits for answers at it, and only
//! then; whoever has the request knows its token, and nobody else does
//! (`docs/decisions/0015-reply-topics.md`).

use std::borrow::Cow;

use agentmq_codec::{PropertyId, Publish, ReasonCode};
use agentmq_identity::{client_id_beside, seen_by_its_own};
use agentmq_session::Time;
use agentmq_topic::ReplyTopic;

use crate::connection::ConnectionId;
use crate::handle_connect::Refused;
use crate::route::Route;
use crate::router::Router;
use crate::source::Source;

/// Whether a client may ask for answers at this Response Topic, as far as that is no matter of
/// rules: below `$reply/` it has topics of its own, with tokens that nobody guesses.
pub(crate) fn check_response_topic(response: &str, client_id: &str) -> Result<(), Refused> {
    if !ReplyTopic::is_meant(response) {
        return Ok(());
    }
    if !ReplyTopic::is_own(response, client_id) {
        return Err((ReasonCode::NotAuthorized, OF_ANOTHER.into()));
    }
    let token = ReplyTopic::parse(response).map_or("", |it| it.token);
    if token.chars().count() < SHORTEST_TOKEN || token.len() > LONGEST_TOKEN {
        return Err((ReasonCode::TopicNameInvalid, WRONG_LENGTH.into()));
    }
    Ok(())
}

/// Whose topic for answers this is, as the broker calls the client, and the token.
fn asker(topic: &str) -> Option<(Cow<'_, str>, &str)> {
    let ReplyTopic { client_id, token } = ReplyTopic::parse(seen_by_its_own(topic))?;
    Some((client_id_beside(topic, client_id), token))
}

impl Router {
    /// Whether anybody may wait for a client's answer. On another shard, where its receiver is, it
    /// is looked at again.
    pub(crate) fn check_reply(&self, route: &Route, now: Time) -> Result<(), Refused> {
        let Some((client_id, token)) = asker(&route.topic) else {
            return Err((ReasonCode::TopicNameInvalid, NO_TOKEN.into()));
        };
        let is_open = match self.session(&client_id) {
            Some(session) => {
                session.open_requests.as_ref().is_some_and(|it| it.is_open(token, now))
            }
            None => !route.places.is_empty(),
        };
        if is_open { Ok(()) } else { Err((ReasonCode::NotAuthorized, NOT_OPEN.into())) }
    }

    /// A request is on its way: if it asks for answers below `$reply/`, they come through.
    pub(crate) fn open_request(&mut self, id: ConnectionId, publish: &Publish<'_>, now: Time) {
        let response = publish.properties.text(PropertyId::ResponseTopic);
        let Some(reply) = response.and_then(ReplyTopic::parse) else { return };
        let limits = &self.settings.limits;
        let expiry = publish.properties.integer(PropertyId::MessageExpiryInterval);
        let secs = expiry.map_or(limits.open_request_secs, |secs| secs.min(LONGEST_SECS));
        let lasts_ms = u64::from(secs) * 1000;
        let bound = limits.open_requests as usize;
        if let Some((_, session)) = self.connected(id) {
            let requests = session.open_requests.get_or_insert_default();
            requests.open(reply.token, lasts_ms, bound, now);
        }
    }

    /// Delivers an answer to the client that has asked for it, if it is here and waits for it: to
    /// nobody else, whoever has subscribed.
    #[cold]
    pub(crate) fn fan_out_reply(&mut self, source: &mut Source<'_>, route: &Route) -> bool {
        let Some((client_id, token)) = asker(&route.topic) else { return false };
        let Some(&index) = self.by_client.get(&*client_id) else { return false };
        let Some(session) = self.sessions.get_mut(index as usize) else { return false };
        let requests = session.open_requests.as_mut();
        if !requests.is_some_and(|it| it.answer(token, source.now)) {
            self.counters.replies_dropped += 1;
            return false;
        }
        self.begin_message();
        source.is_for_one = true;
        let receiver = route.receivers.iter().find(|it| it.session == index);
        receiver.is_some_and(|receiver| self.deliver_to(source, receiver))
    }
}

/// Characters of a token at least: shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// Bytes of a token at most: a session remembers many.
const LONGEST_TOKEN: usize = 128;
/// Seconds that a request waits at most, whatever its Message Expiry Interval is.
const LONGEST_SECS: u32 = 86_400;
const OF_ANOTHER: &str = "the Response Topic is another client's: ask for answers below \
    $reply/YOUR-CLIENT-IDENTIFIER/";
const WRONG_LENGTH: &str = "the token in a Response Topic below $reply/ has 16 characters at \
    least, which nobody can guess, and 128 bytes at most";
const NO_TOKEN: &str = "reply topics are $reply/CLIENT/TOKEN, as the Response Topic of a request";
const NOT_OPEN: &str = "no request waits for this answer: it was not asked for, or too long ago";
