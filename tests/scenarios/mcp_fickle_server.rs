//! A server that ends each session as soon as it has begun. It is asked again, ever more rarely.

use std::time::{Duration, Instant};

use agentmq_testkit::RawClient;
use agentmq_testkit::codec::{Connect, Packet, Publish, QoS};
use serde_json::{Value, json};

use crate::mcp_program::{bridge, url};
use crate::mcp_stateless_parts::subscribe;

#[test]
fn who_is_turned_out_waits_before_coming_again() {
    let broker = crate::broker("");
    let mut server = broker.dial();
    server.connect_with(Connect { client_id: "s1", clean_start: true, ..Connect::default() });
    assert!(!subscribe(&mut server, "$mcp-server/s1/calc", QoS::AtLeastOnce).is_error());
    let online = br#"{"jsonrpc":"2.0","method":"notifications/server/online"}"#;
    server.send(&Packet::Publish(Publish {
        topic: "$mcp-server/presence/s1/calc",
        payload: online,
        retain: true,
        ..Publish::default()
    }));
    let _host = bridge(&url(&broker), &[]);
    let begun = [(); 4].map(|()| turn_out(&mut server));
    // The first time may be news of the server: that it is there.
    let waited = begun.windows(2).map(|pair| pair[1] - pair[0]).skip(1);
    for (waited, least) in waited.zip([400, 800]) {
        assert!(waited >= Duration::from_millis(least), "{waited:?} instead of {least} ms");
    }
}

/// Begins a session that is asked for, and ends it; when it was asked for.
fn turn_out(server: &mut RawClient) -> Instant {
    let heard = server.receive_publish();
    let asked = Instant::now();
    let publish = heard.publish();
    let request: Value = serde_json::from_slice(publish.payload).unwrap();
    assert_eq!(request["method"], "initialize", "{request}");
    let mut said = publish.properties.user_properties();
    let client = said.find(|(name, _)| *name == "MCP-MQTT-CLIENT-ID").unwrap().1;
    let topic = format!("$mcp-rpc/{client}/s1/calc");
    let result = json!({
        "protocolVersion": request["params"]["protocolVersion"],
        "capabilities": {},
        "serverInfo": { "name": "calc", "version": "1" },
    });
    let begins = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    let ends = json!({ "jsonrpc": "2.0", "method": "notifications/disconnected" });
    for said in [begins, ends] {
        server.publish(&topic, said.to_string().as_bytes(), QoS::AtLeastOnce);
    }
    asked
}
