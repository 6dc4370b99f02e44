//! What a tool or prompt of a server is called towards a host.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// `server__tool`, with characters that hosts accept, at most 64. Only names that say themselves
/// where they are to be cut stay as they are; any other gets a hash of both parts at its end, so
/// that no server can take the name of another one's tool by calling itself alike.
#[must_use]
pub(crate) fn host_name(server: &str, item: &str) -> String {
    let plain = format!("{server}__{item}");
    let cut_is_clear = !server.contains("__") && !server.ends_with('_');
    if cut_is_clear && plain.len() <= LONGEST && plain.chars().all(is_legal) {
        return plain;
    }
    let room = LONGEST - SEPARATOR.len() - HASH_LETTERS - 1;
    let item_part = legal(item, room.saturating_sub(SHORTEST_SERVER));
    let server_part = legal(server, room.saturating_sub(item_part.len()));
    format!("{server_part}{SEPARATOR}{item_part}_{}", hash(server, item))
}

/// A server's name as one level of a topic: itself if it is one, else with a hash at its end.
#[must_use]
pub(crate) fn level_name(server: &str) -> String {
    if !server.contains(['/', '+', '#']) {
        return server.to_owned();
    }
    let start = legal(server, LONGEST - HASH_LETTERS - 1);
    format!("{start}_{}", hash(server, ""))
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn legal(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|c| if is_legal(c) { c } else { '-' }).collect()
}

/// The first 40 bits of SHA-256, in hexadecimal digits: the same on every machine and in every
/// version, and hard to meet on purpose.
fn hash(server: &str, item: &str) -> String {
    let digest = Sha256::new().chain_update(server).chain_update([0]).chain_update(item);
    let digest = digest.finalize();
    digest.iter().take(HASH_LETTERS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Which names are whose. A name stays with whom it was given to first while he offers it; if
/// another one's comes out the same in spite of the hash, that one is left out.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, (Arc<str>, String)>);

impl Names {
    /// The name for a server's item; `None` when it is another one's, or has been given to this one
    /// already: a list with the same name twice is the server's fault.
    pub(crate) fn assign(&mut self, server: &Arc<str>, item: &str) -> Option<String> {
        let name = host_name(server, item);
        match self.0.entry(name.clone()) {
            Entry::Vacant(place) => drop(place.insert((server.clone(), item.to_owned()))),
            Entry::Occupied(_) => {
                tracing::warn!(name, %server, item, "left out: the name is taken");
                return None;
            }
        }
        Some(name)
    }

    /// The server, and what it calls the item.
    pub(crate) fn find(&self, name: &str) -> Option<&(Arc<str>, String)> {
        self.0.get(name)
    }

    /// Gives all names of a server back.
    pub(crate) fn release(&mut self, server: &str) {
        self.0.retain(|_, (its_server, _)| &**its_server != server);
    }
}

const LONGEST: usize = 64;
const SEPARATOR: &str = "__";
const HASH_LETTERS: usize = 10;

/// Letters of the server's name that stay, however long the item's is.
const SHORTEST_SERVER: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_plain() {
        assert_eq!(host_name("files", "read_file"), "files__read_file");
        assert_eq!(host_name("a-b", "_x"), "a-b___x");
    }

    #[test]
    fn others_have_a_hash() {
        let name = host_name("demo/tools/calc", "add");
        assert!(name.starts_with("demo-tools-calc__add_"), "{name}");
        assert_eq!(name.len(), "demo-tools-calc__add_".len() + HASH_LETTERS);
        // What others compute, too: printf 'a/b\0c' | sha256sum
        assert_eq!(host_name("a/b", "c"), "a-b__c_51a83b4c5b");
        assert_ne!(host_name("a__b", "c"), host_name("a", "b__c"));
        assert_ne!(host_name("a_", "b"), host_name("a", "_b"));
        assert_ne!(host_name("a/b", "c"), host_name("a-b", "c"));
        assert_ne!(host_name("a/b", "c"), host_name("a+b", "c"));
    }

    #[test]
    fn a_server_is_one_level() {
        assert_eq!(level_name("my server"), "my server");
        let name = level_name("demo/calc");
        assert!(
            name.starts_with("demo-calc_") && name.len() == "demo-calc_".len() + HASH_LETTERS,
            "{name}"
        );
        assert_ne!(level_name("a/b"), level_name("a-b"));
        assert!(level_name(&"é/".repeat(500)).len() <= LONGEST);
    }

    #[test]
    fn a_name_stays_with_whom_had_it_first() {
        let mut names = Names::default();
        let (files, other): (Arc<str>, Arc<str>) = ("files".into(), "other".into());
        let name = names.assign(&files, "read").unwrap();
        assert_eq!((&*name, names.assign(&files, "read")), ("files__read", None));
        assert_eq!(names.find(&name), Some(&(files.clone(), "read".to_owned())));
        // As if the hash had failed.
        names.0.insert(host_name(&other, "x"), (files.clone(), "y".into()));
        assert_eq!(names.assign(&other, "x"), None);
        names.release("files");
        assert!(names.assign(&other, "x").is_some() && names.find("files__read").is_none());
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_hosts_accept(server in "\\PC{0,80}", item in "\\PC{0,80}") {
            let name = host_name(&server, &item);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST && name.chars().all(is_legal));
        }

        #[test]
        fn plain_names_differ_where_their_parts_do(
            one in ("[a-c_]{1,4}", "[a-c_]{1,4}"),
            two in ("[a-c_]{1,4}", "[a-c_]{1,4}"),
        ) {
            if one != two {
                prop_assert_ne!(host_name(&one.0, &one.1), host_name(&two.0, &two.1));
            }
        }
    }
}
