//! From credentials to a principal, in one step or by an exchange of AUTH packets.

use agentmq_codec::ReasonCode;

use crate::Principal;

/// What a CONNECT says about who sent it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The client identifier; empty when the server will assign one.
    pub client_id: &'a str,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Authentication Method and Data of MQTT 5 §4.12.
    pub method: Option<(&'a str, &'a [u8])>,
}

/// Why a client is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// CONNACK or DISCONNECT reason code.
    pub reason: ReasonCode,
    /// Reason string: says no more than the client may know.
    pub why: &'static str,
}

/// The server's next step in an exchange (AUTH 0x18), with the state that judges the answer.
#[derive(Debug)]
pub struct Challenge {
    /// Authentication Data to send.
    pub data: Vec<u8>,
    /// Judges the client's next AUTH.
    pub exchange: Box<dyn Exchange>,
}

/// The result of one authentication step.
#[derive(Debug)]
pub enum Outcome {
    /// Authenticated; the data, if any, goes into CONNACK or the final AUTH.
    Accepted(Principal, Option<Vec<u8>>),
    /// Turned away.
    Refused(Refusal),
    /// One more round.
    Continue(Challenge),
}

/// Decides who a client is. Implementations are shared by all shards.
pub trait Authenticator: Send + Sync + std::fmt::Debug {
    /// Judges a CONNECT, or the first AUTH of a re-authentication (which has a method and no
    /// password).
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome;

    /// Who a session acts as that has survived the broker, and whose client has not come back: its
    /// will is still judged.
    fn remembered(&self, name: Option<&str>, client_id: &str) -> Principal {
        let _ = client_id;
        name.map_or(Principal::ANONYMOUS, Principal::named)
    }
}

/// An exchange under way on one connection.
pub trait Exchange: Send + std::fmt::Debug {
    /// Judges the Authentication Data of the client's next AUTH.
    fn step(self: Box<Self>, data: &[u8]) -> Outcome;
}

/// Lets everybody in, under the user name that they give. For loopback and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Authenticator for Open {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        if credentials.method.is_some() {
            // [MQTT-4.12.0-1]
            return Outcome::Refused(Refusal {
                reason: ReasonCode::BadAuthenticationMethod,
                why: "this server supports no enhanced authentication method",
            });
        }
        let principal = credentials.username.map_or(Principal::ANONYMOUS, Principal::named);
        Outcome::Accepted(principal, None)
    }
}
