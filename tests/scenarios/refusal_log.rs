//! The log names who is refused or closed, and a flood of them does not flood it.

use agentmq_testkit::codec::ReasonCode;

#[test]
fn a_client_that_is_closed_is_named_with_its_address() {
    let broker = crate::broker("[limits]\nsessions = 1\n");
    let mut client = broker.client("named");
    let mut refused = broker.dial();
    refused.send_bytes(&CONNECT);
    assert_eq!(refused.receive().reason(), ReasonCode::QuotaExceeded);
    client.send_bytes(&RESERVED_FLAG);
    assert_eq!(client.reason_of_end(), Some(ReasonCode::MalformedPacket));
    let log = broker.wait_for_log("closed a connection", 0);
    for (what, client) in [("refused a CONNECT", "x"), ("closed a connection", "named")] {
        let line = log.lines().find(|line| line.contains(what)).unwrap();
        assert!(line.contains(&format!("client=\"{client}\"")), "{line}");
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
    }
}

#[test]
fn a_flood_is_counted() {
    let broker = crate::broker("[limits]\nrefusal_lines = 2\n");
    for number in 0..FLOOD {
        let mut client = broker.client(&format!("client-{number}"));
        client.send_bytes(&RESERVED_FLAG);
        assert_eq!(client.reason_of_end(), Some(ReasonCode::MalformedPacket));
    }
    let log = broker.wait_for_log(" more clients refused", 0);
    let lines = log.lines().filter(|line| line.contains("closed a connection")).count();
    assert!((1..FLOOD).contains(&lines), "{log}");
}

const FLOOD: usize = 50;
/// PINGREQ with a flag that must be 0.
const RESERVED_FLAG: [u8; 2] = [0xC1, 0];
/// Version 5, client identifier `x`.
const CONNECT: [u8; 16] = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'x'];
