//! Counting what arrives over TLS without opening it.
//!
//! Opening a record costs the receiver about what sealing it costs the sender. A generator that
//! opened everything would take from the broker, with which it shares the machine, half of the
//! processor time that is to be measured. But a record's header tells how long its body is, and
//! the body is longer than what it carries by a number of bytes that is always the same.

/// Follows the records of one connection.
#[derive(Debug)]
pub(crate) struct RecordCount {
    /// Bytes of a body that are not content.
    overhead: usize,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    known: usize,
    /// Bytes of the body that have not.
    missing: usize,
}

impl RecordCount {
    /// From a record's beginning on.
    pub(crate) fn new(overhead: usize) -> Self {
        Self { overhead, header: [0; HEADER], known: 0, missing: 0 }
    }

    /// How many bytes are in the records whose headers end in `arrived`; `None` for what is no
    /// record of application data (RFC 8446, 5.1).
    pub(crate) fn content(&mut self, mut arrived: &[u8]) -> Option<usize> {
        let mut content = 0;
        loop {
            let passed = self.missing.min(arrived.len());
            self.missing -= passed;
            arrived = &arrived[passed..];
            let (more, rest) = arrived.split_at((HEADER - self.known).min(arrived.len()));
            self.header[self.known..][..more.len()].copy_from_slice(more);
            self.known += more.len();
            arrived = rest;
            if self.known < HEADER {
                return Some(content);
            }
            let [APPLICATION_DATA, 3, 3, high, low] = self.header else { return None };
            self.missing = usize::from(u16::from_be_bytes([high, low]));
            content += self.missing.checked_sub(self.overhead)?;
            self.known = 0;
        }
    }
}

const HEADER: usize = 5;
const APPLICATION_DATA: u8 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: usize) -> Vec<u8> {
        let [high, low] = (body as u16).to_be_bytes();
        [vec![APPLICATION_DATA, 3, 3, high, low], vec![APPLICATION_DATA; body]].concat()
    }

    #[test]
    fn counts_the_same_however_the_bytes_are_cut() {
        let bytes = [record(117), record(17), record(18), record(16_401)].concat();
        for portion in [1, 2, 3, 5, 7, 122, 1000, bytes.len()] {
            let mut count = RecordCount::new(17);
            let contents = bytes.chunks(portion).map(|chunk| count.content(chunk).unwrap());
            assert_eq!(contents.sum::<usize>(), 100 + 1 + 16_384, "portions of {portion}");
        }
    }

    #[test]
    fn anything_but_application_data_is_noticed() {
        for bytes in [&[21, 3, 3, 0, 19][..], &[23, 3, 1, 0, 19], &[23, 3, 3, 0, 16], b"HTTP/"] {
            assert_eq!(RecordCount::new(17).content(bytes), None, "{bytes:?}");
        }
    }
}
