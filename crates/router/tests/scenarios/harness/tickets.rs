//! Proofs that end.

use agentmq_identity::{Acceptance, Authenticator, Claims, Credentials, Outcome, Principal};

/// Lets in by the method `ticket`, or a user name: a name and the seconds for which it is good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tickets;

impl Authenticator for Tickets {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let text = match (credentials.method, credentials.username) {
            (Some((_, data)), _) => std::str::from_utf8(data).expect("tests write texts"),
            (None, Some(text)) => text,
            (None, None) => return Outcome::Accepted(Principal::ANONYMOUS.into()),
        };
        let (name, secs) = text.split_once(' ').expect("tests write a name and seconds");
        Outcome::Accepted(Acceptance {
            lasts_secs: Some(secs.parse().expect("tests write seconds")),
            ..Principal::verified(name, Claims::default()).into()
        })
    }
}
