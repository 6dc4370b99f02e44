"""One paho-mqtt connection as the checks want it: synchronous calls, bounded waits.

The same code runs on paho-mqtt 1.6.1 and 2.x; each is used through the callbacks its own
documentation recommends.
"""

import collections
import socket
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from checks import LIMIT, Inbox, expect, unique_id

PAHO_2 = hasattr(mqtt, "CallbackAPIVersion")

Case = collections.namedtuple("Case", "name transport protocol args")

PROTOCOLS = {"31": mqtt.MQTTv31, "311": mqtt.MQTTv311, "5": mqtt.MQTTv5}

# paho-mqtt 1.6.1 loses one of more than 20 queued QoS 2 publications: never queue in it.
WINDOW = 16


def cases(args, protocols):
    """Every transport with every protocol version."""
    return [
        Case(f"{transport}/{name}", transport, PROTOCOLS[name], args)
        for transport in ("tcp", "websockets")
        for name in protocols
    ]


def properties(packet, **values):
    """MQTT 5 properties by paho's names, e.g. `properties("PUBLISH", MessageExpiryInterval=3)`."""
    result = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(result, name, value)
    return result


class Peer:
    """A client, its CONNACK, and everything it received."""

    def __init__(self, opened, case, client_id=None, clean=True, expiry=None, **options):
        self.case = case
        self.client_id = unique_id() if client_id is None else client_id
        self.messages = Inbox(lambda message: (message.topic, message.qos, message.payload[:20]))
        self.connacks = Inbox()
        self.disconnects = Inbox()
        self._acks = Inbox()
        self._clean = clean
        self._connect_properties = options.pop("connect_properties", {})
        if expiry is not None:
            self._connect_properties["SessionExpiryInterval"] = expiry
        self.client = self._new_client(**options)
        opened.callback(self.close)

    @property
    def is_v5(self):
        return self.case.protocol == mqtt.MQTTv5

    def _new_client(self, manual_ack=False, will=None):
        options = {"client_id": self.client_id, "protocol": self.case.protocol}
        options["transport"] = self.case.transport
        options["reconnect_on_failure"] = False
        if not self.is_v5:
            options["clean_session"] = self._clean
        if PAHO_2:
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
            options["manual_ack"] = manual_ack
        client = mqtt.Client(**options)
        if self.case.transport == "websockets":
            client.ws_set_options(path=self.case.args.ws_path)
        if will:
            client.will_set(**will)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _userdata, message: self.messages.put(message)
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        return client

    # Callbacks: paho 1 and 2, 3.1.1 and 5 pass different arguments.

    def _on_connect(self, _client, _userdata, flags, code, connack_properties=None):
        present = flags.session_present if PAHO_2 else bool(flags["session present"])
        self.connacks.put((getattr(code, "value", code), present, connack_properties))

    def _on_disconnect(self, _client, _userdata, *rest):
        code = rest[1] if PAHO_2 else rest[0]
        self.disconnects.put(getattr(code, "value", code))

    def _on_subscribe(self, _client, _userdata, mid, codes, _properties=None):
        self._acks.put((mid, [getattr(code, "value", code) for code in codes]))

    def _on_unsubscribe(self, _client, _userdata, mid, *rest):
        codes = []
        if self.is_v5:
            codes = rest[0] if PAHO_2 else rest[1]
            codes = codes if isinstance(codes, list) else [codes]
        self._acks.put((mid, [code.value for code in codes]))

    # Calls

    def connect(self):
        """CONNECT and wait for an accepting CONNACK: (code, session present, properties)."""
        args = self.case.args
        port = args.ws_port if self.case.transport == "websockets" else args.port
        options = {}
        if self.is_v5:
            options["clean_start"] = self._clean
            if self._connect_properties:
                options["properties"] = properties("CONNECT", **self._connect_properties)
        self.client.connect(args.host, port, 60, **options)
        self.client.loop_start()
        connack = self.connacks.wait_count(1, "CONNACK")[0]
        expect(connack[0] == 0, f"CONNACK refused with {connack[0]:#x}")
        return connack

    def subscribe(self, filters, qos=0, **options):
        """SUBSCRIBE and wait for SUBACK: its codes. `filters` as paho takes them."""
        _, mid = self.client.subscribe(filters, qos, **options)
        return self._ack(mid, "SUBACK")

    def unsubscribe(self, topic):
        """UNSUBSCRIBE and wait for UNSUBACK: its codes (none before MQTT 5)."""
        _, mid = self.client.unsubscribe(topic)
        return self._ack(mid, "UNSUBACK")

    def publish(self, topic, payload, qos=0, retain=False, **values):
        """PUBLISH and wait until it is acknowledged; `values` are MQTT 5 properties."""
        self._published(self.start_publish(topic, payload, qos, retain, **values))

    def start_publish(self, topic, payload, qos=0, retain=False, **values):
        """PUBLISH without the wait."""
        options = {"properties": properties("PUBLISH", **values)} if values else {}
        return self.client.publish(topic, payload, qos, retain, **options)

    def publish_many(self, topic, payloads, qos):
        """All of `payloads`, with at most WINDOW unacknowledged."""
        infos = []
        for index, payload in enumerate(payloads):
            if index >= WINDOW:
                self._published(infos[index - WINDOW])
            infos.append(self.start_publish(topic, payload, qos))
        for info in infos[-WINDOW:]:
            self._published(info)

    def receive(self, count, limit=LIMIT):
        """The first `count` publications, waiting for them."""
        return self.messages.wait_count(count, "PUBLISH", limit)

    def disconnect(self, **options):
        """DISCONNECT, and wait until the socket is closed."""
        self.client.disconnect(**options)
        self.disconnects.wait_count(1, "close")
        self.client.loop_stop()

    def abort(self):
        """Lose the connection without DISCONNECT."""
        link = self.client.socket()
        # A WebSocket link is paho's wrapper around the socket.
        for name in ("_socket", "socket"):
            if not isinstance(link, socket.socket):
                link = getattr(link, name, link)
        link.shutdown(socket.SHUT_RDWR)
        self.disconnects.wait_count(1, "close")
        self.client.loop_stop()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    @staticmethod
    def _published(info):
        info.wait_for_publish(LIMIT)
        expect(info.is_published(), f"no acknowledgement of PUBLISH {info.mid} in {LIMIT:g} s")

    def _ack(self, mid, what):
        found = self._acks.wait(lambda items: any(item[0] == mid for item in items), what)
        return next(codes for ack_mid, codes in found if ack_mid == mid)


def connected(opened, case, **options):
    """A peer with its CONNACK read."""
    peer = Peer(opened, case, **options)
    peer.connect()
    return peer


def payloads(messages):
    return [message.payload for message in messages]


def wait_until(moment):
    """Let time pass where the standard counts seconds (expiry, delays)."""
    time.sleep(max(0.0, moment - time.monotonic()))
