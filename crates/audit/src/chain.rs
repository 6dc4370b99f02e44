//! The chain: every row ends with a hash over itself and the hash of the row before. Who changes,
//! removes or moves a row breaks it there.
//!
//! A row is one line, a JSON object. Its last member is `hash`: SHA-256 over the 32 bytes of the
//! hash before and the line up to the comma in front of `"hash"`.

use std::fmt::{self, Write};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

/// A hash of a row, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash([u8; 32]);

/// A row of the log, named so that nobody can put another in its place: `ROW:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its number; the first row is 1, and 0 is before it.
    pub row: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Text that is no `ROW:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no ROW:HASH, a number and 64 hexadecimal digits")]
pub struct NoHead;

impl Head {
    /// Appends the row behind this one as a line, and becomes that one. `members` is what the row
    /// says: members of a JSON object, without braces.
    pub(crate) fn append(&mut self, at: &str, members: &str, out: &mut String) {
        let start = out.len();
        let row = self.row + 1;
        let _ = write!(out, "{{\"row\":{row},\"at\":\"{at}\",{members}");
        let hash = self.hash.then(&out.as_bytes()[start..]);
        let _ = writeln!(out, "{SEAL}{hash}\"}}");
        *self = Self { row, hash };
    }
}

impl Hash {
    /// The hash of the row `text` behind this one.
    pub(crate) fn then(self, text: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(text);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }
}

/// A line without its hash, and that; `None`: it does not end with one.
pub(crate) fn unseal(line: &str) -> Option<(&str, Hash)> {
    let (rest, end) = line.split_at_checked(line.len().checked_sub(SEALED)?)?;
    let hash = end.strip_prefix(SEAL)?.strip_suffix("\"}")?;
    Some((rest, hash.parse().ok()?))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let is_written_so = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_written_so) {
            return Err(NoHead);
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NoHead)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoHead)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.row, self.hash)
    }
}

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (row, hash) = text.split_once(':').ok_or(NoHead)?;
        let row = row.parse().ok().filter(|row| *row > 0).ok_or(NoHead)?;
        Ok(Self { row, hash: hash.parse()? })
    }
}

const SEAL: &str = ",\"hash\":\"";
/// Bytes of a line from `SEAL` on.
const SEALED: usize = SEAL.len() + 64 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_the_one_before() {
        let (mut head, mut text) = (Head::default(), String::new());
        head.append("then", "\"kind\":\"start\"", &mut text);
        let first = head;
        head.append("later", "\"kind\":\"stop\"", &mut text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            unseal(lines[0]),
            Some(("{\"row\":1,\"at\":\"then\",\"kind\":\"start\"", first.hash))
        );
        let (second, hash) = unseal(lines[1]).unwrap();
        assert_eq!((first.hash.then(second.as_bytes()), head.row), (hash, 2));
        assert_ne!(Hash::default().then(second.as_bytes()), hash);
        for line in lines {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = Head { row: 7, hash: Hash::default().then(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
        let digits = "0".repeat(64);
        for bad in [
            "",
            "7",
            ":",
            "7:00",
            &format!("0:{digits}"),
            "x:0",
            &format!("-1:{digits}"),
            &format!("1:{digits}0"),
            "1:+f",
        ] {
            assert_eq!(bad.parse::<Head>(), Err(NoHead), "{bad}");
        }
        assert!(format!("1:{}", digits.replace('0', "A")).parse::<Head>().is_err());
    }

    #[test]
    fn what_has_no_hash_is_no_row() {
        for bad in ["", "{}", "{\"row\":1}", "é", &"é".repeat(100), &"x".repeat(SEALED)] {
            assert_eq!(unseal(bad), None, "{bad}");
        }
    }
}
