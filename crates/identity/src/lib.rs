//! Who a client is, and the one function that says what it may do.
//!
//! The router asks [`Authenticator`] at CONNECT (and at every AUTH) and [`Principal::authorize`]
//! on every path that carries a message. What must be fetched (keys, hooks) is supplied by the
//! broker; this crate does no I/O and reads no clock.
#![forbid(unsafe_code)]

mod about;
mod acl_claim;
mod authenticate;
mod authorize;
mod breaker;
mod certificates;
mod claim_mapping;
mod claims;
mod client_ids;
mod evidence;
mod grants;
mod guarded;
mod hook;
mod hook_answer;
mod hook_memory;
mod hook_question;
mod keyed_hash;
mod keys;
mod lockout;
mod mcp_rights;
mod mcp_rules;
mod mount;
mod organization;
mod password;
mod passwords;
mod policy;
mod principal;
mod proof_chain;
mod remote_keys;
mod revocations;
mod rule;
mod scram;
mod signing;
mod strict_json;
mod token;
mod token_chains;
mod token_service;
mod tokens;
mod users;

pub use about::About;
pub use authenticate::{
    Acceptance, Authenticator, Challenge, Credentials, Exchange, Open, Outcome, Presence, Refusal,
    Work,
};
pub use authorize::{Action, Decision};
pub use certificates::{CertificatePart, Certificates};
pub use claim_mapping::ClaimMapping;
pub use claims::{CLAIM_NAMES, ClaimError, Claims};
pub use client_ids::{ASSIGNED, ClientIdPattern, ClientIdPatternError};
pub use guarded::{Guarded, InForce};
pub use hook::{Hook, HookFault, HookReply, HookService, HookTerms};
pub use hook_answer::{Allowed, HookAnswer, NoAnswer};
pub use keys::{KeyError, KeySet};
pub use lockout::{Lockout, network};
pub use mcp_rights::{McpRights, McpRole};
pub use mcp_rules::{
    McpClientRule, McpRules, McpServerRule, name_filter_pattern, server_name_pattern,
};
pub use mount::{client_id_beside, own_client_id, seen_by_its_own};
pub use organization::{HashedSecret, Organization, Organizations, Provider};
pub use password::{HashError, HashedPassword};
pub use passwords::{Entropy, Passwords};
pub use policy::Policy;
pub use principal::Principal;
pub use proof_chain::{Inquiry, Proof, ProofChain};
pub use remote_keys::RemoteKeys;
pub use revocations::{Revocation, Revocations, Revoked};
pub use rule::{Effect, Pattern, PatternError, Rule};
pub use scram::{NoVerifier, ScramVerifier};
pub use signing::{NoSigningKey, SigningKey};
pub use token::{Token, TokenError, TokenRules};
pub use token_chains::{ChainJournal, TokenChains};
pub use token_service::{IssuedToken, NoToken, TokenService};
pub use tokens::{Tokens, WallClock};
pub use users::{User, Users};
