//! Any request in any pieces: neither panics nor changes the outcome.

use agentmq_net::{AllowedOrigins, Upgrade, UpgradeRules, upgrade};

const GOOD: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://h\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

#[test]
fn fuzz_ws_upgrade() {
    let rules = UpgradeRules {
        path: "/mqtt",
        allowed_origins: &AllowedOrigins::SameHost,
        over_loopback: false,
    };
    // Random bytes in the place of some bytes of a good request.
    bolero::check!().with_type::<(u16, u8, Vec<u8>)>().for_each(|(place, length, bytes)| {
        let start = usize::from(*place) % (GOOD.len() + 1);
        let end = (start + usize::from(*length)).min(GOOD.len());
        let request = [&GOOD[..start], bytes, &GOOD[end..]].concat();
        let whole = upgrade(&request, 0, &rules);
        if let Upgrade::Accepted { length, .. } = &whole {
            assert!(*length <= request.len());
        }
        for end in 1..=request.len() {
            let piece = &request[..end];
            let outcome = upgrade(piece, end - 1, &rules);
            if outcome != Upgrade::Incomplete {
                assert_eq!(outcome, upgrade(piece, 0, &rules));
                if matches!(outcome, Upgrade::Accepted { .. }) {
                    assert_eq!(outcome, whole);
                }
                return;
            }
        }
        assert!(!matches!(whole, Upgrade::Accepted { .. }));
    });
}
