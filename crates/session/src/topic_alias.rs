//! Topic aliases of one connection, one table per direction (MQTT 5 §3.3.2.3.4).

use agentmq_codec::{DecodeError, ReasonCode};

/// Aliases that the client has given to topics.
#[derive(Debug, Default)]
pub struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
}

impl InboundAliases {
    /// The topic of a PUBLISH with an alias: sets the alias when `topic` is given, else looks it
    /// up. `maximum` is the Topic Alias Maximum that the server announced.
    pub fn resolve<'a>(
        &'a mut self,
        alias: u16,
        topic: &str,
        maximum: u16,
    ) -> Result<&'a str, DecodeError> {
        if alias == 0 || alias > maximum {
            // [MQTT-3.3.2-8, -9]
            return Err(DecodeError::with(
                ReasonCode::TopicAliasInvalid,
                "Topic Alias exceeds Topic Alias Maximum",
            ));
        }
        let at = usize::from(alias) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        let slot = &mut self.topics[at];
        if !topic.is_empty() && slot.as_deref() != Some(topic) {
            *slot = Some(topic.into());
        }
        slot.as_deref().ok_or(DecodeError::protocol("Topic Alias that was never set"))
    }
}

/// Aliases that the server has given to topics towards one client.
#[derive(Debug, Default)]
pub struct OutboundAliases {
    topics: Vec<Box<str>>,
    maximum: u16,
}

/// How an alias stands for a topic in one PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundAlias {
    /// The table is full or unused: send the topic.
    None,
    /// Send topic and alias: the client learns it.
    Set(u16),
    /// Send the alias alone.
    Use(u16),
}

impl OutboundAliases {
    /// A table for a client that accepts aliases up to `maximum`.
    pub fn new(maximum: u16) -> Self {
        Self { topics: Vec::new(), maximum }
    }

    /// The alias for `topic`. The first topics of a connection get the aliases and keep them.
    pub fn assign(&mut self, topic: &str) -> OutboundAlias {
        if let Some(at) = self.topics.iter().position(|known| **known == *topic) {
            return OutboundAlias::Use(at as u16 + 1);
        }
        if self.topics.len() >= usize::from(self.maximum) {
            return OutboundAlias::None;
        }
        self.topics.push(topic.into());
        OutboundAlias::Set(self.topics.len() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound_aliases_are_set_used_and_changed() {
        let mut aliases = InboundAliases::default();
        assert_eq!(aliases.resolve(2, "a", 2), Ok("a"));
        assert_eq!(aliases.resolve(2, "", 2), Ok("a"));
        assert_eq!(aliases.resolve(2, "b", 2), Ok("b"));
        assert_eq!(aliases.resolve(2, "", 2), Ok("b"));
        let unset = aliases.resolve(1, "", 2).unwrap_err();
        assert_eq!(unset.reason, ReasonCode::ProtocolError);
        let high = aliases.resolve(3, "a", 2).unwrap_err();
        assert_eq!(high.reason, ReasonCode::TopicAliasInvalid);
    }

    #[test]
    fn outbound_aliases_go_to_the_first_topics() {
        let mut aliases = OutboundAliases::new(1);
        assert_eq!(aliases.assign("a"), OutboundAlias::Set(1));
        assert_eq!(aliases.assign("b"), OutboundAlias::None);
        assert_eq!(aliases.assign("a"), OutboundAlias::Use(1));
    }
}
