//! What a hook is asked: a JSON object with all that a CONNECT and its connection say of a client.

use agentmq_codec::ProtocolVersion;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::authenticate::Credentials;

/// The question about a client. The same client coming the same way makes the same text.
pub(crate) fn question(credentials: &Credentials<'_>) -> Vec<u8> {
    let Credentials { client_id, username, password, certificate, source, listener, .. } =
        *credentials;
    let mut object = Map::new();
    let mut tell = |name: &str, value: Value| object.insert(name.to_owned(), value);
    tell("client_id", json!(client_id));
    tell("listener", json!(listener));
    tell("protocol", json!(protocol(credentials.version)));
    if let Some(username) = username {
        tell("username", json!(username));
    }
    match password.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        Some(Ok(text)) => drop(tell("password", json!(text))),
        Some(Err(bytes)) => drop(tell("password_base64", json!(STANDARD.encode(bytes)))),
        None => {}
    }
    if let Some(source) = source {
        tell("source", json!(source.to_canonical()));
    }
    // Whole, and not as a text of its subject: what a name in such a text is, can be forged.
    if let Some(certificate) = certificate {
        tell("certificate", json!(STANDARD.encode(certificate)));
    }
    Value::Object(object).to_string().into_bytes()
}

fn protocol(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(credentials: &Credentials<'_>) -> Value {
        serde_json::from_slice(&question(credentials)).expect("is JSON")
    }

    #[test]
    fn all_that_is_known_of_a_client_is_told() {
        let everything = Credentials {
            client_id: "c\"1",
            username: Some("scout"),
            password: Some("geheim\u{e4}".as_bytes()),
            certificate: Some(&[0x30, 0x82]),
            source: Some("::ffff:10.0.0.1".parse().unwrap()),
            listener: 3,
            version: ProtocolVersion::V5,
            ..Credentials::default()
        };
        let expected = json!({
            "client_id": "c\"1", "username": "scout", "password": "geheim\u{e4}",
            "certificate": "MII=", "source": "10.0.0.1", "listener": 3, "protocol": "5",
        });
        assert_eq!(asked(&everything), expected);
        let binary = Credentials { password: Some(&[0xff, 0x00]), ..Credentials::default() };
        let expected = json!({
            "client_id": "", "password_base64": "/wA=", "listener": 0, "protocol": "3.1.1",
        });
        assert_eq!(asked(&binary), expected, "nothing is told that is not there");
    }

    #[test]
    fn the_same_client_makes_the_same_question() {
        let scout = Credentials {
            client_id: "c",
            username: Some("scout"),
            password: Some(b"secret"),
            ..Credentials::default()
        };
        assert_eq!(question(&scout), question(&scout.clone()));
        for other in [
            Credentials { client_id: "d", ..scout },
            Credentials { username: None, ..scout },
            Credentials { password: Some(b"Secret"), ..scout },
            Credentials { listener: 1, ..scout },
            Credentials { source: Some("::1".parse().unwrap()), ..scout },
            Credentials { certificate: Some(b""), ..scout },
        ] {
            assert_ne!(question(&scout), question(&other), "{other:?}");
        }
    }
}
