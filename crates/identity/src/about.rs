//! Whom a rule is about.

use crate::client_ids::ClientIdPattern;
use crate::rule::Subject;

/// Whom a rule is about: who fits all that it says. The default is everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Those of these names; `None`: everybody, also without a name.
    pub users: Option<Vec<String>>,
    /// Who has one of these roles.
    pub roles: Option<Vec<String>>,
    /// Who has one of these claims.
    pub claims: Option<Vec<String>>,
    /// Who uses one of these client identifiers.
    pub client_ids: Option<Vec<ClientIdPattern>>,
}

impl About {
    /// Whether it is about everybody.
    pub(crate) fn is_everybody(&self) -> bool {
        let Self { users, roles, claims, client_ids } = self;
        users.is_none() && roles.is_none() && claims.is_none() && client_ids.is_none()
    }

    pub(crate) fn includes(&self, subject: &Subject<'_>) -> bool {
        let is_one = |users: &Vec<String>| {
            subject.user.is_some_and(|user| users.iter().any(|known| known == user))
        };
        let has_one = |roles: &Vec<String>| {
            subject.claims.is_some_and(|claims| claims.roles.iter().any(|it| roles.contains(it)))
        };
        let claims_one = |names: &Vec<String>| {
            subject.claims.is_some_and(|claims| names.iter().any(|name| claims.has(name)))
        };
        let uses_one = |all: &Vec<ClientIdPattern>| all.iter().any(|it| it.is_of(subject));
        self.users.as_ref().is_none_or(is_one)
            && self.roles.as_ref().is_none_or(has_one)
            && self.claims.as_ref().is_none_or(claims_one)
            && self.client_ids.as_ref().is_none_or(uses_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fits_all_that_is_said_is_meant() {
        let pattern = |text| ClientIdPattern::parse(text).expect("is one");
        let about = About {
            users: Some(vec!["scout".into()]),
            client_ids: Some(vec![pattern("calc-*"), pattern("{user}")]),
            ..About::default()
        };
        assert!(About::default().is_everybody() && !about.is_everybody());
        for (client_id, user, expected) in [
            ("calc-1", "scout", true),
            ("scout", "scout", true),
            ("other", "scout", false),
            ("calc-1", "other", false),
        ] {
            let subject = Subject { client_id, user: Some(user), claims: None };
            assert_eq!(about.includes(&subject), expected, "{client_id} {user}");
        }
    }
}
