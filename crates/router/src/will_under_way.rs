//! A will that is sent to other shards and must not be lost on the way, nor be sent twice.
//!
//! It may be due because its session ends, or is replaced by another one, or goes on without it.
//! Whatever comes first to the disk, the end of the one session, the beginning of the other or what
//! other shards keep of the will, a crash between them must leave it to somebody. So from the
//! record on that takes it from its session it is on its own: it has a name, and after a crash it
//! is sent again if nothing says that it has arrived. One of QoS 2 is an exchange of that name, so
//! that nobody has it before it has arrived; see [`Change::Arrived`].

use std::rc::Rc;
use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_identity::Principal;
use agentmq_session::{Author, Change, Message, RestoredWill, SessionKey, Time};

use crate::route::Route;
use crate::router::Router;
use crate::source::Source;

/// A will that must survive a crash, while it is being sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DueWill<'a> {
    /// The session that has it, or its name before a crash.
    pub(crate) of: SessionKey,
    /// Its name if it goes to other shards.
    pub(crate) key: SessionKey,
    pub(crate) client_id: &'a str,
}

/// Whose a will is.
#[derive(Debug, Clone)]
pub(crate) struct WillSender<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) principal: &'a Principal,
    /// The same for a record, where there is anything to ask about him.
    pub(crate) author: Option<Arc<Author>>,
}

impl Router {
    /// Publishes a will, which is its session's publication for No Local. `will_of` has it where a
    /// crash cannot take it, if anything does.
    pub(crate) fn publish_will(
        &mut self,
        message: Message,
        will_of: SessionKey,
        sender: WillSender<'_>,
        publisher: Option<u32>,
        now: Time,
    ) {
        let WillSender { client_id, principal, author } = sender;
        let Some(route) = self.will_route(message.topic()) else {
            self.counters.publish_refused += 1;
            return;
        };
        if route.traits.is_audited && !self.audit_will(client_id, principal, &message) {
            self.counters.publish_refused += 1;
            return;
        }
        self.counters.wills_sent += 1;
        // A name of its own: its session's next one may come before this one has arrived.
        let new =
            |router: &mut Self| DueWill { of: will_of, key: router.commit.new_key(), client_id };
        let will = will_of.is_some().then(|| new(self));
        let is_exchange = message.qos() == QoS::ExactlyOnce;
        let arrived = will.filter(|_| is_exchange).map(|will| (will.key, 0));
        let publisher_id = Some(client_id);
        let source = Source::of(&message, now);
        let mut source = Source { publisher, publisher_id, arrived, will, author, ..source };
        self.publish(&mut source, &route);
    }

    /// The route of a will; none where there are answers only, see `check_will`.
    fn will_route(&mut self, topic: &str) -> Option<Rc<Route>> {
        self.route(topic).ok().filter(|route| !route.traits.is_reply)
    }

    /// Sends a will again that was on its way when the broker ended, if its client may still
    /// publish there: behind all sessions that survived, which are to get it.
    pub fn restore_will(&mut self, will: RestoredWill, now: Time) {
        let RestoredWill { key, client_id, message, author } = will;
        let author = author.unwrap_or_else(|| Author::unnamed(&client_id).into());
        let author = self.retain_source.known(author);
        let principal = self.retain_source.principal(&author, &*self.authenticator, now);
        let principal = principal.unwrap_or_else(|| author.principal().without_rights());
        let (topic, qos, retains) = (message.topic(), message.qos(), message.retain());
        let is_allowed = principal.authorize_message(topic, qos, retains).allowed
            && self.check_roles(&principal, &client_id, topic, message.payload()).is_ok();
        if !is_allowed {
            self.audit_refused_will(&client_id, &principal, message.topic());
        }
        let is_off = message.retain() && !self.settings.retain_available;
        let is_late = is_off || message.is_expired(now);
        if is_allowed && !is_late && self.will_route(message.topic()).is_some() {
            let publisher = self.by_client.get(&*client_id).copied();
            let author = Some(author);
            let sender = WillSender { client_id: &client_id, principal: &principal, author };
            self.publish_will(message, key, sender, publisher, now);
        } else {
            self.record(Change::Arrived { session: key, packet_id: 0 });
        }
    }
}
