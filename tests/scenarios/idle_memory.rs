//! What an idle client costs.

use agentmq_testkit::{RawClient, raise_open_files};

#[test]
fn an_idle_client_costs_less_than_a_kibibyte() {
    raise_open_files(CLIENTS as u64 + 1_500);
    let broker = crate::broker("");
    // The first ones pay for what all share.
    let mut clients: Vec<RawClient> =
        (0..500).map(|number| broker.client(&format!("first-{number}"))).collect();
    clients[0].ping();
    let before = broker.gauges().resident_bytes;
    clients.extend((0..CLIENTS).map(|number| broker.client(&format!("idle-{number}"))));
    clients[0].ping();
    let growth = broker.gauges().resident_bytes - before;
    let each = growth / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} idle clients");
    assert!(each <= BOUND, "{each} bytes for each idle client, the bound is {BOUND}");
}

const CLIENTS: usize = 5_000;
const BOUND: u64 = 768;
