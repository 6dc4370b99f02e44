//! What waits for clients that are away is bounded in memory, and none of it is lost.

use agentmq_testkit::codec::{
    AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS,
    ReasonCode,
};
use agentmq_testkit::{Broker, RawClient};

fn worker(broker: &Broker) -> RawClient {
    let mut client = broker.dial();
    let hour = Property::U32(PropertyId::SessionExpiryInterval, 3600);
    let properties = PropertiesBuf::new().with(hour);
    let connect = Connect {
        client_id: "worker",
        properties: properties.view(),
        version: ProtocolVersion::V5,
        ..Connect::default()
    };
    let connack = client.connect_with(connect);
    assert!(matches!(connack.packet(), Packet::ConnAck(it) if it.reason == ReasonCode::Success));
    client
}

/// Publishes these messages with QoS 1, and returns when all are acknowledged.
fn publish(broker: &Broker, numbers: std::ops::Range<u32>) {
    let mut publisher = broker.client("publisher");
    let mut payload = vec![b'.'; PAYLOAD];
    let numbers: Vec<u32> = numbers.collect();
    for batch in numbers.chunks(50) {
        for (number, packet_id) in batch.iter().zip(1..) {
            payload[..4].copy_from_slice(&number.to_be_bytes());
            publisher.send(&Packet::Publish(Publish {
                topic: "jobs",
                payload: &payload,
                qos: QoS::AtLeastOnce,
                packet_id,
                ..Publish::default()
            }));
        }
        for _ in batch {
            let answer = publisher.receive();
            let Packet::Ack(ack) = answer.packet() else { panic!("no PUBACK") };
            assert_eq!((ack.kind, ack.reason), (AckKind::PubAck, ReasonCode::Success));
        }
    }
}

/// Takes and acknowledges what waits until message `last` is there; everything comes, in order.
/// Returns the first.
fn take(client: &mut RawClient, last: u32) -> u32 {
    let (mut first, mut next) = (None, None);
    while next.is_none_or(|next| next <= last) {
        let received = client.receive_publish();
        let publish = received.publish();
        let number = u32::from_be_bytes(publish.payload[..4].try_into().unwrap());
        assert_eq!(publish.payload.len(), PAYLOAD);
        assert_eq!(number, next.unwrap_or(number), "one is missing, or the order is wrong");
        first.get_or_insert(number);
        next = Some(number + 1);
    }
    first.unwrap_or(u32::MAX)
}

fn resident(broker: &Broker, when: &str) -> u64 {
    let resident = broker.gauges().resident_bytes;
    println!("{} MB {when}", resident / 1_000_000);
    assert!(resident < BOUND, "{resident} bytes {when}");
    resident
}

#[test]
fn a_queue_many_times_its_memory_comes_back_in_order_and_whole() {
    // A kill takes nothing from the system, which is faster than a disk.
    let tcp = crate::TCP;
    let config = format!("durability = \"os\"\n{tcp}{SYS}[limits]\n{LIMITS}");
    let broker = Broker::start(crate::BINARY, &config);
    let mut client = worker(&broker);
    assert!(!client.subscribe("jobs", QoS::AtLeastOnce).is_error());
    client.disconnect();
    publish(&broker, 0..MESSAGES / 2);
    resident(&broker, "with half of it");
    broker.wait_for_statistic("store/queues/bytes", |it| it > u64::from(MESSAGES / 2) * 100_000);
    broker.wait_for_statistic("store/queues/memory", |it| it < 4_000_000);
    let broker = broker.restart();
    resident(&broker, "after a kill");
    publish(&broker, MESSAGES / 2..MESSAGES);
    resident(&broker, "with all of it");
    // A half of it is taken, and the log cleaned behind that.
    let mut client = worker(&broker);
    assert_eq!(take(&mut client, MESSAGES / 2), 0);
    resident(&broker, "with a half of it taken");
    let broker = broker.restart();
    resident(&broker, "after another kill");
    let mut client = worker(&broker);
    assert!(take(&mut client, MESSAGES - 1) <= MESSAGES / 2 + 1);
    client.ping(); // and nothing comes before its answer
    resident(&broker, "at the end");
    broker.wait_for_statistic("store/queues/bytes", |it| it == 0);
    broker.wait_for_statistic("store/damage", |it| it == 0);
}

#[test]
fn a_message_that_cannot_be_read_back_is_named_and_the_others_come() {
    let broker = crate::broker(&format!("{SYS}[limits]\ndurable_queue_memory = 0\n"));
    let mut client = worker(&broker);
    assert!(!client.subscribe("jobs", QoS::AtLeastOnce).is_error());
    client.disconnect();
    publish(&broker, 0..20);
    let log = broker.folder().join("agentmq-data/log/0000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    let wanted = [&10u32.to_be_bytes()[..], b"...."].concat();
    let at = bytes.windows(8).position(|window| window == wanted).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", at as u64 + 1_000).unwrap();
    let mut client = worker(&broker);
    assert_eq!(take(&mut client, 9), 0);
    assert_eq!(take(&mut client, 19), 11);
    broker.wait_for_log("a message that waited for a client cannot be read", 0);
    broker.wait_for_statistic("store/damage", |it| it == 1);
    let kept = broker.folder().join("agentmq-data/log/0000000000.log.bad");
    assert!(kept.exists(), "the damaged file is kept");
}

/// Bytes of a message, how many there are, and how much memory the broker may have with all of them
/// in line: they have 300 MB.
const PAYLOAD: usize = 100_000;
const MESSAGES: u32 = 3_000;
const BOUND: u64 = 150_000_000;
const LIMITS: &str = "durable_queue_memory = 1_000_000\nqueue_memory = 4_000_000\n";
const SYS: &str = "[sys]\ninterval_secs = 1\n";
