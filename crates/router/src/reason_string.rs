//! Reason Strings: cause and fix in one sentence, for clients of version 5 that want them and have
//! room for them.

use std::borrow::Cow;

use agentmq_codec::{
    Ack, AckKind, FilterAck, FilterAckKind, PropertiesBuf, Property, PropertyId, ReasonCode,
    varint_len,
};
use agentmq_session::PendingAck;

use crate::connection::Connection;

/// A Reason String as the properties of a packet whose other bytes behind the fixed header are
/// `rest`; none where the packet would exceed the client's Maximum Packet Size [MQTT-3.2.2-19,
/// 3.4.2-2, 3.5.2-2, 3.6.2-2, 3.7.2-2, 3.9.2-1, 3.11.2-1, 3.14.2-3].
pub(crate) fn reason_string(why: &str, rest: usize, max_packet: u32) -> PropertiesBuf {
    let properties = PropertiesBuf::new().with(Property::Text(PropertyId::ReasonString, why));
    let len = properties.view().as_bytes().len();
    let remaining = rest + varint_len(len) + len;
    if 1 + varint_len(remaining) + remaining > max_packet as usize {
        return PropertiesBuf::new();
    }
    properties
}

impl Connection {
    /// The Reason String of an acknowledgement, where the client is to get one: not if its Request
    /// Problem Information is 0 [MQTT-3.1.2-29].
    pub(crate) fn explanation(&self, why: &str, rest: usize) -> PropertiesBuf {
        if why.is_empty() || !self.version.is_v5() || !self.wants_problems {
            return PropertiesBuf::new();
        }
        reason_string(why, rest, self.max_packet)
    }

    /// An acknowledgement that says why, where the client is to get that.
    pub(crate) fn explained(
        &self,
        kind: AckKind,
        packet_id: u16,
        reason: ReasonCode,
        why: &str,
    ) -> PendingAck {
        // Packet Identifier and code stand before the properties.
        let properties = self.explanation(why, 3);
        let ack = Ack { kind, packet_id, reason, properties: properties.view() };
        PendingAck::with_properties(&ack, self.version)
    }
}

/// What SUBACK or UNSUBACK answers: a code for each filter in their order [MQTT-3.9.3-1,
/// 3.11.3-1], and one Reason String for all of them.
#[derive(Debug, Default)]
pub(crate) struct FilterAnswers {
    codes: Vec<ReasonCode>,
    /// Place of the first filter that has something to explain, and what.
    first: Option<(usize, Cow<'static, str>)>,
    /// How many have.
    explained: usize,
}

impl FilterAnswers {
    pub(crate) fn push(&mut self, code: ReasonCode) {
        self.codes.push(code);
    }

    pub(crate) fn push_because(&mut self, code: ReasonCode, why: Cow<'static, str>) {
        self.codes.push(code);
        self.explained += 1;
        self.first.get_or_insert((self.codes.len(), why));
    }

    /// The SUBACK or UNSUBACK for this connection.
    pub(crate) fn to_ack(
        &self,
        kind: FilterAckKind,
        packet_id: u16,
        connection: &Connection,
    ) -> PendingAck {
        // Packet Identifier and codes stand beside the properties.
        let properties = connection.explanation(&self.why(), 2 + self.codes.len());
        let (properties, codes) = (properties.view(), self.codes.iter().copied());
        let mut packet = Vec::new();
        let version = connection.version;
        FilterAck::encode_parts(kind, packet_id, properties, codes, version, &mut packet);
        PendingAck::of_filters(packet)
    }

    /// The sentence for the packet; empty when there is nothing to explain. Of several filters it
    /// explains the first: the codes tell which others there are.
    fn why(&self) -> Cow<'_, str> {
        match (&self.first, self.codes.len(), self.explained - usize::from(self.first.is_some())) {
            (None, ..) => Cow::Borrowed(""),
            (Some((_, why)), 1, _) => Cow::Borrowed(why),
            (Some((at, why)), all, 0) => format!("filter {at} of {all}: {why}").into(),
            (Some((at, why)), all, more) => {
                format!("filter {at} of {all}: {why} (and {more} more)").into()
            }
        }
    }
}
