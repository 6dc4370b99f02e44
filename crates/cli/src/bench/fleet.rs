//! Opening many connections, a bounded number at a time.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use agentmq_client::{Error, PropertyId, ProtocolVersion, ReasonCode};
use agentmq_codec::{Disconnect, Packet, PropertyLimits};
use hdrhistogram::Histogram;

use crate::bench::engine::{Engine, Handler, Io};
use crate::bench::report::histogram;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;

/// What one connection sends to get ready.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// An encoded CONNECT.
    pub(crate) connect: Vec<u8>,
    /// Encoded SUBSCRIBEs, sent together after CONNACK.
    pub(crate) subscribe: Vec<u8>,
    /// How many they are.
    pub(crate) subscribes: usize,
}

/// Connections that are ready.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Their numbers in the engine, in the order of the plans.
    pub(crate) connections: Range<usize>,
    /// From the start of the TCP connection to CONNACK.
    pub(crate) latency: Histogram<u64>,
    /// The smallest Receive Maximum that the broker announced; 100 before MQTT 5.
    pub(crate) receive_maximum: u16,
}

/// Opens one connection per plan, `concurrency` at a time. The first failure ends it.
pub(crate) fn open(
    engine: &mut Engine,
    version: ProtocolVersion,
    plans: &[Plan],
    concurrency: usize,
    output: &Output,
) -> Result<Fleet, Failure> {
    let base = engine.connection_count();
    let mut opening = Opening {
        version,
        at: engine.at().to_owned(),
        base,
        plans,
        started: Vec::with_capacity(plans.len()),
        awaited: plans.iter().map(|plan| plan.subscribes).collect(),
        ready: 0,
        latency: histogram(),
        // Older versions cannot announce one; brokers then mind more than this at QoS 2.
        receive_maximum: if version.is_v5() { u16::MAX } else { OLD_WINDOW },
        failure: None,
    };
    let mut progress = Progress::new(output, plans.len() as u64, "connecting");
    let (mut last_ready, mut last_progress) = (0, Instant::now());
    while opening.ready < plans.len() {
        while opening.started.len() < plans.len()
            && opening.started.len() - opening.ready < concurrency.max(1)
        {
            engine.io.refresh_clock();
            let plan = &plans[opening.started.len()];
            let connection = engine.connect()?;
            opening.started.push(engine.io.now);
            engine.io.out(connection).extend_from_slice(&plan.connect);
        }
        engine.turn(Duration::from_millis(100), &mut opening)?;
        if let Some(failure) = opening.failure.take() {
            return Err(failure);
        }
        progress.at(opening.ready as u64);
        if opening.ready > last_ready {
            (last_ready, last_progress) = (opening.ready, Instant::now());
        } else if last_progress.elapsed() > PATIENCE {
            let (ready, all) = (opening.ready, plans.len());
            let what = format!("{}: {ready} of {all} connections ready, then silence", opening.at);
            return Err(Failure::with(Exit::TimedOut, what, "look into the broker's log"));
        }
    }
    let Opening { latency, receive_maximum, .. } = opening;
    Ok(Fleet { connections: base..base + plans.len(), latency, receive_maximum })
}

struct Opening<'p> {
    version: ProtocolVersion,
    at: String,
    /// The number of the first connection of this fleet.
    base: usize,
    plans: &'p [Plan],
    /// When each connection was started.
    started: Vec<u64>,
    /// SUBACKs that each connection still waits for.
    awaited: Vec<usize>,
    ready: usize,
    latency: Histogram<u64>,
    receive_maximum: u16,
    failure: Option<Failure>,
}

impl Handler for Opening<'_> {
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        let Some(index) = connection.checked_sub(self.base) else { return };
        let Some(plan) = self.plans.get(index) else { return };
        match Packet::decode(first, body, self.version, &PropertyLimits::UNLIMITED) {
            Ok(Packet::ConnAck(ack)) if ack.reason.is_error() => {
                let text = ack.properties.text(PropertyId::ReasonString).map(str::to_owned);
                let error = Error::Refused { at: self.at.clone(), reason: ack.reason, text };
                self.failure = Some(error.into());
            }
            Ok(Packet::ConnAck(ack)) => {
                let since = self.started.get(index).copied().unwrap_or(io.now);
                self.latency.saturating_record(io.now - since);
                if let Some(maximum) = ack.properties.u16(PropertyId::ReceiveMaximum) {
                    self.receive_maximum = self.receive_maximum.min(maximum);
                }
                match plan.subscribes {
                    0 => self.ready += 1,
                    _ => io.out(connection).extend_from_slice(&plan.subscribe),
                }
            }
            Ok(Packet::SubAck(ack)) => {
                if let Some(awaited) = self.awaited.get_mut(index).filter(|awaited| **awaited > 0) {
                    *awaited -= 1;
                    self.ready += usize::from(*awaited == 0);
                }
                if let Some(reason) = ack.reasons().find(|reason| reason.is_error()) {
                    self.failure = Some(rejected(reason));
                }
            }
            _ => {} // messages for those that are ready
        }
    }

    fn closed(&mut self, _io: &mut Io, _connection: usize, why: &io::Error) {
        let source = io::Error::new(why.kind(), why.to_string());
        self.failure = Some(Error::Connect { at: self.at.clone(), source }.into());
    }
}

/// Says good-bye on these connections and waits until the broker closes them, which proves that it
/// has read it.
pub(crate) fn leave(
    engine: &mut Engine,
    connections: Range<usize>,
    version: ProtocolVersion,
) -> Result<(), Failure> {
    let mut farewell = Vec::new();
    Disconnect::new(ReasonCode::NORMAL_DISCONNECTION).encode(version, &mut farewell);
    for connection in connections.clone() {
        engine.io.out(connection).extend_from_slice(&farewell);
    }
    let mut leaving = Leaving { connections: connections.clone(), left: connections.len() };
    let since = Instant::now();
    while leaving.left > 0 && since.elapsed() < LEAVE {
        engine.turn(LEAVE, &mut leaving)?;
    }
    for connection in connections {
        engine.close(connection);
    }
    Ok(())
}

struct Leaving {
    connections: Range<usize>,
    left: usize,
}

impl Handler for Leaving {
    fn packet(&mut self, _: &mut Io, _: usize, _: u8, _: &[u8]) {}

    fn closed(&mut self, _: &mut Io, connection: usize, _: &io::Error) {
        self.left -= usize::from(self.connections.contains(&connection));
    }
}

fn rejected(reason: ReasonCode) -> Failure {
    Error::Rejected { what: "a subscription".into(), reason, text: None }.into()
}

/// Unacknowledged messages per publisher before MQTT 5.
const OLD_WINDOW: u16 = 100;

/// Silence after which opening has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a broker may take to close after DISCONNECT.
const LEAVE: Duration = Duration::from_secs(2);
