//! From credentials to a principal, in one step or by an exchange of AUTH packets.

use core::net::IpAddr;
use std::borrow::Cow;

use agentmq_codec::{ProtocolVersion, ReasonCode};

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
    /// Whether the listener lets in who brings nothing of all this.
    pub may_be_anonymous: bool,
    /// The client's certificate in DER, which the handshake has verified.
    pub certificate: Option<&'a [u8]>,
    /// The address that it comes from; `None` for a Unix socket.
    pub source: Option<IpAddr>,
    /// The listener that it comes by: its place in the configuration.
    pub listener: u16,
    /// What it speaks.
    pub version: ProtocolVersion,
}

/// Where somebody is who was let in earlier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presence<'a> {
    /// His client identifier.
    pub client_id: &'a str,
    /// The address that he came from; `None` for a Unix socket, and while he is away.
    pub source: Option<IpAddr>,
    /// Whether who brings no credentials may be there.
    pub may_be_anonymous: bool,
}

/// Why a client is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// CONNACK or DISCONNECT reason code.
    pub reason: ReasonCode,
    /// Reason string: says no more than the client may know.
    pub why: Cow<'static, str>,
}

impl Refusal {
    /// The same words whoever finds it out, and whether there is such a user or not.
    pub(crate) fn wrong_password() -> Self {
        let why = "the user name or password is wrong".into();
        Self { reason: ReasonCode::BadUserNameOrPassword, why }
    }

    /// Five guesses were wrong, or a hundred; see [`crate::Lockout`].
    pub(crate) fn locked_out() -> Self {
        let why = "too many wrong passwords from here: try again in ten minutes".into();
        Self { reason: ReasonCode::QuotaExceeded, why }
    }
}

/// The server's next step in an exchange (AUTH 0x18), with the state that judges the answer.
#[derive(Debug)]
pub struct Challenge {
    /// Authentication Data to send.
    pub data: Vec<u8>,
    /// Judges the client's next AUTH.
    pub exchange: Box<dyn Exchange>,
}

/// Who was let in.
#[derive(Debug)]
pub struct Acceptance {
    /// Whom the connection acts as.
    pub principal: Principal,
    /// Authentication Data for CONNACK or the final AUTH.
    pub data: Option<Vec<u8>>,
    /// Seconds after which the proof is not good any more; `None`: it stays good.
    pub lasts_secs: Option<u64>,
}

impl From<Principal> for Acceptance {
    fn from(principal: Principal) -> Self {
        Self { principal, data: None, lasts_secs: None }
    }
}

/// The result of one authentication step.
#[derive(Debug)]
pub enum Outcome {
    /// Authenticated.
    Accepted(Acceptance),
    /// Turned away.
    Refused(Refusal),
    /// One more round.
    Continue(Challenge),
    /// The answer takes long to find: somebody else finds it, and the client waits.
    Later(Box<dyn Work>),
}

/// What takes so long that no shard does it: to hash a password, to ask another server.
pub trait Work: Send + std::fmt::Debug {
    /// Does it, on a thread of its own. What comes out may be anything but more work.
    fn run(self: Box<Self>) -> Outcome;

    /// Whether it waits for somebody else nearly all of its time. Such work is not done where
    /// others compute: who is slow to answer holds up those only who wait for him, too.
    fn waits(&self) -> bool {
        false
    }
}

/// Decides who a client is. Implementations are shared by all shards.
pub trait Authenticator: Send + Sync + std::fmt::Debug {
    /// Judges a CONNECT, or the first AUTH of a re-authentication (which has a method and no
    /// password).
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome;

    /// Who a session goes on as that was authenticated earlier: before the broker started, or
    /// before what holds changed. `None`: it does not go on, since he would not be let in now.
    fn remembered(&self, principal: &Principal, presence: &Presence<'_>) -> Option<Principal> {
        let _ = presence;
        Some(principal.clone())
    }

    /// Whether clients of different organisations may be called the same: then a client identifier
    /// says nothing yet about who comes.
    fn keeps_apart(&self) -> bool {
        false
    }

    /// How many more seconds the proof of a principal is good whose time is over, or will be soon:
    /// it may have been renewed without the client saying so.
    fn lasts_secs(&self, principal: &Principal) -> u64 {
        let _ = principal;
        0
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
                why: "this server supports no enhanced authentication method".into(),
            });
        }
        let principal = credentials.username.map_or(Principal::ANONYMOUS, Principal::named);
        Outcome::Accepted(principal.into())
    }
}
