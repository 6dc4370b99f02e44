//! Any bytes: the parser neither panics nor changes its mind when more arrive.

use agentmq_net::ProxyHeader;

#[test]
fn fuzz_proxy_header() {
    bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, bytes)| {
        let start: &[u8] = match kind % 8 {
            0 => b"PROXY TCP4 ",
            1 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
            2 => b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0",
            // Whole headers: random bytes behind them, or in place of some of theirs.
            3 | 4 => b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 1883\r\n",
            5 => b"PROXY UNKNOWN\r\n",
            6 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x01\xC0\0\x02\x02\x0F\xA0\x07\x5B",
            _ => b"",
        };
        let mut bytes = [start, bytes].concat();
        if let (4 | 6, [.., at, byte]) = (kind % 8, bytes.as_slice()) {
            let (at, byte) = (usize::from(*at) % bytes.len(), *byte);
            bytes[at] = byte;
        }
        let whole = ProxyHeader::parse(&bytes);
        if let Ok(Some(header)) = whole {
            assert!(header.length <= bytes.len() && header.length <= ProxyHeader::MAX_BYTES);
        }
        let mut decided = None;
        for end in 0..=bytes.len() {
            let result = ProxyHeader::parse(&bytes[..end]);
            match decided {
                None if result != Ok(None) => decided = Some(result),
                None => {}
                Some(decided) => assert_eq!(result, decided),
            }
        }
        assert_eq!(decided.unwrap_or(Ok(None)), whole);
    });
}
