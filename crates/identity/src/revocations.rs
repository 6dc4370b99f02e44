//! Who is not let in any more, whatever he shows, and is put out where he is: one whose token was
//! stolen, an agent that has gone wild, an address that attacks.

use core::net::IpAddr;

use crate::evidence::Evidence;
use crate::mount::is_client_of;
use crate::principal::Principal;

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations(pub Vec<Revocation>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whom it is about.
    pub of: Revoked,
    /// Only tokens made until then, in Unix seconds, and who came with one; `None`: whatever he
    /// shows.
    pub made_until: Option<u64>,
    /// Unix time in seconds from which on it does not hold any more; `None`: until it is lifted.
    pub ends: Option<u64>,
}

/// Whom a revocation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The token of this identifier (`jti`), and all that are refreshed from it (`chain`).
    Token(String),
    /// Who is called that: a user name, or the subject of a token.
    Name(String),
    /// Who acts as this agent (`agent_id`).
    Agent(String),
    /// Who is this tool server (`server_id`).
    Server(String),
    /// Who acts for this user (`user_id`).
    User(String),
    /// Who is of this organisation (`org_id`).
    Organization(String),
    /// Who uses this client identifier.
    ClientId(String),
    /// Who comes from this address.
    Address(IpAddr),
}

impl Revocation {
    /// Whether it is about the same, and puts out whoever the other one does for as long.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let reaches = |own: Option<u64>, other: Option<u64>| {
            own.is_none_or(|own| other.is_some_and(|other| own >= other))
        };
        self.of == other.of
            && reaches(self.made_until, other.made_until)
            && reaches(self.ends, other.ends)
    }
}

impl Revocations {
    /// Adds one, in place of those that it covers. `false`: one that is there covers it, and stays.
    pub fn add(&mut self, new: Revocation) -> bool {
        if self.0.iter().any(|it| *it != new && it.covers(&new)) {
            return false;
        }
        self.0.retain(|it| !new.covers(it));
        self.0.push(new);
        true
    }

    /// Whether this one is out.
    pub(crate) fn hold_for(
        &self,
        principal: &Principal,
        client_id: &str,
        source: Option<IpAddr>,
        now: u64,
    ) -> bool {
        self.0.iter().any(|it| {
            it.ends.is_none_or(|ends| now < ends)
                && it.of.is_about(principal, client_id, source)
                && it.made_until.is_none_or(|until| made_at(principal) <= until)
        })
    }
}

/// When the token was made that a client has come with; long ago, if it does not say, or if the
/// client has come with something else.
fn made_at(principal: &Principal) -> u64 {
    match principal.evidence() {
        Evidence::Token(token) => token.made_at,
        Evidence::Password | Evidence::Certificate | Evidence::Hook | Evidence::Word => 0,
    }
}

impl Revoked {
    fn is_about(&self, principal: &Principal, client_id: &str, source: Option<IpAddr>) -> bool {
        let claims = principal.claims();
        match self {
            Self::Token(id) => match principal.evidence() {
                Evidence::Token(token) => {
                    [&token.id, &token.chain].into_iter().flatten().any(|own| own == id)
                }
                Evidence::Password | Evidence::Certificate | Evidence::Hook | Evidence::Word => {
                    false
                }
            },
            Self::Name(name) => principal.name() == Some(name),
            Self::Agent(name) => claims.is_some_and(|it| it.agent_id.as_ref() == Some(name)),
            Self::Server(name) => claims.is_some_and(|it| it.server_id.as_ref() == Some(name)),
            Self::User(name) => claims.is_some_and(|it| it.user_id.as_ref() == Some(name)),
            Self::Organization(name) => claims.is_some_and(|it| it.org_id.as_ref() == Some(name)),
            Self::ClientId(id) => {
                let org = claims.and_then(|it| it.org_id.as_deref());
                client_id == id || org.is_some_and(|org| is_client_of(id, org, client_id))
            }
            Self::Address(address) => {
                source.is_some_and(|source| source.to_canonical() == address.to_canonical())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;
    use crate::evidence::TokenMark;

    fn scout(made_at: u64) -> Principal {
        let claims = Claims {
            agent_id: Some("scout".into()),
            org_id: Some("acme".into()),
            ..Claims::default()
        };
        let mark = TokenMark { id: Some("j1".into()), chain: Some("c1".into()), made_at };
        Principal::verified("name", claims).by(Evidence::Token(mark))
    }

    fn holds(of: Revoked, made_until: Option<u64>, ends: Option<u64>) -> bool {
        let revocations = Revocations(vec![Revocation { of, made_until, ends }]);
        let source = Some(IpAddr::from([10, 0, 0, 1]));
        revocations.hold_for(&scout(100), "client", source, 1000)
    }

    #[test]
    fn the_stronger_one_stays() {
        let made = |made_until, ends| {
            let of = Revoked::Agent("scout".into());
            Revocation { of, made_until, ends }
        };
        let (ban, hour) = (made(None, None), made(None, Some(3600)));
        let (tokens, later) = (made(Some(100), Some(9000)), made(Some(200), Some(9000)));
        for (there, new, expected) in [
            (&ban, &hour, vec![&ban]),
            (&ban, &tokens, vec![&ban]),
            (&hour, &ban, vec![&ban]),
            (&tokens, &later, vec![&later]),
            (&later, &tokens, vec![&later]),
            (&ban, &ban, vec![&ban]),
            // Neither covers the other.
            (&hour, &tokens, vec![&hour, &tokens]),
        ] {
            let mut all = Revocations(vec![there.clone()]);
            let is_added = all.add(new.clone());
            assert_eq!(all.0.iter().collect::<Vec<_>>(), expected);
            assert_eq!(is_added, all.0.last() == Some(new), "{there:?} {new:?}");
        }
        let mut all = Revocations(vec![ban]);
        assert!(all.add(Revocation { of: Revoked::Agent("other".into()), ..hour }));
        assert_eq!(all.0.len(), 2);
    }

    #[test]
    fn an_address_is_the_same_in_both_notations() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(holds(Revoked::Address(mapped), None, None));
    }

    #[test]
    fn each_kind_is_about_its_own() {
        type Kind = fn(String) -> Revoked;
        let kinds: [(Kind, &str); 7] = [
            (Revoked::Token, "j1"),
            (Revoked::Token, "c1"),
            (Revoked::Name, "name"),
            (Revoked::Agent, "scout"),
            (Revoked::Organization, "acme"),
            (Revoked::ClientId, "client"),
            (Revoked::Server, ""),
        ];
        for (kind, value) in kinds {
            assert_eq!(holds(kind(value.into()), None, None), !value.is_empty(), "{value}");
            assert!(!holds(kind("other".into()), None, None), "other than {value}");
        }
        assert!(holds(Revoked::Address(IpAddr::from([10, 0, 0, 1])), None, None));
        assert!(!holds(Revoked::Address(IpAddr::from([10, 0, 0, 2])), None, None));
    }

    #[test]
    fn a_client_of_one_organisation_can_be_named() {
        assert!(holds(Revoked::ClientId("$org/acme/client".into()), None, None));
        for other in
            ["$org/other/client", "$org/acme/clien", "$org/acme/client/", "$org/acm/client"]
        {
            assert!(!holds(Revoked::ClientId(other.into()), None, None), "{other}");
        }
    }

    #[test]
    fn tokens_made_later_and_times_that_are_over_are_no_matter() {
        let agent = || Revoked::Agent("scout".into());
        assert!(holds(agent(), Some(100), None));
        assert!(!holds(agent(), Some(99), None), "it has a newer token");
        assert!(holds(agent(), None, Some(1001)));
        assert!(!holds(agent(), None, Some(1000)), "it is over");
    }
}
