//! Topic aliases of one connection, both directions (MQTT 5 §3.3.2.3.4).

use std::collections::HashMap;

use agentmq_codec::{DecodeError, ReasonCode};

/// Aliases that we assign: the first topics that come get one and keep it, since an agent mostly
/// publishes to few topics and replacing an alias costs a full topic each time.
#[derive(Debug, Default)]
pub(crate) struct OutgoingAliases {
    max: u16,
    by_topic: HashMap<Box<str>, u16>,
}

impl OutgoingAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self { max, by_topic: HashMap::new() }
    }

    /// The topic and alias to write for `topic`. Call only for a packet that will be sent.
    pub(crate) fn apply<'t>(&mut self, topic: &'t str) -> (&'t str, Option<u16>) {
        if self.max == 0 {
            return (topic, None);
        }
        if let Some(&alias) = self.by_topic.get(topic) {
            return ("", Some(alias));
        }
        let next = self.by_topic.len() + 1;
        match u16::try_from(next) {
            Ok(alias) if alias <= self.max => {
                self.by_topic.insert(topic.into(), alias);
                (topic, Some(alias))
            }
            _ => (topic, None),
        }
    }
}

/// Aliases that the server assigned.
#[derive(Debug, Default)]
pub(crate) struct IncomingAliases {
    max: u16,
    topics: HashMap<u16, Box<str>>,
}

impl IncomingAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self { max, topics: HashMap::new() }
    }

    /// The topic that a PUBLISH with `topic` and `alias` is for.
    pub(crate) fn resolve<'a>(
        &'a mut self,
        topic: &'a str,
        alias: Option<u16>,
    ) -> Result<&'a str, DecodeError> {
        let Some(alias) = alias else { return Ok(topic) };
        // [MQTT-3.3.2-9], seen from the receiver.
        if alias > self.max {
            return Err(DecodeError::with(
                ReasonCode::TopicAliasInvalid,
                "Topic Alias above our Topic Alias Maximum",
            ));
        }
        if !topic.is_empty() {
            self.topics.insert(alias, topic.into());
            return Ok(topic);
        }
        self.topics
            .get(&alias)
            .map(|topic| &**topic)
            .ok_or(DecodeError::protocol("Topic Alias that was never assigned"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_use_carries_the_topic_later_ones_only_the_alias() {
        let mut aliases = OutgoingAliases::new(1);
        assert_eq!(aliases.apply("a"), ("a", Some(1)));
        assert_eq!(aliases.apply("a"), ("", Some(1)));
        assert_eq!(aliases.apply("b"), ("b", None));
        assert_eq!(OutgoingAliases::new(0).apply("a"), ("a", None));
    }

    #[test]
    fn incoming_aliases_are_learnt_replaced_and_bounded() {
        let mut aliases = IncomingAliases::new(2);
        assert_eq!(aliases.resolve("a", Some(2)), Ok("a"));
        assert_eq!(aliases.resolve("", Some(2)), Ok("a"));
        assert_eq!(aliases.resolve("b", Some(2)), Ok("b"));
        assert_eq!(aliases.resolve("", Some(2)), Ok("b"));
        assert!(aliases.resolve("", Some(1)).is_err());
        assert!(aliases.resolve("c", Some(3)).is_err());
    }
}
