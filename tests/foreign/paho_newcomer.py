"""The example every newcomer starts from, word for word, against a running broker.

The publisher never runs a network loop: CONNECT, PUBLISH and DISCONNECT leave in one burst and
the socket closes with CONNACK unread, so the broker's kernel answers its writes with a reset.
A broker that gives up on the first failed write loses the publication. Runs under paho-mqtt 1.6.1
and 2.x alike.
"""

import threading
import warnings

import paho.mqtt.client as mqtt

from checks import Checks, Inbox, expect_equal, parser, unique_topic

# paho-mqtt 2.x still takes `mqtt.Client()` and only warns that the old callbacks are deprecated.
warnings.filterwarnings("ignore", category=DeprecationWarning)


def start_subscriber(host, port, topic):
    """`subscribe.py` of the example, in a thread: SUBSCRIBE is sent before CONNACK is read."""
    received = Inbox()
    subscribed = Inbox()
    client = mqtt.Client()
    client.on_message = lambda client, userdata, message: received.put(message.payload)
    client.on_subscribe = lambda *args: subscribed.put(args)
    client.connect(host, port, 60)
    client.subscribe(topic)
    thread = threading.Thread(target=client.loop_forever, daemon=True)
    thread.start()
    subscribed.wait_count(1, "SUBACK")
    return client, thread, received


def publish_once(host, port, topic, payload):
    """`publish.py` of the example."""
    client = mqtt.Client()
    client.connect(host, port, 60)
    client.publish(topic, payload, qos=0, retain=False)
    client.disconnect()


def newcomer(opened, args, payload_of):
    topic = unique_topic("newcomer")
    client, thread, received = start_subscriber(args.host, args.port, topic)
    opened.callback(thread.join, 5)
    opened.callback(client.disconnect)
    wanted = [payload_of(run) for run in range(args.runs)]
    for payload in wanted:
        publish_once(args.host, args.port, topic, payload)
    got = received.wait_count(args.runs, "publication")
    # Each run is another connection, so the order among them is the broker's choice.
    expect_equal(sorted(got), sorted(wanted), "payloads")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=1000)
    args = arguments.parse_args()
    checks = Checks(args.only)
    checks.run("newcomer/small", newcomer, args, lambda run: b"hello %d" % run)
    checks.run("newcomer/4KiB", newcomer, args, lambda run: b"%04d" % run + bytes(4092))
    checks.finish()


if __name__ == "__main__":
    main()
