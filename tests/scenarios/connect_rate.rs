//! `connects_per_second`: a storm waits in the kernel, nobody in it is refused, and those who are
//! in notice nothing. A broker that is not busy takes any burst at once.

use agentmq_testkit::codec::{ProtocolVersion, QoS, ReasonCode};
use agentmq_testkit::{RawClient, connect_packet};

#[test]
fn a_storm_comes_in_portions_while_many_are_silent() {
    let broker = crate::broker(&format!(
        "[limits]\nconnects_per_second = {RATE}\nbusy_connecting = {BUSY}\n\
         connect_timeout_ms = 60_000\n"
    ));
    let mut established = broker.client("established");
    assert!(!established.subscribe("during", QoS::AtLeastOnce).is_error());

    // Not busy: many times the rate comes in, one after the other.
    let mut silent: Vec<RawClient> = (2..BUSY).map(|_| broker.dial()).collect();
    for number in 0..4 * RATE {
        broker.client(&format!("early-{number}"));
    }
    assert!(!broker.log().contains(LIMIT), "the rate counts too early:\n{}", broker.log());

    // A few more that say nothing, and the rate counts.
    silent.extend((0..2).map(|_| broker.dial()));
    let mut crowd: Vec<RawClient> = (0..3 * RATE)
        .map(|number| {
            let mut client = broker.dial();
            let client_id = format!("crowd-{number}");
            client.send_bytes(&connect_packet(ProtocolVersion::V5, &client_id));
            client
        })
        .collect();
    broker.wait_for_log(LIMIT, 0);
    for _ in 0..100 {
        let reason = established.publish("during", b"x", QoS::AtLeastOnce);
        assert_eq!(reason, ReasonCode::Success);
        established.receive_publish();
    }
    // Late, but not refused; and whoever said nothing has not been pushed out.
    for client in &mut crowd {
        assert_eq!(client.receive().reason(), ReasonCode::Success);
    }
    for client in &mut silent {
        client.connect("silent-until-now");
    }
}

const RATE: usize = 30;
const BUSY: usize = 40;
const LIMIT: &str = "the limit `connects_per_second` is reached";
