//! A message on its way, and the terms on which a receiver gets it.

use std::sync::Arc;

use agentmq_agents::ToolCall;
use agentmq_codec::{Properties, PublishHead, QoS};
use agentmq_session::{
    Author, Delivery, Keep, Message, MessageParts, REFERENCE_FROM, SessionKey, SubscriptionIds,
    Time,
};

use crate::overlapping_subscriptions::Grant;
use crate::will_under_way::DueWill;

/// A message on its way: borrowed from the packet that brought it, made shared only when
/// something must keep it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// What is forwarded unaltered.
    pub(crate) properties: Properties<'a>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Remaining seconds.
    pub(crate) expiry: Option<u32>,
    /// The publisher's session, for No Local.
    pub(crate) publisher: Option<u32>,
    /// The client identifier of a publisher on another shard, where a group may ask for it.
    pub(crate) publisher_id: Option<&'a str>,
    pub(crate) now: Time,
    pub(crate) shared: Option<Message>,
    /// One receiver is all it has: what it keeps is handed over, and not shared.
    pub(crate) is_for_one: bool,
    /// It is a call of a tool, which is noted of who gets it.
    pub(crate) is_tool_call: bool,
    /// The call, where it has been read.
    pub(crate) call: Option<&'a ToolCall<'a>>,
    /// The QoS 2 PUBLISH that brought it, here or to another shard, where its identifier must
    /// survive a crash.
    pub(crate) arrived: Option<(SessionKey, u16)>,
    /// Whose will it is, where that must survive a crash.
    pub(crate) will: Option<DueWill<'a>>,
    /// Who has published it, where it is retained and there is anything to ask about him.
    pub(crate) author: Option<Arc<Author>>,
}

impl<'a> Source<'a> {
    /// A message of QoS 0 of which nothing more is known. Inlined, since a message that is moved
    /// waits until all that has just been written of it is in the cache.
    #[inline(always)]
    pub(crate) fn new(
        topic: &'a str,
        payload: &'a [u8],
        properties: Properties<'a>,
        now: Time,
    ) -> Self {
        Self {
            topic,
            payload,
            properties,
            qos: QoS::AtMostOnce,
            retain: false,
            expiry: None,
            publisher: None,
            publisher_id: None,
            now,
            shared: None,
            is_for_one: false,
            is_tool_call: false,
            call: None,
            arrived: None,
            will: None,
            author: None,
        }
    }

    /// A message that is shared already.
    pub(crate) fn of(message: &'a Message, now: Time) -> Self {
        Self {
            qos: message.qos(),
            retain: message.retain(),
            expiry: message.remaining_expiry(now),
            shared: Some(message.clone()),
            ..Self::new(message.topic(), message.payload(), message.properties(), now)
        }
    }

    /// The message as something that can be kept.
    pub(crate) fn message(&mut self) -> &Message {
        let parts = self.parts();
        self.shared.get_or_insert_with(|| Message::new(&parts))
    }

    /// For somebody who keeps it. The only one who does need not share it, which would cost two
    /// atomic operations; a large payload goes into the outbox by reference, too.
    fn message_to_keep(&mut self) -> Message {
        if self.is_for_one && self.payload.len() < REFERENCE_FROM {
            let parts = self.parts();
            return self.shared.take().unwrap_or_else(|| Message::new(&parts));
        }
        self.message().clone()
    }

    fn parts(&self) -> MessageParts<'a> {
        MessageParts {
            topic: self.topic,
            payload: self.payload,
            properties: self.properties,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expiry.map(|secs| self.now.after_secs(secs)),
        }
    }

    pub(crate) fn delivery(&mut self, terms: &Terms<'_>, ordinal: u64) -> Delivery {
        Delivery {
            message: self.message_to_keep(),
            qos: terms.qos,
            retain: terms.retain,
            ids: terms.ids.clone(),
            group: terms.group,
            ordinal,
        }
    }

    /// What a window keeps of a delivery. A large payload goes into the outbox by reference, and so
    /// does what it keeps.
    pub(crate) fn keep<'k>(&'k mut self, terms: &'k Terms<'_>, ordinal: u64) -> Keep<'k> {
        let is_small = self.payload.len() < REFERENCE_FROM;
        if self.is_for_one && is_small && self.shared.is_none() && ordinal == 0 {
            let Terms { qos, retain, ids, group } = *terms;
            return Keep::Copy { parts: self.parts(), qos, retain, ids, group };
        }
        Keep::Shared(self.delivery(terms, ordinal))
    }

    pub(crate) fn head<'h>(&'h self, terms: &Terms<'h>) -> PublishHead<'h> {
        PublishHead {
            dup: false,
            qos: terms.qos,
            retain: terms.retain,
            topic: self.topic,
            packet_id: 0,
            topic_alias: None,
            message_expiry: self.expiry,
            subscription_identifiers: terms.ids.as_deref().unwrap_or_default(),
            properties: self.properties,
            payload_len: self.payload.len(),
        }
    }

    /// The terms on which a receiver gets it.
    pub(crate) fn terms<'t>(&self, grant: &'t Grant, group: Option<u32>) -> Terms<'t> {
        Terms {
            qos: self.qos.min(grant.qos),
            // [MQTT-3.3.1-12, -13]
            retain: self.retain && grant.retain_as_published,
            ids: &grant.ids,
            group,
        }
    }
}

/// The terms of one delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: &'a SubscriptionIds,
    pub(crate) group: Option<u32>,
}
