//! SCRAM-SHA-256 (RFC 5802, RFC 7677): a client proves that it knows a password without sending it,
//! and the server proves that it knows the client. Pure: text in, text out.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a server keeps of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
}

/// A text that is no verifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no SCRAM-SHA-256 verifier (SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY, with \
     at most {MOST_ITERATIONS} iterations): `agentmq user passwd` makes one"
)]
pub struct NoVerifier;

impl ScramVerifier {
    /// The verifier of a password, with 16 random bytes of salt.
    #[must_use]
    pub fn new(password: &[u8], salt: &[u8; 16]) -> Self {
        let mut salted = [0; KEY];
        let iterations = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let server_key = mac(&salted, b"Server Key");
        let (stored_key, salt) = (sha256(&client_key), salt.to_vec());
        Self { iterations: iterations.get(), salt, stored_key, server_key }
    }

    /// Reads a verifier in the form that PostgreSQL uses too.
    pub fn read(text: &str) -> Result<Self, NoVerifier> {
        let parse = || {
            let rest = text.strip_prefix("SCRAM-SHA-256$")?;
            let (head, keys) = rest.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key = |text| STANDARD.decode(text).ok()?.try_into().ok();
            let iterations = iterations.parse().ok()?;
            let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
            let (stored_key, server_key) = (key(stored)?, key(server)?);
            let is_usual = (1..=MOST_ITERATIONS).contains(&iterations);
            is_usual.then_some(Self { iterations, salt, stored_key, server_key })
        };
        parse().ok_or(NoVerifier)
    }

    /// The verifier as it is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|it| STANDARD.encode(it));
        format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }

    /// One that no password fits, which looks the same to who asks twice: so nobody learns which
    /// names there are.
    pub(crate) fn decoy(secret: &[u8], name: &str) -> Self {
        let salt = mac(secret, name.as_bytes())[..16].to_vec();
        let (stored_key, server_key) = (mac(secret, b"stored"), mac(secret, b"server"));
        Self { iterations: ITERATIONS, salt, stored_key, server_key }
    }
}

/// The first message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFirst {
    /// The name that it wants to log in as.
    pub(crate) name: String,
    nonce: String,
    /// Its header, which comes again in the last message.
    header: String,
    /// The rest of the message, which is signed.
    bare: String,
}

impl ClientFirst {
    /// Reads the message; `None`: it is none, or asks for channel binding, or for somebody else's
    /// rights.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= LONGEST)?;
        let mut parts = text.splitn(3, ',');
        let (binding, acts_for, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if !["n", "y"].contains(&binding) {
            return None;
        }
        let mut attributes = bare.split(',');
        let name = unescaped(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let is_printable = |letter: u8| matches!(letter, 0x21..=0x2b | 0x2d..=0x7e);
        if name.is_empty() || nonce.is_empty() || !nonce.bytes().all(is_printable) {
            return None;
        }
        let is_itself = match acts_for.strip_prefix("a=") {
            Some(other) => unescaped(other)? == name,
            None => acts_for.is_empty(),
        };
        let header = format!("{binding},{acts_for},");
        let (nonce, bare) = (nonce.to_owned(), bare.to_owned());
        is_itself.then_some(Self { name, nonce, header, bare })
    }
}

/// An exchange whose second message was sent.
#[derive(Debug)]
pub(crate) struct ServerFirst {
    verifier: ScramVerifier,
    first: ClientFirst,
    nonce: String,
    message: String,
}

impl ServerFirst {
    /// Answers a client's first message, with 18 random bytes for the nonce.
    pub(crate) fn new(first: ClientFirst, verifier: ScramVerifier, random: &[u8; 18]) -> Self {
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
        let salt = STANDARD.encode(&verifier.salt);
        let message = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Self { verifier, first, nonce, message }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Judges the client's last message: what the server answers, if the password was right.
    pub(crate) fn finish(self, message: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= LONGEST)?;
        let (unsigned, proof) = text.rsplit_once(",p=")?;
        let mut attributes = unsigned.split(',');
        let header = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if header != self.first.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let signed = format!("{},{},{unsigned}", self.first.bare, self.message);
        let signature = mac(&self.verifier.stored_key, signed.as_bytes());
        let proof: [u8; KEY] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let mut client_key = [0; KEY];
        for (key, (proof, signature)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *key = proof ^ signature;
        }
        verify_slices_are_equal(&sha256(&client_key), &self.verifier.stored_key).ok()?;
        let server = mac(&self.verifier.server_key, signed.as_bytes());
        Some(format!("v={}", STANDARD.encode(server)))
    }
}

/// A name in which `=2C` is a comma and `=3D` an equals sign.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('=');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        out.push(letter);
        out.push_str(rest);
    }
    Some(out)
}

fn mac(key: &[u8], message: &[u8]) -> [u8; KEY] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    std::array::from_fn(|at| tag.as_ref().get(at).copied().unwrap_or_default())
}

fn sha256(bytes: &[u8]) -> [u8; KEY] {
    let hash = digest::digest(&digest::SHA256, bytes);
    std::array::from_fn(|at| hash.as_ref().get(at).copied().unwrap_or_default())
}

/// Bytes of a key: what SHA-256 puts out.
const KEY: usize = 32;
/// Rounds of PBKDF2 for new passwords.
const ITERATIONS: u32 = 15_000;
const MOST_ITERATIONS: u32 = 1_000_000;
/// Bytes of a message at most.
const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3, whose verifier follows from its password, salt and iterations.
    #[test]
    fn the_standard_s_example() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut salted = [0; KEY];
        let rounds = 4096.try_into().unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"pencil", &mut salted);
        let stored_key = sha256(&mac(&salted, b"Client Key"));
        let server_key = mac(&salted, b"Server Key");
        let verifier = ScramVerifier { iterations: 4096, salt, stored_key, server_key };
        assert_eq!(ScramVerifier::read(&verifier.to_text()), Ok(verifier.clone()));
        let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.name, "user");
        let mut server = ServerFirst::new(first, verifier, &[0; 18]);
        server.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into();
        server.message = format!("r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", server.nonce);
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = server.finish(last.as_bytes());
        assert_eq!(answer.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn a_wrong_last_message_is_refused() {
        let begin = || {
            let verifier = ScramVerifier::new(b"pencil", &[1; 16]);
            ServerFirst::new(ClientFirst::read(b"n,,n=u,r=abc").unwrap(), verifier, &[2; 18])
        };
        let nonce = begin().nonce;
        let zeros = STANDARD.encode([0; KEY]);
        for last in [
            String::new(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce},p={zeros}"),
            format!("c=biws,r=other,p={zeros}"),
            format!("c=eSws,r={nonce},p={zeros}"),
            format!("c=biws,r={nonce},p=short"),
        ] {
            assert_eq!(begin().finish(last.as_bytes()), None, "{last}");
        }
    }

    #[test]
    fn first_messages_are_read_by_the_letter() {
        let name = |text: &str| ClientFirst::read(text.as_bytes()).map(|first| first.name);
        assert_eq!(name("y,,n=a=2Cb=3D,r=x").as_deref(), Some("a,b="));
        assert_eq!(name("n,a=me,n=me,r=x").as_deref(), Some("me"));
        for wrong in [
            "",
            "n,,",
            "n,,n=,r=x",
            "n,,n=a",
            "n,,n=a,r=",
            "n,,n=a=4,r=x",
            "n,,r=x,n=a",
            "n,,m=1,n=a,r=x",
            "p=tls-unique,,n=a,r=x",
            "n,a=root,n=a,r=x",
            "n,,n=a,r=\u{e9}",
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn verifiers_are_read_by_the_letter() {
        let good = ScramVerifier::new(b"p", &[3; 16]).to_text();
        for wrong in [
            String::new(),
            good.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
            good.replace("15000", "0"),
            good.replace("15000", "99999999"),
            good[..good.len() - 4].to_owned(),
        ] {
            assert_eq!(ScramVerifier::read(&wrong), Err(NoVerifier), "{wrong}");
        }
    }
}
