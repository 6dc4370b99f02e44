//! Writes every kind of packet byte by byte from a stream of entropy, without the codec under
//! test: what it writes is valid and in its one canonical form. `mutate` then breaks it.
#![allow(dead_code)] // each test file uses its own part

use agentmq_codec::ProtocolVersion;

/// A deterministic source of choices; zeros when it runs out, so that less input is simpler.
pub(crate) struct Entropy<'a> {
    bytes: &'a [u8],
    hostile: bool,
}

impl<'a> Entropy<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hostile: false }
    }

    /// Makes a writer that now and then breaks a rule of the standard.
    pub(crate) fn hostile(bytes: &'a [u8]) -> Self {
        Self { bytes, hostile: true }
    }

    /// Whether to break the rule at hand.
    fn slips(&mut self) -> bool {
        self.hostile && self.chance(16)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound
    }

    pub(crate) fn chance(&mut self, one_in: u8) -> bool {
        self.u8() % one_in == one_in - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The versions whose packets are written.
pub(crate) const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

/// One whole packet of a kind that `entropy` chooses.
pub(crate) fn any_packet(version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let kinds: &[u8] = if version.is_v5() {
        &[3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    } else {
        &[3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    };
    let kind = entropy.pick(kinds);
    packet(kind, version, entropy)
}

/// One whole packet of the type `kind` (1 to 15).
pub(crate) fn packet(kind: u8, version: ProtocolVersion, entropy: &mut Entropy<'_>) -> Vec<u8> {
    let mut body = Body { bytes: Vec::new(), version };
    let flags = match kind {
        1 => body.connect(entropy),
        2 => body.connack(entropy),
        3 => body.publish(entropy),
        4 | 5 => body.ack(PUBACK_CODES, 0, entropy),
        6 => body.ack(PUBREL_CODES, 2, entropy),
        7 => body.ack(PUBREL_CODES, 0, entropy),
        8 => body.subscribe(entropy),
        9 => body.suback(entropy),
        10 => body.unsubscribe(entropy),
        11 => body.unsuback(entropy),
        14 => body.disconnect(entropy),
        15 => body.auth(entropy),
        _ => 0,
    };
    framed(kind << 4 | flags, &body.bytes)
}

/// A fixed header in front of `body`.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    varint(body.len(), &mut out);
    out.extend_from_slice(body);
    out
}

/// A variable byte integer in its shortest form.
pub(crate) fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A string or binary data with its length.
pub(crate) fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(
        &u16::try_from(bytes.len()).expect("test strings are short").to_be_bytes(),
    );
    out.extend_from_slice(bytes);
}

/// Breaks a packet in up to three places and makes its Remaining Length true again, so that what
/// is tested is its body and not the frame.
pub(crate) fn mutate(packet: &[u8], entropy: &mut Entropy<'_>) -> Vec<u8> {
    let body_at = 2 + packet[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
    let mut bytes = packet[body_at..].to_vec();
    let mut first = packet[0];
    for _ in 0..entropy.below(4) {
        let at = usize::from(entropy.u16()) % (bytes.len() + 1);
        match entropy.below(8) {
            0 => first ^= 1 << entropy.below(4),
            1 => bytes.insert(at, entropy.u8()),
            2 => bytes.truncate(at),
            3 => bytes.push(entropy.u8()),
            _ if at == bytes.len() => {}
            4 => drop(bytes.remove(at)),
            5 => bytes[at] = entropy.pick(ODD_BYTES),
            6 => bytes[at] = entropy.u8(),
            _ => bytes[at] ^= 1 << entropy.below(8),
        }
    }
    framed(first, &bytes)
}

struct Body {
    bytes: Vec<u8>,
    version: ProtocolVersion,
}

impl Body {
    fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn packet_id(&mut self, entropy: &mut Entropy<'_>) {
        self.u16(not_0(entropy.u16(), entropy));
    }

    fn text(&mut self, entropy: &mut Entropy<'_>) {
        counted(text(entropy).as_bytes(), &mut self.bytes);
    }

    fn topic(&mut self, entropy: &mut Entropy<'_>) {
        counted(topic(entropy).as_bytes(), &mut self.bytes);
    }

    fn binary(&mut self, entropy: &mut Entropy<'_>) {
        let len = entropy.below(9);
        let bytes: Vec<u8> = (0..len).map(|_| entropy.u8()).collect();
        counted(&bytes, &mut self.bytes);
    }

    fn connect(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        let (name, level): (&[u8], u8) = match self.version {
            ProtocolVersion::V31 => (b"MQIsdp", 3),
            ProtocolVersion::V311 => (b"MQTT", 4),
            ProtocolVersion::V5 => (b"MQTT", 5),
        };
        counted(name, &mut self.bytes);
        let choice = entropy.u8();
        let mut flags = choice & 0b1100_0110;
        if flags & 4 != 0 {
            flags |= choice & 0x20 | (entropy.below(3) as u8) << 3;
        }
        if !self.version.is_v5() && flags & 0x80 == 0 {
            flags &= !0x40;
        }
        if entropy.slips() {
            flags ^= 1 << entropy.below(8);
        }
        self.bytes.extend_from_slice(&[level, flags]);
        self.u16(entropy.u16());
        self.properties(CONNECT, entropy);
        self.text(entropy);
        if flags & 4 != 0 {
            self.properties(WILL, entropy);
            self.topic(entropy);
            self.binary(entropy);
        }
        if flags & 0x80 != 0 {
            self.text(entropy);
        }
        if flags & 0x40 != 0 {
            self.binary(entropy);
        }
        0
    }

    fn connack(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        let code = match self.version {
            ProtocolVersion::V5 => entropy.pick(CONNACK_CODES),
            _ => entropy.below(6) as u8,
        };
        let present = code == 0 && self.version != ProtocolVersion::V31 && entropy.chance(2);
        self.bytes.extend_from_slice(&[u8::from(present), code]);
        self.properties(CONNACK, entropy);
        0
    }

    fn publish(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        let qos = entropy.below(3) as u8;
        let mut flags = qos << 1 | u8::from(entropy.chance(2));
        if qos > 0 && entropy.chance(4) {
            flags |= 8;
        }
        let by_alias = self.version.is_v5() && entropy.chance(8);
        if by_alias {
            self.u16(0);
        } else {
            self.topic(entropy);
        }
        if qos > 0 {
            self.packet_id(entropy);
        }
        if by_alias {
            self.bytes.extend_from_slice(&[3, 0x23, 0, 1]);
        } else {
            self.properties(PUBLISH, entropy);
        }
        let payload_len = entropy.pick(&[0, 1, 5, 64, 200, 20_000]);
        let filler = entropy.u8();
        self.bytes.resize(self.bytes.len() + payload_len, filler);
        flags
    }

    fn ack(&mut self, codes: &[u8], flags: u8, entropy: &mut Entropy<'_>) -> u8 {
        self.packet_id(entropy);
        if self.version.is_v5() {
            self.reason_and_properties(codes, ACK, entropy);
        }
        flags
    }

    fn subscribe(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        self.packet_id(entropy);
        self.properties(SUBSCRIBE, entropy);
        for _ in 0..=entropy.below(3) {
            counted(filter(entropy).as_bytes(), &mut self.bytes);
            let mut options = entropy.below(3) as u8;
            if self.version.is_v5() {
                options |= entropy.u8() & 0b1100 | (entropy.below(3) as u8) << 4;
            }
            self.bytes.push(if entropy.slips() { entropy.u8() } else { options });
        }
        2
    }

    fn suback(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        self.packet_id(entropy);
        self.properties(ACK, entropy);
        let codes = if self.version.is_v5() { SUBACK_CODES } else { &[0, 1, 2, 0x80] };
        for _ in 0..=entropy.below(3) {
            self.bytes.push(entropy.pick(codes));
        }
        0
    }

    fn unsubscribe(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        self.packet_id(entropy);
        self.properties(&[], entropy);
        for _ in 0..=entropy.below(3) {
            counted(filter(entropy).as_bytes(), &mut self.bytes);
        }
        2
    }

    fn unsuback(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        self.packet_id(entropy);
        self.properties(ACK, entropy);
        if self.version.is_v5() {
            for _ in 0..=entropy.below(3) {
                self.bytes.push(entropy.pick(UNSUBACK_CODES));
            }
        }
        0
    }

    fn disconnect(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        if self.version.is_v5() {
            self.reason_and_properties(DISCONNECT_CODES, DISCONNECT, entropy);
        }
        0
    }

    fn auth(&mut self, entropy: &mut Entropy<'_>) -> u8 {
        self.bytes.push(entropy.pick(&[0, 0x18, 0x19]));
        let mut list = vec![0x15];
        counted(text(entropy).as_bytes(), &mut list);
        property_list(AUTH, entropy, &mut list);
        varint(list.len(), &mut self.bytes);
        self.bytes.extend_from_slice(&list);
        0
    }

    /// A code that stands for itself: left out when it is 0 and nothing follows.
    fn reason_and_properties(&mut self, codes: &[u8], allowed: &[u8], entropy: &mut Entropy<'_>) {
        let code = entropy.pick(codes);
        let mut list = Vec::new();
        property_list(allowed, entropy, &mut list);
        if code != 0 || !list.is_empty() {
            self.bytes.push(code);
        }
        if !list.is_empty() {
            varint(list.len(), &mut self.bytes);
            self.bytes.extend_from_slice(&list);
        }
    }

    fn properties(&mut self, allowed: &[u8], entropy: &mut Entropy<'_>) {
        if self.version.is_v5() {
            let mut list = Vec::new();
            property_list(allowed, entropy, &mut list);
            varint(list.len(), &mut self.bytes);
            self.bytes.extend_from_slice(&list);
        }
    }
}

/// Some of the allowed properties in any order, and User Properties between them.
fn property_list(allowed: &[u8], entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    let mut left = allowed.to_vec();
    for _ in 0..entropy.below(6) {
        let at = entropy.below(left.len() + 1);
        match left.get(at) {
            None => property(0x26, entropy, out),
            Some(&id) => {
                let id = if entropy.slips() { entropy.below(0x2B) as u8 } else { id };
                property(id, entropy, out);
                // Only a PUBLISH may carry several Subscription Identifiers (§3.3.2.3.8).
                if (id != 0x0B || allowed != PUBLISH) && !entropy.slips() {
                    left.remove(at);
                }
            }
        }
    }
}

fn property(id: u8, entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    out.push(id);
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => {
            let value = entropy.u8();
            out.push(if entropy.slips() { value } else { value & 1 });
        }
        0x13 | 0x22 => out.extend_from_slice(&entropy.u16().to_be_bytes()),
        0x21 | 0x23 => out.extend_from_slice(&not_0(entropy.u16(), entropy).to_be_bytes()),
        0x02 | 0x11 | 0x18 => out.extend_from_slice(&entropy.u32().to_be_bytes()),
        0x27 => out.extend_from_slice(&not_0(entropy.u32(), entropy).to_be_bytes()),
        0x0B => {
            let value = entropy.u32() >> (4 + entropy.below(28));
            varint(not_0(value, entropy) as usize, out);
        }
        0x09 | 0x16 => counted(&[entropy.u8(), 0, entropy.u8()], out),
        0x08 => counted(topic(entropy).as_bytes(), out),
        0x26 => {
            counted(text(entropy).as_bytes(), out);
            counted(text(entropy).as_bytes(), out);
        }
        _ => counted(text(entropy).as_bytes(), out),
    }
}

/// The value, but not 0.
fn not_0<T: Default + PartialEq + From<u8>>(value: T, entropy: &mut Entropy<'_>) -> T {
    if value != T::default() {
        return value;
    }
    T::from(u8::from(!entropy.slips()))
}

fn text(entropy: &mut Entropy<'_>) -> String {
    let long = if entropy.chance(32) { 300 } else { 0 };
    let len = entropy.below(6) + long;
    let mut text: String = (0..len).map(|_| entropy.pick(CHARACTERS)).collect();
    if entropy.slips() {
        text.push('\0');
    }
    text
}

fn topic(entropy: &mut Entropy<'_>) -> String {
    let text = text(entropy);
    if entropy.slips() {
        return text;
    }
    let text = text.replace(['+', '#'], "-");
    if text.is_empty() { "t".to_owned() } else { text }
}

fn filter(entropy: &mut Entropy<'_>) -> &'static str {
    entropy.pick(&["a", "a/b", "+", "#", "a/+/c", "a/#", "/", "$SYS/#", "$share/g/a/+", "ü/€"])
}

/// Characters of one to four bytes; the byte order mark is a character like any other
/// [MQTT-1.5.4-3].
const CHARACTERS: &[char] =
    &['a', 'b', '/', '$', ' ', '+', '#', '\u{1}', '\u{7f}', 'é', '€', '\u{FEFF}', '\u{10FFFF}'];

/// Bytes that mean something somewhere.
const ODD_BYTES: &[u8] = &[0, 1, 2, 3, 0x23, 0x2B, 0x0B, 0x26, 0x7F, 0x80, 0xC0, 0xED, 0xF8, 0xFF];

pub(crate) const CONNECT: &[u8] = &[0x11, 0x15, 0x17, 0x19, 0x21, 0x22, 0x27];
pub(crate) const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18];
pub(crate) const CONNACK: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x27, 0x28, 0x29, 0x2A,
];
pub(crate) const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23];
pub(crate) const ACK: &[u8] = &[0x1F];
pub(crate) const SUBSCRIBE: &[u8] = &[0x0B];
pub(crate) const DISCONNECT: &[u8] = &[0x11, 0x1C, 0x1F];
pub(crate) const AUTH: &[u8] = &[0x16, 0x1F];

pub(crate) const CONNACK_CODES: &[u8] = &[
    0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
pub(crate) const PUBACK_CODES: &[u8] = &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
pub(crate) const PUBREL_CODES: &[u8] = &[0, 0x92];
pub(crate) const SUBACK_CODES: &[u8] =
    &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
pub(crate) const UNSUBACK_CODES: &[u8] = &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
pub(crate) const DISCONNECT_CODES: &[u8] = &[
    0, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
