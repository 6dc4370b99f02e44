//! What happens next: mostly packets that mean something to the router, some that do not.

use agentmq_codec::{ProtocolVersion, QoS};

use crate::packet_writer::{self, Entropy, VERSIONS, counted, framed, mutate, varint};
use crate::receiver::Phase;
use crate::world::World;

/// One event on one of the two lines, or time that passes.
pub(crate) fn step(world: &mut World, entropy: &mut Entropy<'_>) {
    let line = entropy.below(2);
    let Some(receiver) = &world.lines[line].receiver else {
        return open(world, line, entropy);
    };
    let version = receiver.version;
    if receiver.phase == Phase::Connecting && entropy.chance(2) {
        let auth = auth(entropy);
        return world.send(line, &spoilt(auth, entropy));
    }
    let packet = match entropy.below(40) {
        0..=9 => publish(version, entropy),
        10..=15 => subscribe(version, entropy),
        16..=17 => unsubscribe(version, entropy),
        18..=24 => next_answer(world, line),
        25..=26 => any_answer(version, entropy),
        27 => framed(0xC0, &[]),
        28 => disconnect(version, entropy),
        29 => packet_writer::any_packet(version, entropy),
        30 => return world.cut(line),
        31..=32 => {
            world.lines[line].is_stalled = true;
            return;
        }
        33 => return world.write(line, usize::from(entropy.u16())),
        34 => return world.write(line, usize::MAX),
        35 => return world.commit(),
        36 => return world.advance(entropy.pick(&[1, 10, 500, 3_000, 70_000, 700_000])),
        37 => return open(world, line, entropy),
        38 if entropy.chance(4) => return world.evict(line),
        _ => {
            let count = entropy.below(24);
            let bytes: Vec<u8> = (0..count).map(|_| entropy.u8()).collect();
            return world.send(line, &bytes);
        }
    };
    world.send(line, &spoilt(packet, entropy));
}

/// A first packet; on an open connection it is one too many [MQTT-3.1.0-2].
fn open(world: &mut World, line: usize, entropy: &mut Entropy<'_>) {
    let version = entropy.pick(&VERSIONS);
    let packet = match entropy.below(16) {
        0 => packet_writer::any_packet(version, entropy),
        1 => packet_writer::packet(1, version, entropy),
        _ => connect(version, entropy),
    };
    world.send(line, &spoilt(packet, entropy));
}

/// Now and then a packet is broken on its way.
fn spoilt(packet: Vec<u8>, entropy: &mut Entropy<'_>) -> Vec<u8> {
    if entropy.chance(24) { mutate(&packet, entropy) } else { packet }
}

fn connect(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    counted(version.name().as_bytes(), &mut body);
    let choice = entropy.u8();
    let (is_clean, has_will) = (choice & 3 == 0, choice & 12 == 0);
    let will_qos = (choice >> 4) % 3;
    let will_flags = if has_will { 4 | will_qos << 3 | choice >> 1 & 0x20 } else { 0 };
    body.extend_from_slice(&[version.level(), u8::from(is_clean) << 1 | will_flags]);
    let keep_alive: u16 = entropy.pick(&[0, 0, 1, 60]);
    body.extend_from_slice(&keep_alive.to_be_bytes());
    if version.is_v5() {
        let mut list = Vec::new();
        // Who says nothing may be lent a session.
        if !entropy.chance(5) {
            number(0x11, entropy.pick(&[0, 1, 60, u32::MAX]), &mut list);
        }
        if entropy.chance(2) {
            short(0x21, entropy.pick(&[1, 2, 8]), &mut list);
        }
        if entropy.chance(3) {
            number(0x27, entropy.pick(&[20, 40, 80, 150, 5_000]), &mut list);
        }
        if entropy.chance(2) {
            short(0x22, entropy.pick(&[0, 1, 2, 9]), &mut list);
        }
        if entropy.chance(6) {
            list.extend_from_slice(&[0x17, 0]);
        }
        if entropy.chance(8) {
            text(0x15, "riddle", &mut list);
            text(0x16, entropy.pick(&["password", "hard", ""]), &mut list);
        }
        section(&list, &mut body);
    }
    counted(entropy.pick(&["a", "b", "a", "b", "c", ""]).as_bytes(), &mut body);
    if has_will {
        if version.is_v5() {
            let mut list = Vec::new();
            number(0x18, entropy.pick(&[0, 1, 90]), &mut list);
            section(&list, &mut body);
        }
        counted(entropy.pick(TOPICS).as_bytes(), &mut body);
        counted(entropy.pick(PAYLOADS).as_bytes(), &mut body);
    }
    framed(0x10, &body)
}

fn publish(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let (qos, flags) = (entropy.below(3) as u8, entropy.u8());
    let (retain, dup) = (u8::from(flags & 3 == 0), u8::from(flags & 0x1C == 0 && qos > 0));
    let alias = if version.is_v5() && flags & 0x60 == 0 { entropy.below(4) as u16 } else { 0 };
    let by_alias = alias > 0 && flags & 0x80 != 0;
    let topic = if by_alias { "" } else { entropy.pick(TOPICS) };
    counted(topic.as_bytes(), &mut body);
    if qos > 0 {
        body.extend_from_slice(&packet_id(entropy).to_be_bytes());
    }
    if version.is_v5() {
        let mut list = Vec::new();
        if alias > 0 {
            short(0x23, alias, &mut list);
        }
        if entropy.chance(6) {
            number(0x02, entropy.pick(&[1, 2, 60]), &mut list);
        }
        if entropy.chance(4) {
            text(0x08, entropy.pick(TOPICS), &mut list);
            text(0x09, entropy.pick(&["", "1", "2"]), &mut list);
        }
        if entropy.chance(6) {
            text(0x26, "name", &mut list);
            counted(b"value", &mut list);
        }
        section(&list, &mut body);
    }
    if entropy.chance(3) {
        body.extend_from_slice(entropy.pick(PAYLOADS).as_bytes());
    } else {
        let len = entropy.pick(&[0, 1, 9, 60, 200, 1_500, 5_000, 15_000]);
        body.resize(body.len() + len, b'x');
    }
    framed(0x30 | dup << 3 | qos << 1 | retain, &body)
}

fn subscribe(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = packet_id(entropy).to_be_bytes().to_vec();
    if version.is_v5() {
        let mut list = Vec::new();
        if entropy.chance(3) {
            list.push(0x0B);
            varint(1 + entropy.below(200), &mut list);
        }
        section(&list, &mut body);
    }
    for _ in 0..=entropy.below(3) {
        let filter = entropy.pick(FILTERS);
        counted(filter.as_bytes(), &mut body);
        let mut options = entropy.below(3) as u8;
        if version.is_v5() {
            let choice = entropy.u8();
            options |= choice & 0x08 | (entropy.below(3) as u8) << 4;
            if !filter.starts_with("$share") {
                options |= choice & 0x04;
            }
        }
        body.push(options);
    }
    framed(0x82, &body)
}

fn unsubscribe(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = packet_id(entropy).to_be_bytes().to_vec();
    if version.is_v5() {
        section(&[], &mut body);
    }
    for _ in 0..=entropy.below(3) {
        counted(entropy.pick(FILTERS).as_bytes(), &mut body);
    }
    framed(0xA2, &body)
}

/// What a well-behaved client sends about its oldest publication.
fn next_answer(world: &World, line: usize) -> Vec<u8> {
    let receiver = world.lines[line].receiver.as_ref();
    let Some((id, flight)) = receiver.and_then(|it| it.in_flight.first_key_value()) else {
        return framed(0xC0, &[]);
    };
    let first = match flight {
        (QoS::ExactlyOnce, false) => 0x50,
        (QoS::ExactlyOnce, true) => 0x70,
        _ => 0x40,
    };
    framed(first, &id.to_be_bytes())
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of some number.
fn any_answer(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = packet_id(entropy).to_be_bytes().to_vec();
    let first = entropy.pick(&[0x40, 0x50, 0x62, 0x62, 0x62, 0x70]);
    if version.is_v5() && first == 0x50 {
        body.push(entropy.pick(&[0, 0, 0x10, 0x97]));
    }
    framed(first, &body)
}

fn disconnect(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    if version.is_v5() {
        body.push(entropy.pick(&[0, 0, 4]));
        let mut list = Vec::new();
        if entropy.chance(2) {
            number(0x11, entropy.pick(&[0, 5, u32::MAX]), &mut list);
        }
        section(&list, &mut body);
    }
    framed(0xE0, &body)
}

fn auth(entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut list = Vec::new();
    text(0x15, entropy.pick(&["riddle", "riddle", "riddle", "other"]), &mut list);
    text(0x16, entropy.pick(&["1", "2"]), &mut list);
    let mut body = vec![entropy.pick(&[0x18, 0x18, 0x18, 0x19, 0])];
    section(&list, &mut body);
    framed(0xF0, &body)
}

/// Few numbers, so that they meet.
fn packet_id(entropy: &mut Entropy<'_>) -> u16 {
    entropy.pick(&[1, 1, 2, 2, 3, 3, 4, 5, u16::MAX])
}

fn section(list: &[u8], body: &mut Vec<u8>) {
    varint(list.len(), body);
    body.extend_from_slice(list);
}

fn number(id: u8, value: u32, list: &mut Vec<u8>) {
    list.push(id);
    list.extend_from_slice(&value.to_be_bytes());
}

fn short(id: u8, value: u16, list: &mut Vec<u8>) {
    list.push(id);
    list.extend_from_slice(&value.to_be_bytes());
}

fn text(id: u8, value: &str, list: &mut Vec<u8>) {
    list.push(id);
    counted(value.as_bytes(), list);
}

const TOPICS: &[&str] = &[
    "a",
    "a/b",
    "a/b/c",
    "b",
    "/",
    "$a/b",
    "$a2a/b",
    "a/b/c/d/e/f",
    "$reply/a/0123456789abcdef",
    "$reply/b/0123456789abcdef",
    "a/mcp/tools/t/call",
    "a/mcp/tools/t/card",
    "a/mcp/servers/s/card",
    "$mcp-server/a/n",
    "$mcp-server/presence/a/n",
    "$mcp-rpc/a/b/n",
];

const PAYLOADS: &[&str] = &[
    "gone",
    r#"{"server":"s","tools":["t"],"status":"offline"}"#,
    r#"{"server":"s","tools":["t"],"status":"online"}"#,
    r#"{"server":"s","status":"online","input_schema":{"required":["n"]}}"#,
    r#"{"call_id":"1","client":"a"}"#,
    r#"{"call_id":"2","arguments":{"n":1}}"#,
    r#"{"id":1,"method":"m"}"#,
];

const FILTERS: &[&str] = &[
    "a",
    "a/b",
    "+",
    "#",
    "a/#",
    "a/+",
    "+/b",
    "/",
    "$a2a/#",
    "$reply/a/#",
    "$reply/b/+",
    "$share/g/$reply/a/#",
    "$share/g/a/#",
    "$share/g/#",
    "$share/h/+",
    "a/b/c/d/e/f",
    "a/mcp/tools/t/call",
    "$share/g/a/mcp/tools/t/call",
    "$mcp-rpc/a/#",
    "a#",
    "$share/g",
    "",
];
