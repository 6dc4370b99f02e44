//! What things that came as JSON take in memory.

/// Bytes of memory that something takes, given as JSON, about: a short value takes many times there
/// what it takes as text.
#[must_use]
pub fn weight(item: &[u8]) -> usize {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut bytes = ITEM + item.len();
    for &byte in item {
        match byte {
            b'"' if !is_escaped => is_text = !is_text,
            b'{' if !is_text => bytes += OBJECT,
            b'[' | b',' if !is_text => bytes += VALUE,
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    bytes
}

/// What it takes beside its values: itself, and its name where it is looked for.
const ITEM: usize = 512;

/// What an object takes beside its texts: room for eleven members.
const OBJECT: usize = 640;

/// The same for any other value.
const VALUE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_weigh_what_they_take() {
        assert_eq!(weight(br#""a,{[\"{\\""#), ITEM + 11);
        assert_eq!(weight(b"[1,2]"), ITEM + 5 + 2 * VALUE);
        assert_eq!(weight(br#"[{},{"a":[]}]"#), ITEM + 13 + 2 * OBJECT + 3 * VALUE);
    }
}
