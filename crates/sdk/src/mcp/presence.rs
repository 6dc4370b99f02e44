//! Which servers are online.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DIRECTORY_BYTES, INSTANCES, Instance, Online};

/// The servers that are online, by name: a name is there while one instance is.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry>>,
    count: usize,
    /// Bytes that all of them take, about.
    weight: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    online: Arc<Online>,
    weight: usize,
}

/// What a message on a presence topic has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Came,
    Went,
    Nothing,
    /// It was not taken: no online message, or one too many.
    Dropped,
}

impl Directory {
    /// The names of all servers, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// The instances of a server, sorted by server-id.
    pub fn instances(&self, name: &str) -> impl Iterator<Item = &Arc<Online>> {
        let entries = self.by_name.get(name).into_iter().flat_map(BTreeMap::values);
        entries.map(|entry| &entry.online)
    }

    /// Every instance.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Online>> {
        self.by_name.values().flat_map(BTreeMap::values).map(|entry| &entry.online)
    }

    /// Whether this instance is online.
    #[must_use]
    pub fn has(&self, instance: &Instance) -> bool {
        self.by_name.get(instance.name()).is_some_and(|ids| ids.contains_key(instance.id()))
    }

    /// How many instances are online.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is online.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes in what came on a presence topic. Whatever is empty clears it, retained or not.
    pub(crate) fn heard(&mut self, instance: &Instance, payload: &[u8]) -> Change {
        if payload.is_empty() {
            return self.went(instance);
        }
        let Some(online) = Online::decode(instance.clone(), payload) else {
            return Change::Dropped;
        };
        let before = self.by_name.get(instance.name()).and_then(|ids| ids.get(instance.id()));
        let (others, freed) = match before {
            Some(entry) if *entry.online == online => return Change::Nothing,
            Some(entry) => (self.count - 1, entry.weight),
            None => (self.count, 0),
        };
        let weight = online.weight();
        let all = self.weight - freed + weight;
        if others >= INSTANCES || all > DIRECTORY_BYTES {
            return Change::Dropped;
        }
        (self.count, self.weight) = (others + 1, all);
        let entry = Entry { online: Arc::new(online), weight };
        let ids = self.by_name.entry(instance.name().into()).or_default();
        ids.insert(instance.id().into(), entry);
        Change::Came
    }

    fn went(&mut self, instance: &Instance) -> Change {
        let Some(ids) = self.by_name.get_mut(instance.name()) else { return Change::Nothing };
        let Some(entry) = ids.remove(instance.id()) else { return Change::Nothing };
        self.weight -= entry.weight;
        if ids.is_empty() {
            self.by_name.remove(instance.name());
        }
        self.count -= 1;
        Change::Went
    }

    /// Forgets everybody.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ONLINE_BYTES;

    const ONLINE: &[u8] = br#"{"method":"notifications/server/online"}"#;

    fn instance(id: &str, name: &str) -> Instance {
        Instance::new(id, name).unwrap()
    }

    fn names(directory: &Directory) -> Vec<&str> {
        directory.names().collect()
    }

    #[test]
    fn a_name_is_online_while_an_instance_is() {
        let mut directory = Directory::default();
        let (first, second) = (instance("s1", "a/b"), instance("s2", "a/b"));
        assert_eq!(directory.heard(&first, ONLINE), Change::Came);
        assert_eq!(directory.heard(&first, ONLINE), Change::Nothing);
        assert_eq!(directory.heard(&second, ONLINE), Change::Came);
        assert_eq!(directory.heard(&instance("s1", "c"), ONLINE), Change::Came);
        assert_eq!((names(&directory), directory.len()), (vec!["a/b", "c"], 3));
        assert_eq!(directory.heard(&first, b""), Change::Went);
        assert_eq!(directory.heard(&first, b""), Change::Nothing);
        assert!(!directory.has(&first) && directory.has(&second));
        assert_eq!(directory.heard(&second, b""), Change::Went);
        assert_eq!((names(&directory), directory.len()), (vec!["c"], 1));
    }

    #[test]
    fn what_is_no_online_message_changes_nothing() {
        let mut directory = Directory::default();
        assert_eq!(directory.heard(&instance("s", "a"), b"{}"), Change::Dropped);
        assert_eq!(directory.heard(&instance("s", "a"), ONLINE), Change::Came);
        assert_eq!(directory.heard(&instance("s", "a"), b"{}"), Change::Dropped);
        assert_eq!(directory.len(), 1);
    }

    #[test]
    fn it_has_a_bound() {
        let mut directory = Directory::default();
        for number in 0..INSTANCES {
            directory.heard(&instance(&format!("s{number}"), "a"), ONLINE);
        }
        assert_eq!(directory.heard(&instance("one-more", "a"), ONLINE), Change::Dropped);
        let again = br#"{"method":"notifications/server/online","params":{"description":"x"}}"#;
        assert_eq!(directory.heard(&instance("s1", "a"), again), Change::Came);
        assert_eq!(directory.len(), INSTANCES);
        assert_eq!(directory.heard(&instance("s1", "a"), b""), Change::Went);
        assert_eq!(directory.heard(&instance("one-more", "a"), ONLINE), Change::Came);
    }

    #[test]
    fn what_is_short_as_text_has_a_bound_by_what_it_takes() {
        let mut directory = Directory::default();
        let objects = [r#"{"a":1}"#; 4096].join(",");
        let params = format!(r#"{{"meta":[{objects}]}}"#);
        let online = format!(r#"{{"method":"notifications/server/online","params":{params}}}"#);
        assert!(online.len() < ONLINE_BYTES);
        let came = (0..100).filter(|number| {
            let one = instance(&format!("s{number}"), "a");
            directory.heard(&one, online.as_bytes()) == Change::Came
        });
        assert_eq!(came.count(), DIRECTORY_BYTES / (4096 * (8 + 640 + 64)));
    }

    #[test]
    fn as_many_as_may_be_have_room_as_servers_are() {
        let mut directory = Directory::default();
        let online = |id: &str| Online {
            instance: instance(id, "example/calculator"),
            description: "Adds, multiplies, and tells how it came to what it says".to_owned(),
            meta: serde_json::Value::Null,
        };
        for number in 0..INSTANCES {
            let one = online(&format!("agentmq-{number:016}"));
            let said = one.speaking(rmcp::model::ProtocolVersion::KNOWN_VERSIONS);
            assert_eq!(directory.heard(&said.instance, &said.encode()), Change::Came);
        }
    }

    #[test]
    fn its_bytes_have_a_bound_too() {
        let mut directory = Directory::default();
        let text = "x".repeat(ONLINE_BYTES - 100);
        let params = format!(r#"{{"description":"{text}"}}"#);
        let long = format!(r#"{{"method":"notifications/server/online","params":{params}}}"#);
        let came = (0..INSTANCES).take_while(|number| {
            let one = instance(&format!("s{number}"), "a");
            directory.heard(&one, long.as_bytes()) == Change::Came
        });
        assert_eq!(came.count(), DIRECTORY_BYTES / (text.len() + 520));
        let more = instance("more", "a");
        assert_eq!(directory.heard(&more, long.as_bytes()), Change::Dropped);
        assert_eq!(directory.heard(&instance("s0", "a"), ONLINE), Change::Came);
        assert_eq!(directory.heard(&more, long.as_bytes()), Change::Came);
        for online in directory.clone().all() {
            directory.heard(&online.instance, b"");
        }
        assert_eq!((directory.weight, directory.is_empty()), (0, true));
    }
}
