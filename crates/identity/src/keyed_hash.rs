//! What is secret is remembered by its hash under a key that nobody else has: whoever reads memory,
//! or a dump of it, must not find the secret itself.

use aws_lc_rs::hmac;

/// HMAC-SHA-256 of some texts, of which each counts as itself: none runs into the next.
pub(crate) fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let tag = context.sign();
    std::array::from_fn(|at| tag.as_ref().get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_parts_and_other_keys_make_another_hash() {
        let hash = keyed_hash(&[1; 32], &[b"ab", b"c"]);
        assert_eq!(hash, keyed_hash(&[1; 32], &[b"ab", b"c"]));
        assert_ne!(hash, keyed_hash(&[1; 32], &[b"a", b"bc"]));
        assert_ne!(hash, keyed_hash(&[2; 32], &[b"ab", b"c"]));
    }
}
