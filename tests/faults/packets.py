"""MQTT's packets, as far as the experiments need them: bytes out, and bytes in.

Written from the standard alone, and shared with nothing of the broker's: an error in its codec
must not be mirrored here.
"""

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14

PING = bytes([PINGREQ << 4, 0])
GOODBYE = bytes([DISCONNECT << 4, 0])
NEVER = 0xFFFFFFFF


def number(value):
    """A variable byte integer."""
    out = bytearray()
    while True:
        value, byte = divmod(value, 128)
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(first, body):
    return bytes([first]) + number(len(body)) + body


def properties(version, content=b""):
    """A property list; nothing before version 5."""
    return number(len(content)) + content if version >= 5 else b""


def connect(client_id, version=5, clean=True, expiry=0, keep_alive=0, will=None):
    """`will` is topic, payload, QoS and delay in seconds."""
    flags = 2 if clean else 0
    end = text(client_id)
    if will:
        topic, payload, qos, delay = will
        flags |= 4 | qos << 3
        end += properties(version, b"\x18" + delay.to_bytes(4, "big"))
        end += text(topic) + text(payload)
    own = b"\x11" + expiry.to_bytes(4, "big") + b"\x21\xff\xff"
    start = text("MQTT") + bytes([version, flags]) + keep_alive.to_bytes(2, "big")
    return packet(CONNECT << 4, start + properties(version, own) + end)


def publish(topic, payload, qos=0, packet_id=0, version=5, retain=False, dup=False, expiry=None):
    first = PUBLISH << 4 | qos << 1 | (1 if retain else 0) | (8 if dup else 0)
    middle = packet_id.to_bytes(2, "big") if qos else b""
    own = b"\x02" + expiry.to_bytes(4, "big") if expiry is not None else b""
    return packet(first, text(topic) + middle + properties(version, own) + payload)


def answer(kind, packet_id):
    """PUBACK, PUBREC, PUBREL or PUBCOMP that says success."""
    return bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + packet_id.to_bytes(2, "big")


def subscribe(packet_id, topic_filter, qos, version=5):
    head = packet_id.to_bytes(2, "big") + properties(version)
    return packet(SUBSCRIBE << 4 | 2, head + text(topic_filter) + bytes([qos]))


def read_number(data, at):
    """The variable byte integer at `at`, and where it ends; `None` if it is not whole."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return None


def split(data):
    """The whole packets in `data` as (first byte, body), and how many bytes they are."""
    found, at = [], 0
    while at + 2 <= len(data):
        length = read_number(data, at + 1)
        if length is None or length[1] + length[0] > len(data):
            break
        length, start = length
        found.append((data[at], bytes(data[start : start + length])))
        at = start + length
    return found, at


def reason(body, version=5):
    """The reason code of an acknowledgement."""
    return body[2] if version >= 5 and len(body) > 2 else 0


def read_publish(first, body, version=5):
    """Topic, payload, packet identifier and QoS of a PUBLISH."""
    qos = first >> 1 & 3
    at = 2 + int.from_bytes(body[:2], "big")
    topic = body[2:at]
    packet_id = 0
    if qos:
        packet_id = int.from_bytes(body[at : at + 2], "big")
        at += 2
    if version >= 5:
        length, at = read_number(body, at)
        at += length
    return topic, body[at:], packet_id, qos
