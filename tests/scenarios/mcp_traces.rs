//! Trace context: from the message to the program, and from one binding to the other.

use agentmq_sdk::TraceContext;
use agentmq_sdk::tools::ToolClient;
use agentmq_testkit::codec::{PropertiesBuf, Property, QoS};
use serde_json::{Value, json};

use crate::mcp_program::{bridge, names, url};
use crate::mcp_stateless_parts::{Peer, call, expose_stateless, start_stateless};
use crate::tools_parts::options;

#[test]
fn a_trace_of_the_message_reaches_the_program_in_both_eras() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut peer = Peer::new(&broker, "peer", "calc", 1);
    let server = peer.servers[0].clone();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let own = "00-11111111111111111111111111111111-b7ad6b7169203331-01";
    let carried = PropertiesBuf::new()
        .with(Property::Pair("traceparent", parent))
        .with(Property::Pair("baggage", "user=ada"));
    let seen = |peer: &mut Peer, message: &Value, properties: &PropertiesBuf| -> Value {
        peer.say_with(&server, message, properties);
        let heard = peer.hear_packet();
        let answer: Value = serde_json::from_slice(heard.publish().payload).unwrap();
        let text = answer["result"]["content"][0]["text"].as_str().expect("a text");
        let seen: Value = serde_json::from_str(text).unwrap();
        // The answer belongs to the same trace.
        let told = heard.publish().properties;
        let told = told.user_properties().find(|(name, _)| *name == "traceparent");
        assert_eq!(told.map(|(_, value)| value), seen["traceparent"].as_str());
        seen
    };
    let said = seen(&mut peer, &call(1, "meta"), &carried);
    assert_eq!((&said["traceparent"], &said["baggage"]), (&json!(parent), &json!("user=ada")));
    let mut with_own = call(2, "meta");
    with_own["params"]["_meta"]["traceparent"] = json!(own);
    let said = seen(&mut peer, &with_own, &carried);
    assert_eq!((&said["traceparent"], &said["baggage"]), (&json!(own), &json!("user=ada")));
    let malformed = PropertiesBuf::new().with(Property::Pair("traceparent", "00-1-1-00"));
    let said = seen(&mut peer, &call(3, "meta"), &malformed);
    assert!(said.get("traceparent").is_none(), "{said}");
    let control = format!("$mcp-server/{server}/calc");
    let info = json!({ "name": "peer", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    peer.client.publish(&control, initialize.to_string().as_bytes(), QoS::AtMostOnce);
    peer.hear();
    let params = json!({ "name": "meta", "arguments": {} });
    let bare = json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": params });
    assert_eq!(seen(&mut peer, &bare, &carried)["traceparent"], parent);
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_on_from_one_binding_to_the_other() {
    let broker = crate::broker("");
    let (url, trace) = (url(&broker), broker.folder().join("trace"));
    let mut exposed = start_stateless(&url, "calc", &trace, &["--binding", "agent"]);
    exposed.wait_for("offer", |line| line["event"] == "offered");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let carried = [("traceparent", parent), ("baggage", "user=ada")];
    let client = ToolClient::connect(options(&url, "agent-a")).await.unwrap();
    let traced = client.traced(TraceContext::of(carried));
    let answer = traced.call("calc__meta", json!({})).await.unwrap();
    let mut host = bridge(&url, &[]);
    assert_eq!(names(&host.request("tools/list", &json!({})), "tools").len(), 8);
    let meta = json!({ "traceparent": parent, "baggage": "user=ada" });
    let params = json!({ "name": "calc__meta", "arguments": {}, "_meta": meta });
    let told = host.request("tools/call", &params);
    for result in [&answer, &told["result"]] {
        let seen = result["content"][0]["text"].as_str().unwrap();
        let seen: Value = serde_json::from_str(seen).unwrap();
        assert_eq!((&seen["traceparent"], &seen["baggage"]), (&json!(parent), &json!("user=ada")));
    }
}
