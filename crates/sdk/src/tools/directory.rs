//! Which tools there are: the cards, joined.

use std::collections::BTreeMap;

use agentmq_agents::{Card, Status};
use serde_json::Value;

use super::{CARD_BYTES, CARDS, CARDS_BYTES, McpOrigin};
use crate::weight;

/// The cards that a client has seen.
#[derive(Debug, Clone, Default)]
pub struct Cards {
    servers: BTreeMap<String, Heard>,
    tools: BTreeMap<String, Heard>,
    /// Bytes that all of them take, about.
    weight: usize,
}

/// A card, and the bytes that it takes, about.
#[derive(Debug, Clone)]
struct Heard {
    card: Card,
    weight: usize,
}

/// A tool, as its card and its server's have it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolInfo {
    /// What it is called by.
    pub name: String,
    /// Whose it is.
    pub server: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments; null where the card has none.
    pub input_schema: Value,
    /// JSON Schema of its result.
    pub output_schema: Option<Value>,
    /// Whether it says something while it works.
    pub supports_streaming: bool,
    /// Whether there is a server for it. A server that died has left its tools' cards as they were,
    /// so its own card counts, too; where there is none, the tool's word is taken.
    pub online: bool,
    /// Whether the card of its server, which that alone may write, names it, too.
    pub listed: bool,
    /// Which tool of which MCP server it is, if a gateway offers it.
    pub mcp: Option<McpOrigin>,
    /// The whole card.
    pub card: Value,
}

/// A server, as its card has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its name, which its replicas share.
    pub name: String,
    /// The names of its tools.
    pub tools: Vec<String>,
    /// Whether one of it is there.
    pub online: bool,
}

/// What a card has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Changed,
    Nothing,
    /// It was not taken: no card, or one too many.
    Dropped,
}

impl Cards {
    /// The tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = ToolInfo> {
        self.tools.iter().map(|(name, it)| self.join(name, &it.card))
    }

    /// A tool.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<ToolInfo> {
        self.tools.get(name).map(|it| self.join(name, &it.card))
    }

    /// The servers, by name.
    pub fn servers(&self) -> impl Iterator<Item = ServerInfo> {
        self.servers.iter().map(|(name, Heard { card, .. })| ServerInfo {
            name: name.clone(),
            tools: card.tools().map(str::to_owned).collect(),
            online: card.status() == Some(Status::Online),
        })
    }

    fn join(&self, name: &str, card: &Card) -> ToolInfo {
        let online = Some(Status::Online);
        let server = card.server().unwrap_or_default();
        let is_there = self.servers.get(server).is_none_or(|it| it.card.status() == online);
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        ToolInfo {
            name: name.to_owned(),
            server: server.to_owned(),
            description: text(card.description()),
            input_schema: card.field("input_schema").cloned().unwrap_or_default(),
            output_schema: card.field("output_schema").cloned(),
            supports_streaming: card.field("supports_streaming") == Some(&Value::Bool(true)),
            listed: self
                .servers
                .get(server)
                .is_some_and(|it| it.card.tools().any(|tool| tool == name)),
            mcp: card.mcp_tool().map(|it| McpOrigin {
                server: it.server.to_owned(),
                tool: it.tool.to_owned(),
                served: it.served,
            }),
            online: is_there && card.status() == online,
            card: card.clone().into_value(),
        }
    }

    pub(crate) fn heard_server(&mut self, name: &str, payload: &[u8]) -> Change {
        heard(&mut self.servers, &mut self.weight, name, payload)
    }

    pub(crate) fn heard_tool(&mut self, name: &str, payload: &[u8]) -> Change {
        heard(&mut self.tools, &mut self.weight, name, payload)
    }
}

/// An empty payload takes a card away, as MQTT has it.
fn heard(
    cards: &mut BTreeMap<String, Heard>,
    all: &mut usize,
    name: &str,
    payload: &[u8],
) -> Change {
    if payload.is_empty() {
        let Some(before) = cards.remove(name) else { return Change::Nothing };
        *all -= before.weight;
        return Change::Changed;
    }
    let before = cards.get(name);
    let weight = name.len() + weight(payload);
    let after = *all - before.map_or(0, |it| it.weight) + weight;
    let is_one_too_many = cards.len() >= CARDS && before.is_none();
    if payload.len() > CARD_BYTES || after > CARDS_BYTES || is_one_too_many {
        return Change::Dropped;
    }
    let Some(card) = Card::parse(payload) else { return Change::Dropped };
    let is_news = before.is_none_or(|before| before.card != card);
    cards.insert(name.to_owned(), Heard { card, weight });
    *all = after;
    if is_news { Change::Changed } else { Change::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &[u8] = br#"{"tool":"t","server":"s","status":"online","description":"d"}"#;

    fn online(cards: &Cards) -> Vec<bool> {
        cards.tools().map(|tool| tool.online).collect()
    }

    #[test]
    fn a_tool_is_as_online_as_its_server() {
        let mut cards = Cards::default();
        assert_eq!(cards.heard_tool("t", TOOL), Change::Changed);
        assert_eq!(cards.heard_tool("t", TOOL), Change::Nothing);
        assert_eq!(online(&cards), [true]);
        assert_eq!(cards.heard_server("s", br#"{"status":"offline"}"#), Change::Changed);
        assert_eq!(online(&cards), [false]);
        cards.heard_server("s", br#"{"status":"online"}"#);
        assert_eq!(online(&cards), [true]);
        let tool = cards.tool("t").unwrap();
        assert_eq!((&*tool.server, &*tool.description), ("s", "d"));
        assert_eq!(cards.heard_tool("t", b""), Change::Changed);
        assert!(cards.tool("t").is_none());
    }

    #[test]
    fn what_is_no_card_changes_nothing() {
        let mut cards = Cards::default();
        let large = format!(r#"{{"description":"{}"}}"#, "x".repeat(CARD_BYTES));
        for payload in [&b"7"[..], b"{", b"\xff", large.as_bytes()] {
            assert_eq!(cards.heard_tool("t", payload), Change::Dropped);
        }
        assert_eq!(cards.heard_tool("t", b""), Change::Nothing);
    }

    #[test]
    fn it_has_a_bound() {
        let mut cards = Cards::default();
        for number in 0..CARDS {
            cards.heard_server(&number.to_string(), b"{}");
        }
        assert_eq!(cards.heard_server("one more", b"{}"), Change::Dropped);
        assert_eq!(cards.heard_server("1", TOOL), Change::Changed);
    }

    #[test]
    fn what_is_short_as_text_has_a_bound_by_what_it_takes() {
        let mut cards = Cards::default();
        let card = format!(r#"{{"input_schema":[{}]}}"#, [r#"{"a":1}"#; 16384].join(","));
        assert!(card.len() < CARD_BYTES);
        let came = (0..20).filter(|number| {
            cards.heard_tool(&number.to_string(), card.as_bytes()) == Change::Changed
        });
        assert_eq!(came.count(), CARDS_BYTES / (16384 * (8 + 640 + 64)));
    }

    #[test]
    fn large_cards_have_a_bound_together() {
        let mut cards = Cards::default();
        let large = format!(r#"{{"description":"{}"}}"#, "x".repeat(CARD_BYTES - 18));
        assert_eq!(large.len(), CARD_BYTES);
        let large_ones = (0..CARDS).take_while(|number| {
            cards.heard_tool(&number.to_string(), large.as_bytes()) == Change::Changed
        });
        assert_eq!(large_ones.count(), CARDS_BYTES / (CARD_BYTES + 1155));
        let small_ones = (0..CARDS)
            .take_while(|number| cards.heard_server(&number.to_string(), b"{}") == Change::Changed);
        assert!(small_ones.count() < CARD_BYTES / 640);
        for _ in 0..2 {
            assert_eq!(cards.heard_server("s", b"{}"), Change::Dropped);
            assert_eq!(cards.heard_tool("1", large.as_bytes()), Change::Nothing);
        }
        assert_eq!(cards.heard_tool("1", b"{}"), Change::Changed);
        assert_eq!(cards.heard_server("s", b"{}"), Change::Changed);
        assert_eq!(cards.heard_tool("2", b""), Change::Changed);
        assert_eq!(cards.heard_tool("3", large.as_bytes()), Change::Nothing);
        assert_eq!(cards.heard_tool("new", large.as_bytes()), Change::Changed);
    }
}
