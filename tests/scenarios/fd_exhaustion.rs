//! Without file descriptors, connections wait, the configuration stays, and the broker recovers.

use agentmq_testkit::codec::ProtocolVersion;
use agentmq_testkit::{Broker, RawClient, connect_packet};

#[test]
fn connections_wait_for_descriptors() {
    let config = format!("{}[limits]\npacket_bytes = 5_000\n", crate::TCP);
    let mut broker = Broker::start_with_open_files(crate::BINARY, &config, OPEN_FILES);
    let mut established = broker.client("established");
    let mut crowd: Vec<RawClient> = (0..CROWD)
        .map(|number| {
            let mut client = broker.dial();
            let client_id = format!("crowd-{number}");
            client.send_bytes(&connect_packet(ProtocolVersion::V5, &client_id));
            client
        })
        .collect();
    let log = broker.wait_for_log("no file descriptors", 0);
    established.ping();

    // A reload that cannot open its file changes nothing.
    broker.reload(&format!("{}[limits]\npacket_bytes = 9_000\n", crate::TCP));
    let log = broker.wait_for_log("reload refused", log.len());
    assert!(!log.contains("reload done"), "there was a descriptor left:\n{log}");
    established.ping();

    // Those at the front leave; everybody behind them comes in.
    let waiting = crowd.split_off(OPEN_FILES as usize);
    drop(crowd);
    for mut client in waiting {
        let connack = client.receive();
        let largest = maximum_packet_size(&connack);
        assert_eq!(largest, Some(5_000), "the old configuration is in force");
        client.ping();
    }
    established.ping();
    broker.client("newcomer").ping();
    broker.assert_alive();
}

fn maximum_packet_size(connack: &agentmq_testkit::Received) -> Option<u32> {
    use agentmq_testkit::codec::{Packet, PropertyId};
    match connack.packet() {
        Packet::ConnAck(packet) => packet.properties.integer(PropertyId::MaximumPacketSize),
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

const OPEN_FILES: u32 = 64;
const CROWD: u32 = 110;
