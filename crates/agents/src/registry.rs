//! One view of the tools of both protocols: which servers there are, what they offer, and what has
//! changed. A tool that says today what it did not say yesterday may not be what its users have
//! agreed to ("rug pull"), so what a server has offered is remembered while it is away.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The protocol by which a server offers its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// MCP over MQTT.
    Mcp,
    /// MQTT.Agent.
    Agent,
}

impl Protocol {
    /// Its name, as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server: its protocol and its name, which its instances share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    /// How it offers its tools.
    pub protocol: Protocol,
    /// What it is called there.
    pub name: String,
}

/// The servers that have been seen.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<ServerKey, Registered>);

/// What is known of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registered {
    /// How many of it are there; 0: it is offline.
    pub instances: usize,
    /// Its tools, by name; `None` until it has told them.
    pub tools: Option<BTreeMap<String, RegisteredTool>>,
    /// When its tools were told first, or were others than before: milliseconds since 1970.
    pub changed_at: u64,
}

/// A tool as its server tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredTool {
    /// SHA-256 of all that it says, without what is about the moment, in the shortest JSON with its
    /// keys in order.
    pub fingerprint: Fingerprint,
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryEvent {
    /// The first of its instances is there.
    Online,
    /// The last one is gone.
    Offline,
    /// It has told its tools for the first time.
    Listed,
    /// They are others than before.
    ToolsChanged(ToolsChanged),
}

/// Names of tools, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolsChanged {
    /// Those that were not there.
    pub added: Vec<String>,
    /// Those that are not there any more.
    pub removed: Vec<String>,
    /// Those that say something else.
    pub changed: Vec<String>,
}

impl Registry {
    /// So many instances of a server are there.
    pub fn set_instances(&mut self, server: &ServerKey, instances: usize) -> Option<RegistryEvent> {
        let known = self.entry(server)?;
        let before = std::mem::replace(&mut known.instances, instances);
        match (before, instances) {
            (0, 0) => None,
            (0, _) => Some(RegistryEvent::Online),
            (_, 0) => Some(RegistryEvent::Offline),
            _ => None,
        }
    }

    /// A server tells its tools, all of them: names, and what it says of each.
    pub fn set_tools(
        &mut self,
        server: &ServerKey,
        tools: impl IntoIterator<Item = (String, Value)>,
        now_ms: u64,
    ) -> Option<RegistryEvent> {
        let known = self.entry(server)?;
        let told = tools.into_iter().map(|(name, told)| (name, RegisteredTool::new(told)));
        let tools: BTreeMap<_, _> = told.collect();
        let before = known.tools.replace(tools);
        let tools = known.tools.as_ref()?;
        let event = match before {
            None => RegistryEvent::Listed,
            Some(before) => RegistryEvent::ToolsChanged(ToolsChanged::between(&before, tools)?),
        };
        known.changed_at = now_ms;
        Some(event)
    }

    /// What is known of a server.
    #[must_use]
    pub fn server(&self, server: &ServerKey) -> Option<&Registered> {
        self.0.get(server)
    }

    /// All that have been seen, by protocol and name.
    pub fn servers(&self) -> impl Iterator<Item = (&ServerKey, &Registered)> {
        self.0.iter()
    }

    /// `None` when there is no room for one more: one that is offline makes room.
    fn entry(&mut self, server: &ServerKey) -> Option<&mut Registered> {
        if self.0.len() >= MOST_SERVERS && !self.0.contains_key(server) {
            let offline = self.0.iter().filter(|(_, known)| known.instances == 0);
            let oldest = offline.min_by_key(|(_, known)| known.changed_at);
            let oldest = oldest.map(|(key, _)| key.clone())?;
            self.0.remove(&oldest);
        }
        Some(self.0.entry(server.clone()).or_default())
    }
}

impl Registered {
    /// SHA-256 of the names and fingerprints of all tools, in the order of names: one number for
    /// "nothing has changed". `None` until they are known.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let mut digest = Sha256::new();
        for (name, tool) in self.tools.as_ref()? {
            digest.update(name);
            digest.update([0]);
            digest.update(tool.fingerprint.0);
        }
        Some(Fingerprint(digest.finalize().into()))
    }
}

impl RegisteredTool {
    fn new(told: Value) -> Self {
        let told = match told {
            Value::Object(fields) => Value::Object(without_the_moment(fields)),
            other => other,
        };
        // Maps are in the order of their keys here.
        Self { fingerprint: Fingerprint(Sha256::digest(told.to_string()).into()) }
    }
}

/// What a card says of now, which is not what its tool is.
fn without_the_moment(mut fields: Map<String, Value>) -> Map<String, Value> {
    for moment in ["status", "last_seen"] {
        fields.remove(moment);
    }
    fields
}

impl ToolsChanged {
    fn between(
        before: &BTreeMap<String, RegisteredTool>,
        after: &BTreeMap<String, RegisteredTool>,
    ) -> Option<Self> {
        let names = |tools: &BTreeMap<String, RegisteredTool>,
                     is_meant: &dyn Fn(&str, &RegisteredTool) -> bool| {
            let meant = tools.iter().filter(|(name, tool)| is_meant(name, tool));
            meant.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let is_other = |name: &str, tool: &RegisteredTool| {
            before.get(name).is_some_and(|old| old.fingerprint != tool.fingerprint)
        };
        let change = Self {
            added: names(after, &|name, _| !before.contains_key(name)),
            removed: names(before, &|name, _| !after.contains_key(name)),
            changed: names(after, &is_other),
        };
        (change != Self::default()).then_some(change)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Servers that are remembered. Beyond that the one that is offline and has changed longest ago is
/// forgotten; if none is offline, a new one is not taken.
const MOST_SERVERS: usize = 4_096;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(name: &str) -> ServerKey {
        ServerKey { protocol: Protocol::Mcp, name: name.into() }
    }

    fn tools(tools: &[(&str, Value)]) -> Vec<(String, Value)> {
        tools.iter().map(|(name, told)| ((*name).to_owned(), told.clone())).collect()
    }

    #[test]
    fn what_has_changed_is_told() {
        let (mut registry, it) = (Registry::default(), server("files"));
        assert_eq!(registry.set_instances(&it, 2), Some(RegistryEvent::Online));
        assert_eq!(registry.set_instances(&it, 1), None);
        let first = tools(&[("a", json!({ "d": 1, "e": 2 })), ("b", json!({})), ("c", json!(7))]);
        assert_eq!(registry.set_tools(&it, first.clone(), 5), Some(RegistryEvent::Listed));
        let same = tools(&[("c", json!(7)), ("b", json!({})), ("a", json!({ "e": 2, "d": 1 }))]);
        assert_eq!(registry.set_tools(&it, same, 6), None, "order says nothing");
        let fingerprint = registry.server(&it).unwrap().fingerprint().unwrap();
        assert_eq!(registry.set_instances(&it, 0), Some(RegistryEvent::Offline));
        assert_eq!(registry.set_instances(&it, 1), Some(RegistryEvent::Online));
        let other = tools(&[("a", json!({ "d": 1, "e": 3 })), ("c", json!(7)), ("d", json!({}))]);
        let change = ToolsChanged {
            added: vec!["d".into()],
            removed: vec!["b".into()],
            changed: vec!["a".into()],
        };
        let told = registry.set_tools(&it, other, 8);
        assert_eq!(told, Some(RegistryEvent::ToolsChanged(change)), "though it was away");
        let known = registry.server(&it).unwrap();
        assert_ne!(known.fingerprint(), Some(fingerprint));
        assert_eq!((known.instances, known.changed_at), (1, 8));
    }

    #[test]
    fn what_is_about_the_moment_is_no_change() {
        let (mut registry, it) = (Registry::default(), server("files"));
        let card = |status, at| tools(&[("a", json!({ "status": status, "last_seen": at }))]);
        registry.set_tools(&it, card("online", 1), 1);
        assert_eq!(registry.set_tools(&it, card("offline", 2), 2), None);
    }

    #[test]
    fn a_name_is_not_a_part_of_what_follows_it() {
        let print = |all: &[(&str, Value)]| {
            let (mut registry, it) = (Registry::default(), server("files"));
            registry.set_tools(&it, tools(all), 1);
            registry.server(&it).unwrap().fingerprint().unwrap()
        };
        let one = print(&[("a", json!(1))]);
        assert_eq!(one.to_string().len(), 64);
        assert_ne!(one, print(&[("a", json!(2))]));
        assert_ne!(one, print(&[("b", json!(1))]));
        assert_ne!(one, print(&[]));
    }

    #[test]
    fn it_has_a_bound() {
        let mut registry = Registry::default();
        for number in 0..MOST_SERVERS {
            registry.set_instances(&server(&number.to_string()), 1);
        }
        assert_eq!(registry.set_instances(&server("one more"), 1), None);
        registry.set_instances(&server("7"), 0);
        assert_eq!(registry.set_instances(&server("one more"), 1), Some(RegistryEvent::Online));
        assert_eq!(registry.servers().count(), MOST_SERVERS);
        assert!(registry.server(&server("7")).is_none());
    }
}
