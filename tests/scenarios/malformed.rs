//! Ten thousand inputs that break the protocol: the right answer, flat memory, nobody else notices.

use agentmq_testkit::codec::{ProtocolVersion, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient};

use crate::malformed_inputs::{self, Input, Outcome};

#[test]
fn every_class_gets_its_answer() {
    let broker = start();
    let wrong: Vec<String> =
        malformed_inputs::all().iter().filter_map(|input| wrong_answer(&broker, input)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ten_thousand_inputs_leave_nothing_behind() {
    let mut broker = start();
    let mut witness = broker.client("witness");
    assert!(!witness.subscribe("witness", QoS::AtLeastOnce).is_error());
    let fixed = malformed_inputs::all();
    // The first round pays for what all share.
    fixed.iter().for_each(|input| assert_answer(&broker, input));
    let before = broker.gauges();
    let mut state = 0x5EED_u64;
    let mut random = move |below: usize| {
        // Numerical Recipes' linear congruential generator; the upper bits are good enough.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for number in 0..INPUTS {
        match fixed.get(number % (2 * fixed.len())) {
            Some(input) => assert_answer(&broker, input),
            None => assert_answer(&broker, &malformed_inputs::mutated(&mut random)),
        }
        if number % 100 == 0 {
            let payload = number.to_string();
            let reason = witness.publish("witness", payload.as_bytes(), QoS::AtLeastOnce);
            assert_eq!(reason, ReasonCode::Success);
            assert_eq!(witness.receive_publish().publish().payload, payload.as_bytes());
        }
    }
    witness.ping();
    broker.assert_alive();
    let after = broker.gauges();
    let growth = after.own_bytes.saturating_sub(before.own_bytes);
    println!("{growth} bytes more after {INPUTS} inputs, {} files", after.open_files);
    assert!(growth <= GROWTH_BYTES, "grew by {growth} bytes, the bound is {GROWTH_BYTES}");
}

/// What is too deep or too long for a filter is refused in SUBACK, and the connection goes on.
#[test]
fn filters_that_are_refused_end_nothing() {
    let broker = start();
    let mut client = broker.client("client");
    let deep = "+/".repeat(30_000);
    let invalid = ReasonCode::TopicFilterInvalid;
    for filter in [
        "a/#/b",
        "a#",
        "#/a",
        "a+",
        "+a/b",
        "",
        "$share/g",
        "$share//a",
        "$share/+/a",
        "$share/#/a",
        "$share/g/",
        "$share/g/a#",
        &deep,
        &"/".repeat(65_400),
    ] {
        let shown = &filter[..filter.len().min(20)];
        let reason = client.subscribe(filter, QoS::AtMostOnce);
        assert_eq!(reason, invalid, "{shown:?}");
    }
    client.ping();
}

/// A thousand strangers that announce a large packet and send a little of it.
#[test]
fn announced_bytes_cost_nothing() {
    let broker = start();
    let before = broker.gauges().resident_bytes;
    let strangers: Vec<RawClient> = (0..STRANGERS)
        .map(|_| {
            let mut stranger = broker.dial();
            stranger.send_bytes(&[0x10, 0x80, 0x80, 0x3F, 0, 4, b'M', b'Q', b'T', b'T', 5]);
            stranger
        })
        .collect();
    broker.client("newcomer").ping(); // everything sent before it has been read
    let each = broker.gauges().resident_bytes.saturating_sub(before) / STRANGERS;
    println!("{each} bytes for each stranger that announced a megabyte");
    assert!(each <= 4096, "{each} bytes for each stranger");
    drop(strangers);
}

fn start() -> Broker {
    // All of them use one client identifier, which flaps.
    crate::broker(
        "[limits]\nreceive_maximum = 10\nflapping_connects = 1_000_000\n[log]\nlevel = \"warn\"\n",
    )
}

fn assert_answer(broker: &Broker, input: &Input) {
    assert_eq!(wrong_answer(broker, input), None);
}

/// Sends one input on a connection of its own; says what was wrong with the answer.
fn wrong_answer(broker: &Broker, input: &Input) -> Option<String> {
    let mut client = broker.dial();
    client.speak(input.connected.unwrap_or(ProtocolVersion::V5));
    if input.connected.is_some() {
        client.connect("malformed");
    }
    // The broker may close while we still write.
    let _ = client.try_send_bytes(&input.bytes);
    let Input { name, bytes, outcome, .. } = input;
    let wrong = match outcome {
        Outcome::Reason(expected) => {
            let reason = client.reason_of_end();
            (reason != Some(*expected)).then(|| format!("{reason:?} instead of {expected:?}"))
        }
        Outcome::Silence | Outcome::Patience => {
            if *outcome == Outcome::Patience {
                client.finish();
            }
            client.receive_or_end().map(|answer| format!("{answer:?} instead of silence"))
        }
        Outcome::Anything => {
            let _ = client.try_finish();
            while client.bytes_or_end() {}
            None
        }
    };
    wrong.map(|wrong| format!("{name}: {wrong}: {:02X?}", &bytes[..bytes.len().min(40)]))
}

const INPUTS: usize = 10_000;
/// What the allocator may keep of connections that have come and gone, and a deadline for each that
/// came in the last ten seconds.
const GROWTH_BYTES: u64 = 2 << 20;
const STRANGERS: u64 = 1_000;
