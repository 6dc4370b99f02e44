//! Who has published what is kept for others.

use std::collections::HashSet;
use std::sync::Arc;

use agentmq_identity::Principal;

/// Who has published a message that outlives his connection: what it takes to ask again what he
/// may. No more than texts, since messages of one author are many and last for long.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Author {
    /// The client identifier.
    pub client_id: Box<str>,
    /// Whom the client acted as, see [`Principal::record`].
    pub principal: Option<Box<str>>,
}

/// Authors that are known, each once: so a message costs a reference.
#[derive(Debug, Default)]
pub struct Authors {
    all: HashSet<Arc<Author>>,
    /// Those that nobody needs are looked for when there are so many.
    sweep_at: usize,
}

impl Author {
    /// Who publishes as this client. `None` where nothing could be asked: it has no name, and no
    /// rules speak of it.
    pub fn of(principal: &Principal, client_id: &str) -> Option<Self> {
        if principal.name().is_none() && !principal.is_restricted() {
            return None;
        }
        let principal = principal.record().map(|record| record.into_owned().into_boxed_str());
        Some(Self { client_id: client_id.into(), principal })
    }

    /// A client that has no name.
    pub fn unnamed(client_id: &str) -> Self {
        Self { client_id: client_id.into(), principal: None }
    }

    /// Whom the client acted as, with no rights yet.
    pub fn principal(&self) -> Principal {
        self.principal.as_deref().map_or(Principal::ANONYMOUS, Principal::recorded)
    }
}

impl Authors {
    /// The one that equals this one, which it is from now on if there was none.
    pub fn known(&mut self, author: Arc<Author>) -> Arc<Author> {
        if let Some(known) = self.all.get(&author) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.sweep_at {
            self.all.retain(|it| Arc::strong_count(it) > 1);
            self.sweep_at = (2 * self.all.len()).max(FEW);
        }
        self.all.insert(Arc::clone(&author));
        author
    }
}

/// So many are never too many.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use agentmq_identity::{Effect, Policy};

    use super::*;

    #[test]
    fn an_author_is_known_once_and_as_long_as_somebody_needs_it() {
        let mut authors = Authors::default();
        let scout = |client_id: &str| {
            Arc::new(Author::of(&Principal::named("scout"), client_id).expect("has a name"))
        };
        let first = authors.known(scout("a"));
        assert!(Arc::ptr_eq(&first, &authors.known(scout("a"))));
        assert!(!Arc::ptr_eq(&first, &authors.known(scout("b"))));
        for number in 0..10_000 {
            authors.known(scout(&number.to_string()));
        }
        assert!(authors.all.len() <= FEW, "{}", authors.all.len());
        assert!(Arc::ptr_eq(&first, &authors.known(scout("a"))), "that one is needed");
    }

    #[test]
    fn who_has_no_name_is_an_author_where_rules_speak_of_him() {
        let anonymous = Principal::ANONYMOUS;
        assert_eq!(Author::of(&anonymous, "a"), None);
        let policy = Policy::new(Vec::new(), Effect::Deny);
        let author = Author::of(&anonymous.under(&policy, "a"), "a").expect("is restricted");
        assert_eq!(author.principal().name(), None);
        let author = Author::of(&Principal::named("scout"), "a").expect("has a name");
        assert_eq!(author.principal().name(), Some("scout"));
    }
}
