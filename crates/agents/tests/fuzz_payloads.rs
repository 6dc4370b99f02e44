//! Fuzz targets: what clients say about tools, whole or spoilt. They run as plain tests, or under a
//! fuzzer.

use agentmq_agents::{
    AgentTopic, ArgumentSchema, CallAnswer, CallRequest, Card, Namespaces, Partial, Status,
    ToolCall, mcp,
};
use serde_json::{Value, json};

/// Whole payloads of each kind. Bytes of the input spoil them.
const PAYLOADS: [&str; 8] = [
    r#"{"call_id":"c","arguments":{"a":[1]},"client":"me","cancellable":true}"#,
    r#"{"call_id":"c","status":"ok","result":{"é":[null,1.5e3]},"elapsed_ms":3}"#,
    r#"{"call_id":"c","status":"error","error":{"type":"tool_error","message":"no","code":7}}"#,
    r#"{"call_id":"c","status":"started"}"#,
    r#"{"call_id":"c","seq":1,"type":"partial","content":"text"}"#,
    r#"{"call_id":"c","seq":2,"type":"done","data":{"x":1}}"#,
    r#"{"tool":"t","server":"s","tools":["t"],"status":"online","input_schema":{"type":"object"}}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#,
];

#[test]
fn fuzz_payloads() {
    bolero::check!().with_type::<(u8, Vec<(u16, u8)>)>().with_iterations(20_000).for_each(
        |(kind, edits)| {
            let mut payload = PAYLOADS[usize::from(*kind) % PAYLOADS.len()].as_bytes().to_vec();
            for (place, byte) in edits.iter().take(3) {
                let place = usize::from(*place) % payload.len();
                payload[place] = *byte;
            }
            check_payload(&payload);
        },
    );
}

/// What is read can be written, and is read again as the same.
fn check_payload(payload: &[u8]) {
    let is_object = serde_json::from_slice::<Value>(payload).is_ok_and(|it| it.is_object());
    if let Some(request) = CallRequest::parse(payload) {
        assert_eq!(CallRequest::parse(&request.payload(0)).as_ref(), Some(&request));
        let call = ToolCall::parse(payload).expect("what a server takes, the broker reads");
        assert_eq!(call.call_id.as_deref(), Some(&*request.call_id));
        assert_eq!(call.client.as_deref().unwrap_or_default(), request.client);
        let given = call.arguments().expect("what a server reads, the broker reads");
        assert_eq!(if given.is_null() { json!({}) } else { given }, request.arguments);
    }
    if let Some(answer) = CallAnswer::parse(payload) {
        assert_eq!(CallAnswer::parse(&answer.payload()), Some(answer));
    }
    if let Some(partial) = Partial::parse(payload) {
        assert_eq!(Partial::parse(&partial.payload()), Some(partial));
    }
    let card = Card::parse(payload);
    assert_eq!(card.is_some(), is_object);
    if let Some(card) = card {
        let offline = Card::parse(&card.with(Status::Offline)).expect("is a card");
        assert_eq!(offline.status(), Some(Status::Offline));
    }
    if let Some(request) = mcp::Request::parse(payload) {
        let answer = mcp::error_response(&request, mcp::NO_SERVER, "gone", None);
        assert_eq!(serde_json::from_slice::<Value>(&answer).expect("is JSON")["id"], request.id);
    }
}

#[test]
fn fuzz_topics() {
    bolero::check!().with_type::<(u8, Vec<u8>)>().with_iterations(20_000).for_each(
        |(start, rest)| {
            const STARTS: [&str; 8] = [
                "a2a/v1/mcp/tools/",
                "a2a/v1/mcp/servers/",
                "$mcp-server/presence/",
                "$mcp-server/capability/",
                "$mcp-server/",
                "$mcp-rpc/",
                "$mcp-client/presence/",
                "$mcp-client/capability/",
            ];
            const PARTS: [&str; 8] = ["/", "/", "t", "é", "call", "card", "presence", "capability"];
            let start = STARTS[usize::from(*start) % STARTS.len()];
            let parts = rest.iter().take(6).map(|it| PARTS[usize::from(*it) % PARTS.len()]);
            let topic: String = std::iter::once(start).chain(parts).collect();
            let namespaces = Namespaces::new(&["a2a/v1"]).expect("is one");
            if let Some((namespace, of)) = namespaces.find(&topic) {
                let (AgentTopic::ServerCard { server: name }
                | AgentTopic::ToolCard { tool: name }
                | AgentTopic::ToolCall { tool: name }) = of;
                assert!(topic.starts_with(namespace) && !name.contains('/') && !name.is_empty());
            }
            let built = match mcp::Topic::parse(&topic) {
                Some(mcp::Topic::Presence(of)) => of.presence(),
                Some(mcp::Topic::Control(of)) => of.control(),
                Some(mcp::Topic::Capability(of)) => of.capability(),
                Some(mcp::Topic::Rpc { client, instance }) => instance.rpc(client),
                Some(mcp::Topic::ClientPresence(client)) => mcp::client_presence(client),
                Some(mcp::Topic::ClientCapability(client)) => mcp::client_capability(client),
                _ => return,
            };
            assert_eq!(built, topic);
        },
    );
}

/// A schema of somebody who wishes us ill: deep, wide, and in circles.
#[test]
fn fuzz_schemas() {
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(3_000).for_each(
        |(schema, arguments)| {
            let mut schema = value(&mut schema.iter().copied(), 6);
            let definitions = json!({ "a": schema, "b": { "items": schema } });
            if let Some(fields) = schema.as_object_mut() {
                fields.insert("$defs".into(), definitions);
            }
            let arguments = value(&mut arguments.iter().copied(), 6);
            if let Some(read) = ArgumentSchema::read_bounded(&schema) {
                assert!(read.size() <= 1_000);
                assert!(!refers_to_itself(&schema, &schema, &mut Vec::new()), "{schema}");
                let found = read.check(&arguments);
                assert_eq!(read.check_bounded(&arguments), found, "it is not large");
            }
        },
    );
}

/// Whether a way along references comes to one that it has followed. What an enumeration has is no
/// schema.
fn refers_to_itself<'a>(value: &'a Value, root: &'a Value, way: &mut Vec<&'a str>) -> bool {
    let fields = value.as_object().into_iter().flatten().filter(|(key, _)| *key != "enum");
    let inner = value.as_array().into_iter().flatten();
    inner.chain(fields.clone().map(|(_, it)| it)).any(|it| refers_to_itself(it, root, way))
        || fields.filter(|(key, _)| *key == "$ref").filter_map(|(_, it)| it.as_str()).any(|it| {
            if way.contains(&it) {
                return true;
            }
            way.push(it);
            let target = root.pointer(it.trim_start_matches('#'));
            let found = target.is_some_and(|target| refers_to_itself(target, root, way));
            way.pop();
            found
        })
}

/// Any JSON that the words of schemas make.
fn value(choices: &mut impl Iterator<Item = u8>, depth: usize) -> Value {
    const KEYS: [&str; 16] = [
        "$ref",
        "$ref",
        "$defs",
        "properties",
        "items",
        "anyOf",
        "allOf",
        "not",
        "type",
        "required",
        "pattern",
        "minimum",
        "enum",
        "additionalProperties",
        "a",
        "$id",
    ];
    const TEXTS: [&str; 12] = [
        "#",
        "#/$defs/a",
        "#/$defs/b",
        "#/properties/a",
        "#/no",
        "object",
        "array",
        "string",
        "(a+)+$",
        "a{1,900}{1,900}",
        "a",
        "http://example.test/",
    ];
    let Some(choice) = choices.next() else { return Value::Null };
    let count = usize::from(choice >> 5) % 4;
    match choice % 8 {
        0..=3 if depth > 0 => {
            let fields = (0..count).map(|_| {
                let key = KEYS[usize::from(choices.next().unwrap_or_default()) % KEYS.len()];
                (key.to_owned(), value(choices, depth - 1))
            });
            Value::Object(fields.collect())
        }
        4 if depth > 0 => (0..count).map(|_| value(choices, depth - 1)).collect(),
        5 | 6 => TEXTS[usize::from(choices.next().unwrap_or_default()) % TEXTS.len()].into(),
        7 => json!(choice),
        _ => json!(choice > 99),
    }
}
