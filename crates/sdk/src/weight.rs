//! What things that came as JSON take in memory.

use std::io;

use serde::Serialize;

/// Bytes of memory that something takes, given as JSON, about: a short value takes many times there
/// what it takes as text.
#[must_use]
pub fn weight(item: &[u8]) -> usize {
    let mut scales = Scales::default();
    scales.put(item);
    scales.bytes()
}

/// The same of what is not JSON yet. What cannot be written as JSON weighs what could be written.
#[must_use]
pub fn weight_of<T: Serialize + ?Sized>(item: &T) -> usize {
    let mut scales = Scales::default();
    let _ = serde_json::to_writer(&mut scales, item);
    scales.bytes()
}

/// What has been read of an item.
#[derive(Default)]
struct Scales {
    length: usize,
    objects: usize,
    values: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Scales {
    fn put(&mut self, part: &[u8]) {
        self.length += part.len();
        for &byte in part {
            match byte {
                b'"' if !self.is_escaped => self.is_text = !self.is_text,
                b'{' if !self.is_text => self.objects += 1,
                b'[' | b',' if !self.is_text => self.values += 1,
                _ => {}
            }
            self.is_escaped = byte == b'\\' && !self.is_escaped;
        }
    }

    fn bytes(&self) -> usize {
        ITEM + self.length + self.objects * OBJECT + self.values * VALUE
    }
}

impl io::Write for Scales {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.put(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    #[test]
    fn what_is_written_in_parts_weighs_the_same() {
        let item = serde_json::json!([{ "a\"{\\": [1, 2.5, null], "b": "[\n,\"" }, {}, "x"]);
        assert_eq!(weight_of(&item), weight(item.to_string().as_bytes()));
    }
}
