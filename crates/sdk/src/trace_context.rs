//! Trace context of W3C: which trace a message belongs to. It stands in User Properties of a
//! PUBLISH, where anybody on the way can see it, and in `_meta` of MCP.

use agentmq_client::{Message, Publish};

/// The three headers of W3C Trace Context and Baggage, each of the right form or not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<Box<str>>,
    tracestate: Option<Box<str>>,
    baggage: Option<Box<str>>,
}

impl TraceContext {
    /// Takes the headers among these pairs: the first of each name that is of the right form. A
    /// `tracestate` without a `traceparent` is of no use, and left out.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut found = Self::default();
        for (name, value) in pairs {
            let (place, fits): (_, fn(&str) -> bool) = match name {
                TRACEPARENT => (&mut found.traceparent, is_traceparent),
                TRACESTATE => (&mut found.tracestate, is_tracestate),
                BAGGAGE => (&mut found.baggage, is_baggage),
                _ => continue,
            };
            if place.is_none() && fits(value) {
                *place = Some(value.into());
            }
        }
        if found.traceparent.is_none() {
            found.tracestate = None;
        }
        found
    }

    /// What a message's User Properties say.
    #[must_use]
    pub fn of_message(message: &Message) -> Self {
        Self::of(message.user_properties())
    }

    /// `version-traceid-parentid-flags`, in hexadecimal digits.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What tracing systems add.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// What applications add.
    #[must_use]
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traceparent.is_none() && self.baggage.is_none()
    }

    /// The headers that are there.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [&self.traceparent, &self.tracestate, &self.baggage];
        NAMES.into_iter().zip(all).filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Puts it on a message.
    #[must_use]
    pub fn on(&self, publish: Publish) -> Publish {
        self.pairs().fold(publish, |publish, (name, value)| publish.user_property(name, value))
    }
}

/// Whether a name is one of the headers.
pub(crate) fn is_key(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Version `00` is exactly so long; later ones may go on behind a dash.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.splitn(5, '-');
    let mut hex = |digits: usize, unfit: char| {
        parts.next().is_some_and(|part| {
            part.len() == digits && part.bytes().all(is_hex) && !part.chars().all(|c| c == unfit)
        })
    };
    // Neither version ff nor identifiers of zeros are allowed; flags are any.
    let head = hex(2, 'f') && hex(32, '0') && hex(16, '0') && hex(2, ' ');
    head && text.len() <= TRACEPARENT_BYTES && (parts.next().is_none() || !text.starts_with("00-"))
}

fn is_hex(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

fn is_tracestate(text: &str) -> bool {
    let members = || text.split(',').map(|it| it.trim_matches([' ', '\t']));
    !text.is_empty()
        && text.len() <= TRACESTATE_BYTES
        && members().count() <= TRACESTATE_MEMBERS
        && members().all(|it| it.is_empty() || is_state_member(it))
}

fn is_state_member(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else { return false };
    let letter = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let begins = key.bytes().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let key_fits = begins && key.len() <= 256 && key.bytes().all(letter);
    let fits = |c: u8| matches!(c, b' '..=b'~') && !matches!(c, b',' | b'=');
    key_fits && (1..=256).contains(&value.len()) && value.bytes().all(fits)
}

fn is_baggage(text: &str) -> bool {
    let fits = |it: &str| {
        let named = it.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
        named && it.bytes().all(|c| matches!(c, b'\t' | b' '..=b'~'))
    };
    text.len() <= BAGGAGE_BYTES
        && text.split(',').count() <= BAGGAGE_MEMBERS
        && text.split(',').all(fits)
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const NAMES: [&str; 3] = [TRACEPARENT, TRACESTATE, BAGGAGE];

/// Bytes of a `traceparent`: 55 in version 00.
const TRACEPARENT_BYTES: usize = 128;

/// Bytes and members of a `tracestate`, as W3C has them. One beyond is dropped.
const TRACESTATE_BYTES: usize = 512;
const TRACESTATE_MEMBERS: usize = 32;

/// Bytes and members of a `baggage`: what W3C asks everybody to carry. One beyond is dropped.
const BAGGAGE_BYTES: usize = 8192;
const BAGGAGE_MEMBERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_of_the_right_form_is_carried() {
        let given = [
            ("traceparent", PARENT),
            ("tracestate", "rojo=00f067aa0ba902b7, a1@b=x y,"),
            ("baggage", "user=ada;secret, k = v"),
            ("traceparent", "00-00000000000000000000000000000001-0000000000000001-00"),
            ("other", "x"),
        ];
        let context = TraceContext::of(given);
        assert_eq!(context.pairs().collect::<Vec<_>>(), given[..3]);
        assert!(!context.is_empty() && TraceContext::of([("other", "x")]).is_empty());
    }

    #[test]
    fn a_traceparent_has_one_form() {
        let zeros = "00000000000000000000000000000000";
        let parent = |text: &str| TraceContext::of([("traceparent", text)]).traceparent().is_some();
        assert!(parent(PARENT));
        assert!(parent(&PARENT.replacen("00", "cc", 1)), "a later version");
        assert!(parent(&format!("{}-what-comes", PARENT.replacen("00", "cc", 1))));
        for wrong in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", zeros),
            &PARENT.replace("b7ad6b7169203331", &zeros[..16]),
            &PARENT.replace("01", "g1"),
            &format!("cc{}-{}", &PARENT[2..], "x".repeat(100)),
            "00-é",
        ] {
            assert!(!parent(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_state_belongs_to_a_parent_and_is_bounded() {
        assert!(TraceContext::of([("tracestate", "a=b")]).is_empty());
        let state = |text: &str| {
            TraceContext::of([("traceparent", PARENT), ("tracestate", text)]).tracestate().is_some()
        };
        assert!(state("a=b"));
        let many = vec!["a=b"; TRACESTATE_MEMBERS + 1].join(",");
        let long = format!("a={}", "x".repeat(300));
        for wrong in ["", "a", "=b", "a=", "A=b", "a=b=c", "a=\n", &many, &long] {
            assert!(!state(wrong), "{wrong}");
        }
        let baggage = |text: &str| TraceContext::of([("baggage", text)]).baggage().is_some();
        assert!(baggage("a="));
        for wrong in ["", "a", " =b", "a=\u{1b}", &format!("a={}", "x".repeat(BAGGAGE_BYTES))] {
            assert!(!baggage(wrong), "{wrong}");
        }
    }
}
