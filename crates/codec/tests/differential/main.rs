//! Compares the codec with two others on packets that are valid, or were and have been broken in
//! up to three places. Every difference must be one of `differences::KNOWN`, which
//! `docs/decisions/0002-codec-differences.md` justifies; any other fails.

#[path = "../packet_writer/mod.rs"]
mod packet_writer;

mod differences;
mod facts;
mod mqtt_proto;
mod rmqtt;

use std::ops::RangeInclusive;

use agentmq_codec::{Packet, PropertyLimits, ProtocolVersion, frame};
use differences::{Accepts, KNOWN, Oracle};
use facts::Facts;
use packet_writer::{Entropy, VERSIONS, any_packet, mutate};

const ITERATIONS: usize = 30_000;
const LENGTH: RangeInclusive<usize> = 0..=300;

fn ours(bytes: &[u8], version: ProtocolVersion) -> Result<Facts, &'static str> {
    let cut = frame::cut(bytes, usize::MAX).map_err(|e| e.what)?.ok_or("incomplete")?;
    Packet::decode(cut.first, &bytes[cut.body_at..], version, &PropertyLimits::UNLIMITED)
        .map(|packet| Facts::ours(&packet, version))
        .map_err(|error| error.what)
}

fn theirs(oracle: Oracle, bytes: &[u8], version: ProtocolVersion) -> Result<Facts, String> {
    match oracle {
        Oracle::Rmqtt => rmqtt::decode(bytes, version),
        _ => mqtt_proto::decode(bytes, version),
    }
}

/// The ids of the known differences between our answer and the oracle's; an unknown one is an
/// error that describes it.
fn compare(oracle: Oracle, bytes: &[u8], version: ProtocolVersion) -> Result<Vec<&str>, String> {
    let ours = ours(bytes, version);
    let theirs = theirs(oracle, bytes, version);
    let known = |accepts, said: &str, facts: &Facts| {
        KNOWN
            .iter()
            .find(|known| known.covers((oracle, accepts, version), said, bytes, facts))
            .map(|known| known.id)
            .ok_or_else(|| {
                format!(
                    "unknown difference from {oracle:?}, version {version}: {said}\n\
                     {bytes:02x?}\nours: {ours:?}\ntheirs: {theirs:?}"
                )
            })
    };
    match (&ours, &theirs) {
        (Err(_), Err(_)) => Ok(vec![]),
        (Err(what), Ok(facts)) => known(Accepts::Oracle, what, facts).map(|id| vec![id]),
        (Ok(facts), Err(error)) => known(Accepts::Ours, error, facts).map(|id| vec![id]),
        (Ok(facts), Ok(other)) => {
            facts.differing(other).iter().map(|name| known(Accepts::Fields, name, facts)).collect()
        }
    }
}

#[test]
fn fuzz_differential() {
    let inputs = bolero::produce::<Vec<u8>>().with().len(LENGTH);
    bolero::check!().with_generator(inputs).with_iterations(ITERATIONS).for_each(
        |input: &Vec<u8>| {
            let mut entropy = Entropy::hostile(input);
            let version = entropy.pick(&VERSIONS);
            let packet = any_packet(version, &mut entropy);
            let packet = mutate(&packet, &mut entropy);
            for oracle in [Oracle::Rmqtt, Oracle::Proto] {
                if let Err(difference) = compare(oracle, &packet, version) {
                    panic!("{difference}");
                }
            }
        },
    );
}

#[test]
fn every_known_difference_still_exists() {
    let mut stale = Vec::new();
    for known in KNOWN {
        let (version, bytes) = known.example;
        for oracle in [Oracle::Rmqtt, Oracle::Proto] {
            let found = compare(oracle, bytes, version);
            if known.concerns(oracle) && found != Ok(vec![known.id]) {
                stale.push((known.id, oracle, found));
            }
        }
    }
    assert!(stale.is_empty(), "{stale:#?}");
}

#[test]
fn every_known_difference_is_justified() {
    let rows = include_str!("../../../../docs/decisions/0002-codec-differences.md");
    let justified: Vec<_> = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|id| id.len() == 3 && id.starts_with('D') && *id != "DUP")
        .collect();
    let known: Vec<_> = KNOWN.iter().map(|known| known.id).collect();
    assert_eq!(justified, known);
}
