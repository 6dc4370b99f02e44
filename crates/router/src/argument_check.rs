//! Whether a call's arguments are what the tool's card says that it takes (MQTT.Agent 0.1 §4, §5):
//! the published server does not look. Cards are written by clients, so what is read of them, and
//! how often, has bounds; beyond these a call goes on to its server as it is.

use std::collections::HashMap;

use agentmq_agents::{AgentTopic, ArgumentSchema, Card, ToolCall, card_topic};
use agentmq_codec::ReasonCode;
use agentmq_identity::seen_by_its_own;
use agentmq_session::{Message, Time};
use serde_json::{Map, Value};

use crate::handle_connect::Refused;
use crate::router::Router;
use crate::server_presence::beside;

/// The schemas of cards whose tools have been called.
#[derive(Debug, Default)]
pub(crate) struct ArgumentSchemas {
    by_card: HashMap<Box<str>, Known>,
    /// The size of all of them.
    size: usize,
    /// The second in which the last card was read, and how many were in it.
    read: (u64, u32),
}

/// What a card says; `None`: nothing that is asked about.
#[derive(Debug)]
struct Known {
    card: Message,
    schema: Option<ArgumentSchema>,
}

impl ArgumentSchemas {
    /// What a card says that is the retained message of its topic.
    fn of(&mut self, card: &Message, now: Time) -> Option<&ArgumentSchema> {
        let is_known = self.by_card.get(card.topic()).is_some_and(|known| known.card == *card);
        if !is_known && self.may_read(now) {
            self.put(card);
        }
        let known = self.by_card.get(card.topic()).filter(|known| known.card == *card)?;
        known.schema.as_ref()
    }

    fn may_read(&mut self, now: Time) -> bool {
        let second = now.as_millis() / 1_000;
        if self.read.0 != second {
            self.read = (second, 0);
        }
        self.read.1 += 1;
        self.read.1 <= READ_A_SECOND
    }

    fn put(&mut self, card: &Message) {
        let read = (card.payload().len() <= LONGEST_CARD).then(|| Card::parse(card.payload()));
        let read = read.flatten();
        let schema = read.as_ref().and_then(|it| it.field("input_schema"));
        let schema = schema.and_then(ArgumentSchema::read_bounded);
        let size = |known: &Known| 1 + known.schema.as_ref().map_or(0, ArgumentSchema::size);
        let known = Known { card: card.clone(), schema };
        if self.by_card.len() >= MOST_CARDS || self.size + size(&known) > MOST_VALUES {
            (self.by_card, self.size) = (HashMap::new(), 0);
        }
        self.size += size(&known);
        if let Some(old) = self.by_card.insert(card.topic().into(), known) {
            self.size -= size(&old);
        }
    }
}

impl Router {
    /// Checks the arguments of a call to this topic.
    pub(crate) fn check_arguments(
        &mut self,
        topic: &str,
        call: &ToolCall<'_>,
        now: Time,
    ) -> Result<(), Refused> {
        if !self.settings.agents.check_arguments {
            return Ok(());
        }
        let own = seen_by_its_own(topic);
        let Some((namespace, of)) = self.settings.agents.namespaces.find(own) else {
            return Ok(());
        };
        let AgentTopic::ToolCall { tool } = of else { return Ok(()) };
        let card = beside(topic, &card_topic(namespace, AgentTopic::ToolCard { tool }));
        let Some(card) = self.retained.get(&card).cloned() else { return Ok(()) };
        let Some(schema) = self.argument_schemas.of(&card, now) else { return Ok(()) };
        let arguments = match call.arguments() {
            Some(Value::Null) => Value::Object(Map::new()), // as servers take it
            Some(arguments) => arguments,
            None => return Ok(()),
        };
        let checked = schema.check_bounded(&arguments);
        checked.map_err(|why| (ReasonCode::PayloadFormatInvalid, why.into()))
    }
}

/// Bytes of a card that is read.
const LONGEST_CARD: usize = 64 * 1024;
/// Cards that are read in one second: whoever changes his card before each call gets no more of the
/// shard's time.
const READ_A_SECOND: u32 = 20;
/// Values of all schemas that are kept, one more for each card; then all are forgotten.
const MOST_VALUES: usize = 20_000;
/// Cards that are kept.
const MOST_CARDS: usize = 256;

#[cfg(test)]
mod tests {
    use agentmq_codec::QoS;

    use super::*;

    fn card(tool: usize, payload: &str) -> Message {
        let topic = format!("a/mcp/tools/{tool}/card");
        Message::plain(&topic, payload.as_bytes(), QoS::AtLeastOnce, true)
    }

    fn now(second: u32) -> Time {
        Time::ZERO.after_secs(second)
    }

    const SCHEMA: &str = r#"{"input_schema":{"type":"object"}}"#;

    #[test]
    fn a_card_counts_as_it_is_now() {
        let mut schemas = ArgumentSchemas::default();
        assert!(schemas.of(&card(1, SCHEMA), now(0)).is_some());
        assert!(schemas.of(&card(1, "{}"), now(0)).is_none());
        let other = r#"{"input_schema":{"type":"string"}}"#;
        let said = |it: Option<&ArgumentSchema>| it.unwrap().check(&Value::Null).unwrap_err();
        assert!(said(schemas.of(&card(1, other), now(0))).contains("string"));
        assert!(said(schemas.of(&card(1, SCHEMA), now(0))).contains("object"));
        assert_eq!((schemas.by_card.len(), schemas.read.1), (1, 4));
        assert!(schemas.of(&card(1, SCHEMA), now(0)).is_some());
        assert_eq!(schemas.read.1, 4, "it is not read again");
    }

    #[test]
    fn cards_that_say_nothing_ask_for_nothing() {
        let mut schemas = ArgumentSchemas::default();
        let long = format!("{}{}", SCHEMA, " ".repeat(LONGEST_CARD));
        let itself = r##"{"input_schema":{"$ref":"#"}}"##;
        for payload in ["", "[]", "{}", r#"{"input_schema":7}"#, itself, &long] {
            assert!(schemas.of(&card(1, payload), now(0)).is_none(), "{payload:.40}");
        }
    }

    #[test]
    fn reading_has_a_bound_and_so_has_memory() {
        let mut schemas = ArgumentSchemas::default();
        let readable = |schemas: &mut ArgumentSchemas, second, from: usize, count: usize| {
            let cards = (from..from + count).map(|tool| card(tool, SCHEMA));
            cards.filter(|card| schemas.of(card, now(second)).is_some()).count()
        };
        assert_eq!(readable(&mut schemas, 0, 0, 30), READ_A_SECOND as usize);
        assert_eq!(readable(&mut schemas, 1, 0, 30), 30, "ten of them are new");
        for second in 2..600 {
            readable(&mut schemas, second, second as usize * 20, 20);
            let all = schemas.by_card.values();
            let size = all.map(|it| 1 + it.schema.as_ref().unwrap().size()).sum::<usize>();
            assert_eq!(size, schemas.size);
            assert!(size <= MOST_VALUES && schemas.by_card.len() <= MOST_CARDS);
        }
    }
}
