//! Connections that come through a load balancer begin with a PROXY header.

use agentmq_testkit::codec::ProtocolVersion;
use agentmq_testkit::{Broker, connect_packet};

#[test]
fn headers_of_both_versions_are_read() {
    let broker = behind("127.0.0.0/8");
    for header in headers() {
        let mut client = broker.dial();
        client.send_bytes(&header);
        client.connect("behind");
        client.ping();
        // Header and CONNECT in one segment, and byte by byte.
        for portion in [usize::MAX, 1] {
            let mut client = broker.dial();
            let connect = connect_packet(ProtocolVersion::V5, "behind");
            client.send_split(&[header.clone(), connect].concat(), portion.min(4096));
            assert!(!client.receive().reason().is_error());
        }
    }
}

#[test]
fn a_header_is_required() {
    let broker = behind("127.0.0.0/8");
    let mut client = broker.dial();
    client.send_bytes(&connect_packet(ProtocolVersion::V5, "without"));
    assert_eq!(client.receive_or_end(), None);
    for wrong in [
        &b"PROXY TCP4 1.2.3.4\r\n"[..],
        b"PROXY TCP4 999.2.3.4 127.0.0.1 1 2\r\n",
        b"PROXY \x00\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c",
        b"\x00",
    ] {
        let mut client = broker.dial();
        client.send_bytes(wrong);
        client.finish();
        assert_eq!(client.receive_or_end(), None, "{wrong:?}");
    }
    let mut client = broker.dial();
    client.send_bytes(&headers()[0]);
    client.connect("with");
}

#[test]
fn a_stranger_s_header_is_not_believed() {
    let broker = behind("192.0.2.0/24");
    for header in headers() {
        let mut client = broker.dial();
        let connect = connect_packet(ProtocolVersion::V5, "stranger");
        let _ = client.try_send_bytes(&[header, connect].concat());
        assert_eq!(client.receive_or_end(), None);
    }
}

#[test]
fn without_the_setting_a_header_is_no_mqtt() {
    let broker = crate::broker("");
    for header in headers() {
        let mut client = broker.dial();
        let _ = client.try_send_bytes(&header);
        assert_eq!(client.receive_or_end(), None);
    }
}

/// A broker that expects a header from this network.
fn behind(network: &str) -> Broker {
    let config = format!("{}proxy_from = [{network:?}]\n", crate::TCP);
    Broker::start(crate::BINARY, &config)
}

/// Version 1 for TCP4, TCP6 and UNKNOWN; version 2 PROXY with and without TLVs, and LOCAL.
fn headers() -> Vec<Vec<u8>> {
    let v2 = |command: u8, family: u8, body: &[u8]| {
        let mut header = b"\r\n\r\n\x00\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    };
    let addresses = [192, 0, 2, 1, 127, 0, 0, 1, 0x80, 0, 7, 0x5B];
    let with_tlv = [&addresses[..], &[0x04, 0, 2, 0, 0]].concat();
    vec![
        b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 1883\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 40000 1883\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(1, 0x11, &addresses),
        v2(1, 0x11, &with_tlv),
        v2(0, 0x00, &[]),
    ]
}
