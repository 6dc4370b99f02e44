//! Names that a client may have.

use crate::failure::Failure;

/// Refuses a name that no client has, or that nobody can read.
pub(crate) fn check(what: &str, name: &str) -> Result<(), Failure> {
    let why = if name.is_empty() {
        "is empty"
    } else if name.len() > LONGEST {
        "is longer than 65535 bytes"
    } else if name.chars().any(char::is_control) {
        "has control characters in it"
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("{what} {why}"), "give another one"))
}

/// Bytes of a text in MQTT at most.
const LONGEST: usize = 65_535;
