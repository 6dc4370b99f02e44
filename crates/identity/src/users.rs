//! Users with passwords.

use std::collections::BTreeMap;

use crate::claims::Claims;
use crate::password::HashedPassword;
use crate::scram::ScramVerifier;

/// What is kept of one user. With both it can log in by either way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    /// For a password in CONNECT.
    pub password: Option<HashedPassword>,
    /// For the method SCRAM-SHA-256.
    pub scram: Option<ScramVerifier>,
    /// What is claimed of it.
    pub claims: Claims,
}

/// All users, by name.
pub type Users = BTreeMap<String, User>;
