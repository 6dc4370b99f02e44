//! A client that never reads costs its configured bound and nobody else a message.

use std::net::TcpStream;

use agentmq_testkit::codec::{QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient, connect_with_small_buffer};

#[test]
fn a_reader_of_qos_0_that_never_reads() {
    // Its outbox, and what the others need.
    assert_flat(QoS::AtMostOnce, OUTBOX_BYTES + SLACK_BYTES);
}

#[test]
fn a_reader_of_qos_1_that_never_reads() {
    // Its outbox, its queue, and what the others need.
    let bound = OUTBOX_BYTES + QUEUE_BYTES + SLACK_BYTES;
    assert_flat(QoS::AtLeastOnce, bound);
}

fn assert_flat(qos: QoS, bound: u64) {
    let broker = crate::broker(&format!(
        "[sys]\ninterval_secs = 1\n[limits]\nwrite_blocked_ms = 3_000\nin_flight = 65_535\n\
         queue_messages = 100_000\nqueue_bytes = {QUEUE_BYTES}\noutbox_bytes = {OUTBOX_BYTES}\n"
    ));
    let mut good = broker.client("good");
    assert!(!good.subscribe("load", qos).is_error());
    let mut publisher = broker.client("publisher");
    // The allocator takes what the good reader needs before the measurement starts.
    for _ in 0..20 {
        batch(&mut publisher, &mut good, qos);
    }
    let slow = never_reading(&broker, qos);
    let before = broker.gauges().resident_bytes;
    let mut most = before;
    for _ in 0..BATCHES {
        batch(&mut publisher, &mut good, qos);
        most = most.max(broker.gauges().resident_bytes);
    }
    let growth = most - before;
    println!("{growth} bytes for a reader that does not read {} MiB", MEBIBYTES);
    assert!(growth <= bound, "grew by {growth} bytes, the bound is {bound}");
    assert_eq!(broker.wait_for_statistic("clients/slow", |count| count > 0), 1);
    broker.wait_for_statistic("publish/messages/dropped", |count| count > 0);
    let log = broker.wait_for_log("slow consumer", 0);
    assert!(log.contains("never-reading"), "the log names the client:\n{log}");
    // Closed: what the kernel still holds can be read, then it ends. The DISCONNECT cannot follow
    // on a socket that is full, but nothing else may either.
    let mut slow = RawClient::over(slow);
    let reason = slow.reason_of_end();
    assert!(matches!(reason, None | Some(ReasonCode::QuotaExceeded)), "{reason:?}");
    good.ping();
}

/// A hundred publications of a kilobyte; the good reader gets every one before it returns.
fn batch(publisher: &mut RawClient, good: &mut RawClient, qos: QoS) {
    for number in 0..BATCH {
        let mut payload = [b'x'; 1024];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        assert!(!publisher.publish("load", &payload, qos).is_error());
    }
    for number in 0..BATCH {
        let received = good.receive_publish();
        assert_eq!(received.publish().payload[..4], number.to_be_bytes(), "in order, none lost");
    }
}

/// Connects and subscribes, and does not read after that.
fn never_reading(broker: &Broker, qos: QoS) -> TcpStream {
    let stream = connect_with_small_buffer(broker.port("mqtt"), 4096);
    let kept = stream.try_clone().unwrap();
    let mut client = RawClient::over(stream);
    client.connect("never-reading");
    assert!(!client.subscribe("load", qos).is_error());
    kept
}

const BATCH: u32 = 100;
const BATCHES: u32 = 200;
const MEBIBYTES: u32 = BATCH * BATCHES / 1024;
const OUTBOX_BYTES: u64 = 1 << 20;
const QUEUE_BYTES: u64 = 1 << 20;
/// A buffer that grows by doubling holds old and new for a moment; the queue's entries and the
/// acknowledgements in flight take their part.
const SLACK_BYTES: u64 = 3 << 20;
