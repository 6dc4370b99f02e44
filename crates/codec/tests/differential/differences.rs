//! The differences that are known and right: `docs/decisions/0002-codec-differences.md` gives the
//! rule and the clause of each.

use agentmq_codec::ProtocolVersion::{self, V5, V31, V311};

use crate::facts::Facts;

/// Whose answer differs from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oracle {
    Rmqtt,
    Proto,
    Both,
}

/// How it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// We refuse, with `sign` in what we say.
    Oracle,
    /// The oracle refuses, with `sign` in what it says.
    Ours,
    /// Both accept and the value named `sign` differs.
    Fields,
}

/// One class of differences and an example of it.
pub(crate) struct Known {
    pub(crate) id: &'static str,
    oracle: Oracle,
    accepts: Accepts,
    versions: &'static [ProtocolVersion],
    /// The packet, empty for any.
    kind: &'static str,
    sign: &'static str,
    /// What must hold for the packet as the side that accepts it reads it.
    condition: fn(&[u8], &Facts) -> bool,
    pub(crate) example: (ProtocolVersion, &'static [u8]),
}

impl Known {
    /// Whether a difference is of this class. `said` is the refusal, or the differing value.
    pub(crate) fn covers(
        &self,
        (oracle, accepts, version): (Oracle, Accepts, ProtocolVersion),
        said: &str,
        frame: &[u8],
        facts: &Facts,
    ) -> bool {
        (self.oracle == Oracle::Both || self.oracle == oracle)
            && self.accepts == accepts
            && self.versions.contains(&version)
            && (self.kind.is_empty() || self.kind == facts.kind())
            && said.contains(self.sign)
            && (self.condition)(frame, facts)
    }

    /// Those of whose example the oracle is asked.
    pub(crate) fn concerns(&self, oracle: Oracle) -> bool {
        self.oracle == Oracle::Both || self.oracle == oracle
    }
}

fn always(_: &[u8], _: &Facts) -> bool {
    true
}

/// A bit that version 3.1 does not use is set.
fn v31_unused(frame: &[u8], facts: &Facts) -> bool {
    let used = match facts.kind() {
        "PUBREL" | "SUBSCRIBE" | "UNSUBSCRIBE" => 2,
        _ => 0,
    };
    let flags = frame.get(CONNECT_FLAGS).copied().unwrap_or(0);
    frame[0] & 0x0F != used
        || match facts.kind() {
            "CONNECT" => flags & 1 != 0 || flags & 4 == 0 && flags & 0x38 != 0,
            "CONNACK" => frame[2] > 1,
            _ => false,
        }
}

/// A flag of a version 3.1 CONNECT announces a string that is not there.
fn v31_missing(frame: &[u8], facts: &Facts) -> bool {
    let flags = frame.get(CONNECT_FLAGS).copied().unwrap_or(0);
    flags & 0x80 != 0 && facts.says("name", "None")
        || flags & 0x40 != 0 && facts.says("password", "None")
}

fn no_client_id(_: &[u8], facts: &Facts) -> bool {
    facts.says("client id", "\"\"") && facts.says("clean", "false")
}

fn has_filters(_: &[u8], facts: &Facts) -> bool {
    matches!(facts.kind(), "SUBSCRIBE" | "UNSUBSCRIBE")
}

fn expires_at_once(_: &[u8], facts: &Facts) -> bool {
    facts.says("0x02", "0") || facts.says("will 0x02", "0")
}

fn refusal_v3(frame: &[u8], _: &Facts) -> bool {
    frame[1] == 2 && frame[3] != 0
}

fn says_utf8(_: &[u8], facts: &Facts) -> bool {
    facts.says("0x01", "1") || facts.says("will 0x01", "1")
}

/// Where the Connect Flags of a version 3.1 CONNECT stand, whose Remaining Length is one byte.
const CONNECT_FLAGS: usize = 2 + 8 + 1;

const ANY: &[ProtocolVersion] = &[V31, V311, V5];
const OLD: &[ProtocolVersion] = &[V31, V311];
const NEW: &[ProtocolVersion] = &[V311, V5];

/// Every known class.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        id: "D01",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: "U+0000 in a string",
        condition: always,
        example: (V311, &[0x30, 0x03, 0x00, 0x01, 0x00]),
    },
    Known {
        id: "D02",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: "U+0000 in a string",
        condition: always,
        example: (V5, &[0x30, 0x08, 0x00, 0x01, 0x74, 0x04, 0x03, 0x00, 0x01, 0x00]),
    },
    Known {
        id: "D03",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: " with a wildcard",
        condition: always,
        example: (V311, &[0x30, 0x03, 0x00, 0x01, 0x23]),
    },
    Known {
        id: "D04",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "PUBLISH",
        sign: "DUP with QoS 0",
        condition: always,
        example: (V5, &[0x38, 0x04, 0x00, 0x01, 0x74, 0x00]),
    },
    Known {
        id: "D05",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: "PING with a body",
        condition: always,
        example: (V311, &[0xC0, 0x01, 0x00]),
    },
    Known {
        id: "D06",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "DISCONNECT",
        sign: "DISCONNECT with a body",
        condition: always,
        example: (V311, &[0xE0, 0x01, 0x00]),
    },
    Known {
        id: "D07",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "CONNECT",
        sign: "bytes behind the payload of CONNECT",
        condition: always,
        example: (
            V311,
            &[
                0x10, 0x0D, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x04, 0x02, 0x00, 0x00, 0x00, 0x00,
                0x00,
            ],
        ),
    },
    Known {
        id: "D08",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "CONNACK",
        sign: "bytes behind CONNACK",
        condition: always,
        example: (V311, &[0x20, 0x03, 0x00, 0x00, 0x00]),
    },
    Known {
        id: "D09",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: "bytes behind an acknowledgement",
        condition: always,
        example: (V311, &[0x40, 0x03, 0x00, 0x01, 0x00]),
    },
    Known {
        id: "D10",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "",
        sign: "bytes behind ",
        condition: always,
        example: (V5, &[0xE0, 0x03, 0x00, 0x00, 0x00]),
    },
    Known {
        id: "D11",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "SUBACK",
        sign: "SUBACK without a code",
        condition: always,
        example: (V311, &[0x90, 0x02, 0x00, 0x01]),
    },
    Known {
        id: "D12",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "UNSUBACK",
        sign: "UNSUBACK without a code",
        condition: always,
        example: (V5, &[0xB0, 0x03, 0x00, 0x01, 0x00]),
    },
    Known {
        id: "D13",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: NEW,
        kind: "CONNACK",
        sign: "Session Present in a refusal",
        condition: always,
        example: (V311, &[0x20, 0x02, 0x01, 0x05]),
    },
    Known {
        id: "D14",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "CONNACK",
        sign: "reason code not allowed in CONNACK",
        condition: always,
        example: (V311, &[0x20, 0x02, 0x00, 0x06]),
    },
    Known {
        id: "D15",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "CONNECT",
        sign: "Will QoS or Will Retain without a will",
        condition: always,
        example: (
            V5,
            &[
                0x10, 0x0D, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x05, 0x0A, 0x00, 0x00, 0x00, 0x00,
                0x00,
            ],
        ),
    },
    Known {
        id: "D16",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: NEW,
        kind: "CONNECT",
        sign: "Will QoS or Will Retain without a will",
        condition: always,
        example: (
            V311,
            &[0x10, 0x0C, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x04, 0x22, 0x00, 0x00, 0x00, 0x00],
        ),
    },
    Known {
        id: "D17",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "CONNECT",
        sign: "this server speaks MQTT 5, 3.1.1 and 3.1",
        condition: always,
        example: (
            V311,
            &[0x10, 0x0C, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x03, 0x02, 0x00, 0x00, 0x00, 0x00],
        ),
    },
    Known {
        id: "D18",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "CONNECT",
        sign: "password without a user name",
        condition: always,
        example: (
            V311,
            &[
                0x10, 0x0E, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x04, 0x42, 0x00, 0x00, 0x00, 0x00,
                0x00, 0x00,
            ],
        ),
    },
    Known {
        id: "D19",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: &[V311],
        kind: "SUBSCRIBE",
        sign: "reserved Subscription Options are set",
        condition: always,
        example: (V311, &[0x82, 0x06, 0x00, 0x01, 0x00, 0x01, 0x61, 0x04]),
    },
    Known {
        id: "D20",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "AUTH",
        sign: "AUTH without an Authentication Method",
        condition: always,
        example: (V5, &[0xF0, 0x00]),
    },
    Known {
        id: "D21",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "AUTH",
        sign: "packet ends too early",
        condition: always,
        example: (V5, &[0xF0, 0x01, 0x18]),
    },
    Known {
        id: "D22",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "PUBLISH",
        sign: "empty topic name without a Topic Alias",
        condition: always,
        example: (V5, &[0x30, 0x03, 0x00, 0x00, 0x00]),
    },
    Known {
        id: "D23",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: OLD,
        kind: "PUBLISH",
        sign: "empty topic name",
        condition: always,
        example: (V311, &[0x30, 0x02, 0x00, 0x00]),
    },
    Known {
        id: "D24",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "",
        sign: "variable byte integer not in its shortest form",
        condition: always,
        example: (V5, &[0x30, 0x05, 0x00, 0x01, 0x74, 0x80, 0x00]),
    },
    Known {
        id: "D25",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: ANY,
        kind: "CONNECT",
        sign: "empty Will Topic",
        condition: always,
        example: (
            V311,
            &[
                0x10, 0x10, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x04, 0x06, 0x00, 0x00, 0x00, 0x00,
                0x00, 0x00, 0x00, 0x00,
            ],
        ),
    },
    Known {
        id: "D26",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "",
        sign: "empty Response Topic",
        condition: always,
        example: (V5, &[0x30, 0x07, 0x00, 0x01, 0x74, 0x03, 0x08, 0x00, 0x00]),
    },
    Known {
        id: "D27",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "",
        sign: "is 0",
        condition: always,
        example: (V5, &[0x30, 0x06, 0x00, 0x01, 0x74, 0x02, 0x0B, 0x00]),
    },
    Known {
        id: "D28",
        oracle: Oracle::Both,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "CONNECT",
        sign: "Authentication Data without a method",
        condition: always,
        example: (
            V5,
            &[
                0x10, 0x11, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x05, 0x02, 0x00, 0x00, 0x04, 0x16,
                0x00, 0x01, 0x07, 0x00, 0x00,
            ],
        ),
    },
    Known {
        id: "D29",
        oracle: Oracle::Proto,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "",
        sign: "variable byte integer not in its shortest form",
        condition: always,
        example: (V5, &[0x20, 0x04, 0x00, 0x00, 0x80, 0x00]),
    },
    Known {
        id: "D30",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Oracle,
        versions: &[V5],
        kind: "CONNACK",
        sign: "property value is neither 0 nor 1",
        condition: always,
        example: (V5, &[0x20, 0x05, 0x00, 0x80, 0x02, 0x24, 0x02]),
    },
    Known {
        id: "D40",
        oracle: Oracle::Both,
        accepts: Accepts::Ours,
        versions: &[V31],
        kind: "",
        sign: "",
        condition: v31_unused,
        example: (V31, &[0xC8, 0x00]),
    },
    Known {
        id: "D41",
        oracle: Oracle::Both,
        accepts: Accepts::Ours,
        versions: &[V31],
        kind: "CONNECT",
        sign: "",
        condition: v31_missing,
        example: (
            V31,
            &[
                0x10, 0x10, 0x00, 0x06, 0x4D, 0x51, 0x49, 0x73, 0x64, 0x70, 0x03, 0x82, 0x00, 0x00,
                0x00, 0x02, 0x61, 0x62,
            ],
        ),
    },
    Known {
        id: "D42",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Ours,
        versions: ANY,
        kind: "CONNECT",
        sign: "Invalid client id",
        condition: no_client_id,
        example: (
            V5,
            &[
                0x10, 0x0D, 0x00, 0x04, 0x4D, 0x51, 0x54, 0x54, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00,
                0x00,
            ],
        ),
    },
    Known {
        id: "D43",
        oracle: Oracle::Both,
        accepts: Accepts::Ours,
        versions: ANY,
        kind: "",
        sign: "nvalid topic filter",
        condition: has_filters,
        example: (V311, &[0x82, 0x05, 0x00, 0x01, 0x00, 0x00, 0x00]),
    },
    Known {
        id: "D44",
        oracle: Oracle::Rmqtt,
        accepts: Accepts::Ours,
        versions: &[V5],
        kind: "",
        sign: "Malformed packet",
        condition: expires_at_once,
        example: (V5, &[0x30, 0x09, 0x00, 0x01, 0x74, 0x05, 0x02, 0x00, 0x00, 0x00, 0x00]),
    },
    Known {
        id: "D45",
        oracle: Oracle::Both,
        accepts: Accepts::Ours,
        versions: &[V5],
        kind: "CONNACK",
        sign: "",
        condition: refusal_v3,
        example: (V5, &[0x20, 0x02, 0x00, 0x01]),
    },
    Known {
        id: "D46",
        oracle: Oracle::Proto,
        accepts: Accepts::Ours,
        versions: &[V5],
        kind: "",
        sign: "invalid payload format",
        condition: says_utf8,
        example: (V5, &[0x30, 0x07, 0x00, 0x01, 0x74, 0x02, 0x01, 0x01, 0xFF]),
    },
    Known {
        id: "D47",
        oracle: Oracle::Proto,
        accepts: Accepts::Ours,
        versions: &[V5],
        kind: "PUBLISH",
        sign: "duplicated property: `SubscriptionIdentifier`",
        condition: always,
        example: (V5, &[0x30, 0x08, 0x00, 0x01, 0x74, 0x04, 0x0B, 0x01, 0x0B, 0x02]),
    },
    Known {
        id: "D48",
        oracle: Oracle::Proto,
        accepts: Accepts::Ours,
        versions: &[V5],
        kind: "DISCONNECT",
        sign: "invalid reason code `140`",
        condition: always,
        example: (V5, &[0xE0, 0x01, 0x8C]),
    },
    Known {
        id: "D49",
        oracle: Oracle::Proto,
        accepts: Accepts::Ours,
        versions: &[V31],
        kind: "SUBSCRIBE",
        sign: "invalid qos",
        condition: always,
        example: (V31, &[0x82, 0x06, 0x00, 0x01, 0x00, 0x01, 0x61, 0xF9]),
    },
    Known {
        id: "D60",
        oracle: Oracle::Both,
        accepts: Accepts::Fields,
        versions: &[V31],
        kind: "CONNACK",
        sign: "present",
        condition: always,
        example: (V31, &[0x20, 0x02, 0x01, 0x00]),
    },
];
