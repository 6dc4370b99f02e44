//! An enhanced authentication method that asks a question.

use agentmq_codec::ReasonCode;
use agentmq_identity::{
    Acceptance, Authenticator, Challenge, Credentials, Exchange, Outcome, Principal, Refusal,
};

/// Accepts the method `riddle`. The data `password` is right at once, `hard` leads to two
/// questions, anything else to one; the answer to a question is its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Riddle;

#[derive(Debug)]
struct Question {
    number: u8,
    last: u8,
}

impl Authenticator for Riddle {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        match credentials.method {
            None if credentials.username == Some("nobody") => refused(ReasonCode::NotAuthorized),
            None => Outcome::Accepted(
                credentials.username.map_or(Principal::ANONYMOUS, Principal::named).into(),
            ),
            Some(("riddle", b"password")) => accepted(),
            Some(("riddle", b"hard")) => ask(1, 2),
            Some(("riddle", _)) => ask(1, 1),
            Some(_) => refused(ReasonCode::BadAuthenticationMethod),
        }
    }
}

impl Exchange for Question {
    fn step(self: Box<Self>, data: &[u8]) -> Outcome {
        if data != self.number.to_string().as_bytes() {
            return refused(ReasonCode::NotAuthorized);
        }
        if self.number < self.last { ask(self.number + 1, self.last) } else { accepted() }
    }
}

fn ask(number: u8, last: u8) -> Outcome {
    let exchange = Box::new(Question { number, last });
    Outcome::Continue(Challenge { data: format!("question {number}").into_bytes(), exchange })
}

fn accepted() -> Outcome {
    let principal = Principal::named("sphinx");
    Outcome::Accepted(Acceptance { data: Some(b"welcome".to_vec()), ..principal.into() })
}

fn refused(reason: ReasonCode) -> Outcome {
    Outcome::Refused(Refusal { reason, why: "no".into() })
}
