//! Eighteen thousand clients that arrive at once are all let in.

use std::thread;

use agentmq_testkit::codec::ProtocolVersion;
use agentmq_testkit::{RawClient, connect_packet, raise_open_files};

#[test]
fn alone_eighteen_thousand_clients_connect_at_once() {
    raise_open_files(CLIENTS as u64 + 500);
    let broker = crate::broker("");
    let mut established = broker.client("established");
    let port = broker.port("mqtt");
    let crowds: Vec<_> =
        (0..CROWDS).map(|crowd| thread::spawn(move || arrive(port, crowd))).collect();
    established.ping(); // in the middle of it
    let clients: Vec<RawClient> = crowds
        .into_iter()
        .flat_map(|crowd| crowd.join().expect("all of a crowd come in"))
        .collect();
    assert_eq!(clients.len(), CLIENTS);
    established.ping();
    let gauges = broker.gauges();
    println!("{CLIENTS} clients, {} bytes, {} files", gauges.resident_bytes, gauges.open_files);
    assert!(gauges.open_files > CLIENTS);
    drop(clients);
    established.ping();
}

/// One thread's share: everybody knocks before anybody waits for the answer.
fn arrive(port: u16, crowd: usize) -> Vec<RawClient> {
    let mut clients: Vec<RawClient> = (0..CLIENTS / CROWDS)
        .map(|number| {
            let mut client = RawClient::tcp(port);
            let client_id = format!("storm-{crowd}-{number}");
            client.send_bytes(&connect_packet(ProtocolVersion::V5, &client_id));
            client
        })
        .collect();
    for client in &mut clients {
        let reason = client.receive().reason();
        assert!(!reason.is_error(), "{reason}");
    }
    clients
}

const CLIENTS: usize = 18_000;
const CROWDS: usize = 8;
