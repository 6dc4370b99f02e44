//! Answers below `$reply/`, between clients on several shards and after a crash.

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, RawClient};

use crate::program::printed;

const SHARDS: usize = 3;

fn broker() -> Broker {
    let threads = format!("[threads]\nshards = {SHARDS}\nplacement = \"spread\"\n");
    crate::broker(&format!("[sys]\ninterval_secs = 1\n{threads}"))
}

fn token(number: usize) -> String {
    format!("$reply/asker/0123456789abcdef-{number}")
}

fn ask(client: &mut RawClient, response: &str) {
    let properties = PropertiesBuf::new().with(Property::Text(PropertyId::ResponseTopic, response));
    client.send(&Packet::Publish(Publish {
        topic: "ask",
        payload: b"?",
        qos: QoS::AtLeastOnce,
        packet_id: 9,
        properties: properties.view(),
        ..Publish::default()
    }));
    let answer = client.wait_for(|it| matches!(it, Packet::Ack(ack) if ack.packet_id == 9));
    assert_eq!(answer.reason(), ReasonCode::Success);
}

/// Connects the asker, whose session lasts.
fn asker(broker: &Broker, clean_start: bool) -> RawClient {
    let mut client = broker.dial();
    let lasting = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 60));
    let connack = client.connect_with(Connect {
        client_id: "asker",
        version: ProtocolVersion::V5,
        clean_start,
        properties: lasting.view(),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

#[test]
fn who_was_asked_answers_from_every_shard_and_nobody_else() {
    let broker = broker();
    let mut asker = asker(&broker, true);
    assert!(!asker.subscribe("$reply/asker/#", QoS::AtLeastOnce).is_error());
    let crowd = |name: &str| -> Vec<RawClient> {
        (0..2 * SHARDS).map(|number| broker.client(&format!("{name}-{number}"))).collect()
    };
    let (mut workers, mut strangers) = (crowd("worker"), crowd("stranger"));
    for worker in &mut workers {
        assert!(!worker.subscribe("ask", QoS::AtLeastOnce).is_error());
    }
    for stranger in &mut strangers {
        let refused = stranger.subscribe("$reply/asker/#", QoS::AtLeastOnce);
        assert_eq!(refused, ReasonCode::NotAuthorized);
    }
    for number in 0..SHARDS {
        for (place, stranger) in strangers.iter_mut().enumerate() {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                // Where the asker is it is refused, elsewhere nobody knows better.
                stranger.publish(&format!("{}-{place}", token(number)), b"forged", qos);
            }
        }
        ask(&mut asker, &token(number));
        for worker in &mut workers {
            let asked = worker.receive_publish();
            let publish = asked.publish();
            let response = publish.properties.text(PropertyId::ResponseTopic).unwrap();
            assert_eq!(worker.publish(response, b"right", QoS::AtLeastOnce), ReasonCode::Success);
        }
        for _ in 0..2 * SHARDS {
            let answer = asker.receive_publish();
            assert_eq!(
                (answer.publish().topic, answer.publish().payload),
                (&*token(number), &b"right"[..])
            );
        }
    }
    let forged = (SHARDS * 2 * SHARDS * 2) as u64;
    assert_eq!(broker.wait_for_statistic("replies/dropped", |count| count >= forged), forged);
}

#[test]
fn after_a_crash_who_waits_asks_again() {
    let mut broker = broker();
    let mut client = asker(&broker, true);
    assert!(!client.subscribe("$reply/asker/#", QoS::AtLeastOnce).is_error());
    let mut worker = broker.client("worker");
    assert!(!worker.subscribe("ask", QoS::AtLeastOnce).is_error());
    ask(&mut client, &token(0));
    client.disconnect();
    assert!(client.receive_or_end().is_none());
    let reason = worker.publish(&token(0), b"in time", QoS::AtLeastOnce);
    assert_eq!(reason, ReasonCode::Success);
    broker = broker.restart();
    let mut worker = broker.client("worker");
    worker.publish(&token(0), b"late", QoS::AtLeastOnce);
    let mut client = asker(&broker, false);
    assert_eq!(client.receive_publish().publish().payload, b"in time");
    assert!(!worker.subscribe("ask", QoS::AtLeastOnce).is_error());
    ask(&mut client, &token(0));
    worker.receive_publish();
    let reason = worker.publish(&token(0), b"again", QoS::AtLeastOnce);
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(client.receive_publish().publish().payload, b"again");
}

/// The program takes the broker's word for where it should wait.
#[test]
fn the_program_asks_where_nobody_else_can_answer() {
    let broker = broker();
    let mut worker = broker.client("worker");
    assert!(!worker.subscribe("ask", QoS::AtLeastOnce).is_error());
    let url = broker.urls()[0].clone();
    std::thread::scope(|scope| {
        let folder = broker.folder();
        let program = scope.spawn(move || {
            printed(folder, &["req", "--url", &url, "ask", "?", "--id", "asker", "--raw"])
        });
        let asked = worker.receive_publish();
        let properties = asked.publish().properties;
        let response = properties.text(PropertyId::ResponseTopic).unwrap().to_owned();
        let token = response.strip_prefix("$reply/asker/").unwrap();
        assert_eq!(token.len(), 32, "{response}");
        let correlation = properties.binary(PropertyId::CorrelationData).unwrap();
        let properties =
            PropertiesBuf::new().with(Property::Binary(PropertyId::CorrelationData, correlation));
        worker.send(&Packet::Publish(Publish {
            topic: &response,
            payload: b"42",
            properties: properties.view(),
            ..Publish::default()
        }));
        assert_eq!(program.join().unwrap(), "42");
    });
}
