//! Any bytes: the parser neither panics nor changes its mind when more arrive.

use agentmq_net::ProxyHeader;

#[test]
fn fuzz_proxy_header() {
    bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, bytes)| {
        let start: &[u8] = match kind % 4 {
            0 => b"PROXY TCP4 ",
            1 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
            2 => b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0",
            _ => b"",
        };
        let bytes = [start, bytes].concat();
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
