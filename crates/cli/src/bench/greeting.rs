//! What the relay answers while clients get ready: as little MQTT as they need to go on.

use agentmq_client::ProtocolVersion;
use agentmq_codec::{Packet, PropertyLimits};

/// What the sender of a packet becomes.
pub(crate) enum Next {
    /// With this filter.
    Subscribed(String),
    /// To this topic.
    Publishes(String),
}

/// The canned answer to one packet, and what its sender becomes.
pub(crate) fn respond(
    body: &[u8],
    first: u8,
    version: &mut ProtocolVersion,
) -> (Vec<u8>, Option<Next>) {
    let nothing = (Vec::new(), None);
    match first & 0xF0 {
        0x10 => {
            // The protocol's level stands behind its name [MQTT-3.1.2-1].
            let name = body.first_chunk().map_or(0, |len| u16::from_be_bytes(*len));
            *version = match body.get(usize::from(name) + 2) {
                Some(5) => ProtocolVersion::V5,
                _ => ProtocolVersion::V311,
            };
            let answer: &[u8] =
                if version.is_v5() { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
            (answer.to_vec(), None)
        }
        0x80 => {
            let limits = &PropertyLimits::UNLIMITED;
            let Ok(Packet::Subscribe(subscribe)) = Packet::decode(first, body, *version, limits)
            else {
                return nothing;
            };
            let [high, low] = subscribe.packet_id.to_be_bytes();
            let v5: &[u8] = &[0x90, 4, high, low, 0, 0];
            let answer = if version.is_v5() { v5.to_vec() } else { vec![0x90, 3, high, low, 0] };
            let filter = subscribe.filters().next().map(|one| one.filter.to_owned());
            (answer, filter.map(Next::Subscribed))
        }
        0xC0 => (vec![0xD0, 0], None),
        0x30 => {
            let Some((len, topic)) = body.split_first_chunk() else { return nothing };
            let topic = topic.get(..usize::from(u16::from_be_bytes(*len))).unwrap_or_default();
            (Vec::new(), Some(Next::Publishes(String::from_utf8_lossy(topic).into_owned())))
        }
        _ => nothing,
    }
}
