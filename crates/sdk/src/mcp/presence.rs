//! Which servers are online.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DIRECTORY_BYTES, INSTANCES, Instance, Online};

/// The servers that are online, by name: a name is there while one instance is.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry>>,
    count: usize,
    /// Of all online messages.
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    online: Arc<Online>,
    bytes: usize,
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
            Some(entry) => (self.count - 1, entry.bytes),
            None => (self.count, 0),
        };
        let bytes = self.bytes - freed + payload.len();
        if others >= INSTANCES || bytes > DIRECTORY_BYTES {
            return Change::Dropped;
        }
        (self.count, self.bytes) = (others + 1, bytes);
        let entry = Entry { online: Arc::new(online), bytes: payload.len() };
        let ids = self.by_name.entry(instance.name().into()).or_default();
        ids.insert(instance.id().into(), entry);
        Change::Came
    }

    fn went(&mut self, instance: &Instance) -> Change {
        let Some(ids) = self.by_name.get_mut(instance.name()) else { return Change::Nothing };
        let Some(entry) = ids.remove(instance.id()) else { return Change::Nothing };
        self.bytes -= entry.bytes;
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
    fn its_bytes_have_a_bound_too() {
        let mut directory = Directory::default();
        let text = "x".repeat(ONLINE_BYTES - 100);
        let params = format!(r#"{{"description":"{text}"}}"#);
        let long = format!(r#"{{"method":"notifications/server/online","params":{params}}}"#);
        let room = DIRECTORY_BYTES / long.len();
        for number in 0..room {
            let one = instance(&format!("s{number}"), "a");
            assert_eq!(directory.heard(&one, long.as_bytes()), Change::Came);
        }
        let more = instance("more", "a");
        assert_eq!(directory.heard(&more, long.as_bytes()), Change::Dropped);
        assert_eq!(directory.heard(&instance("s0", "a"), ONLINE), Change::Came);
        assert_eq!(directory.heard(&more, long.as_bytes()), Change::Came);
        for online in directory.clone().all() {
            directory.heard(&online.instance, b"");
        }
        assert_eq!((directory.bytes, directory.is_empty()), (0, true));
    }
}
