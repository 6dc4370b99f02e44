//! Which servers are online.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{INSTANCES, Instance, Online};

/// The servers that are online, by name: a name is there while one instance is.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Online>>>,
    count: usize,
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
        self.by_name.get(name).into_iter().flat_map(BTreeMap::values)
    }

    /// Every instance.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Online>> {
        self.by_name.values().flat_map(BTreeMap::values)
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
        if self.count >= INSTANCES && !self.has(instance) {
            return Change::Dropped;
        }
        let ids = self.by_name.entry(instance.name().into()).or_default();
        match ids.insert(instance.id().into(), Arc::new(online)) {
            None => self.count += 1,
            Some(before) if ids.get(instance.id()) == Some(&before) => return Change::Nothing,
            Some(_) => {}
        }
        Change::Came
    }

    fn went(&mut self, instance: &Instance) -> Change {
        let Some(ids) = self.by_name.get_mut(instance.name()) else { return Change::Nothing };
        if ids.remove(instance.id()).is_none() {
            return Change::Nothing;
        }
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
    }
}
