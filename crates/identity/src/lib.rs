//! Who a client is, and the one function that says what it may do.
//!
//! The router asks [`Authenticator`] at CONNECT (and at every AUTH) and [`Principal::authorize`]
//! on every path that carries a message. What must be fetched (keys, hooks) is supplied by the
//! broker; this crate does no I/O and reads no clock.
#![forbid(unsafe_code)]

mod authenticate;
mod authorize;
mod grants;
mod guarded;
mod policy;
mod principal;
mod rule;

pub use authenticate::{Authenticator, Challenge, Credentials, Exchange, Open, Outcome, Refusal};
pub use authorize::{Action, Decision};
pub use guarded::{Guarded, PolicyInForce};
pub use policy::Policy;
pub use principal::Principal;
pub use rule::{Effect, Pattern, PatternError, Rule};
