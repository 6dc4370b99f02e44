//! Request and response: callers with one call under way each, one responder.

use std::io;
use std::time::{Duration, Instant};

use agentmq_client::{PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS};
use agentmq_codec::{Packet, PropertyLimits, Publish};
use hdrhistogram::Histogram;

use crate::bench::args::Common;
use crate::bench::engine::{Engine, Handler, Io};
use crate::bench::fleet::{self, Plan};
use crate::bench::flow::STALL;
use crate::bench::process::allow_open_files;
use crate::bench::report::{Integrity, Latency, Meter, Report, histogram};
use crate::bench::sequence::Sequences;
use crate::bench::wire::{self, Delivery, Stamp, Template, ack_id, put_ack};
use crate::connection::parse_qos;
use crate::duration;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Callers, each with one call under way.
    #[arg(long, default_value_t = 1)]
    callers: usize,
    /// Quality of Service of requests and responses.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Bytes of payload, at least 24.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Length of the measured interval.
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    duration: Duration,
    /// Load before it.
    #[arg(long, default_value = "500ms", value_parser = duration::parse)]
    warm_up: Duration,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let target = args.common.target()?;
    let (version, run) = (target.hello.version, target.run);
    if !version.is_v5() {
        let fix = "leave -V away";
        return Err(Failure::usage("request and response need MQTT 5", fix));
    }
    allow_open_files(args.callers as u64 + 1)?;
    let mut engine = Engine::new(&target)?;
    let service = format!("bench/{run:08x}/service");
    let reply = |n: usize| format!("bench/{run:08x}/reply/{n}");
    let mut plans: Vec<Plan> = (0..args.callers)
        .map(|n| target.plan(&format!("c{n}"), Some((&reply(n), args.qos))))
        .collect();
    plans.push(target.plan("r", Some((&service, args.qos))));
    let fleet = fleet::open(&mut engine, version, &plans, args.common.concurrency, output)?;
    let templates = (0..args.callers).map(|n| {
        let properties = PropertiesBuf::new()
            .with(Property::Text(PropertyId::ResponseTopic, &reply(n)))
            .with(Property::Binary(PropertyId::CorrelationData, &(n as u64).to_be_bytes()));
        Template::new(version, &service, args.qos, false, &properties, args.size)
    });
    let mut rpc = Rpc {
        version,
        run,
        qos: args.qos,
        first_caller: fleet.connections.start,
        responder: fleet.connections.end - 1,
        callers: templates.map(|template| Caller { template, next: 0 }).collect(),
        sequences: Sequences::new(args.callers, args.callers),
        answers: 0,
        calling: true,
        measuring: false,
        latency: histogram(),
        stalls: 0,
        failure: None,
    };
    engine.io.refresh_clock();
    for caller in 0..args.callers {
        rpc.call(&mut engine.io, caller);
    }
    rpc.run_until(&mut engine, Instant::now() + args.warm_up)?;
    let meter = Meter::start(args.common.broker_pid)?;
    let (before, since) = (rpc.sequences.unique, Instant::now());
    rpc.measuring = true;
    rpc.run_until(&mut engine, since + args.duration)?;
    rpc.measuring = false;
    let mut report =
        Report { scenario: "rpc", at: target.endpoint.to_string(), ..Report::default() };
    report.parameter("callers", args.callers);
    report.parameter("qos", args.qos as u8);
    report.parameter("size", args.size);
    report.set("calls", rpc.sequences.unique - before, since.elapsed().as_secs_f64());
    report.latency = Latency::whole(&rpc.latency, args.common.histogram);
    meter.stop(&mut report)?;
    rpc.calling = false;
    let (last, deadline) = (rpc.sent(), Instant::now() + Duration::from_secs(2));
    while rpc.sequences.unique < last && Instant::now() < deadline && rpc.failure.is_none() {
        engine.turn(Duration::from_millis(50), &mut rpc)?;
    }
    rpc.finish(report, output)
}

struct Rpc {
    version: ProtocolVersion,
    run: u32,
    qos: QoS,
    first_caller: usize,
    responder: usize,
    callers: Vec<Caller>,
    sequences: Sequences,
    /// Sent by the responder; numbers its packets.
    answers: u64,
    calling: bool,
    measuring: bool,
    latency: Histogram<u64>,
    stalls: u64,
    failure: Option<String>,
}

struct Caller {
    template: Template,
    next: u64,
}

impl Rpc {
    /// Runs the loop until `until`, noticing stalls.
    fn run_until(&mut self, engine: &mut Engine, until: Instant) -> Result<(), Failure> {
        let (mut seen, mut since) = (self.sequences.unique, Instant::now());
        loop {
            let now = Instant::now();
            if now >= until || self.failure.is_some() {
                return Ok(());
            }
            engine.turn((until - now).min(STALL), self)?;
            // Every caller always waits for an answer.
            if self.sequences.unique != seen {
                (seen, since) = (self.sequences.unique, Instant::now());
            } else if since.elapsed() >= STALL {
                self.stalls += 1;
                since = Instant::now();
            }
        }
    }

    fn sent(&self) -> u64 {
        self.callers.iter().map(|caller| caller.next).sum()
    }

    fn finish(self, mut report: Report, output: &Output) -> Result<(), Failure> {
        let sent = self.sent();
        let Sequences { unique, duplicates, out_of_order, .. } = self.sequences;
        let lost = sent - unique;
        report.integrity = Some(Integrity {
            sent,
            expected: sent,
            received: unique,
            lost,
            duplicates,
            out_of_order,
            stalls: self.stalls,
            ..Integrity::default()
        });
        report.print(output)?;
        match self.failure {
            Some(failure) => Err(Failure::new(failure)),
            None if lost > 0 => Err(Failure::new(format!("{lost} calls were not answered"))),
            None => Ok(()),
        }
    }

    fn call(&mut self, io: &mut Io, index: usize) {
        let Some(caller) = self.callers.get_mut(index) else { return };
        let sequence = caller.next;
        caller.next += 1;
        let stamp = Stamp { run: self.run, publisher: index as u32, sequence, sent: io.now };
        let out = io.out(self.first_caller + index);
        caller.template.append(out, packet_id(sequence), stamp);
    }

    fn answer(&mut self, io: &mut Io, first: u8, body: &[u8]) {
        let limits = &PropertyLimits::UNLIMITED;
        let Ok(Packet::Publish(request)) = Packet::decode(first, body, self.version, limits) else {
            self.failure = Some("the broker sent a malformed PUBLISH".into());
            return;
        };
        let Some(topic) = request.properties.text(PropertyId::ResponseTopic) else { return };
        let correlation = request.properties.binary(PropertyId::CorrelationData);
        let properties = correlation
            .map(|data| Property::Binary(PropertyId::CorrelationData, data))
            .into_iter()
            .collect::<PropertiesBuf>();
        Publish {
            dup: false,
            qos: self.qos,
            retain: false,
            topic,
            packet_id: packet_id(self.answers),
            properties: properties.view(),
            payload: request.payload,
        }
        .encode(self.version, io.out(self.responder));
        self.answers += 1;
    }

    fn answered(&mut self, io: &mut Io, connection: usize, payload: &[u8]) {
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.run == self.run) else {
            return;
        };
        let index = stamp.publisher as usize;
        if connection.checked_sub(self.first_caller) != Some(index) {
            self.failure = Some("an answer went to the wrong caller".into());
            return;
        }
        if !self.sequences.arrived(index, index, stamp.sequence) {
            return;
        }
        if self.measuring {
            self.latency.saturating_record(io.now.saturating_sub(stamp.sent));
        }
        if self.calling {
            self.call(io, index);
        }
    }
}

impl Handler for Rpc {
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        match first & 0xF0 {
            0x30 => {
                let Some(delivery) = Delivery::read(self.version, first, body) else { return };
                match delivery.qos {
                    0 => {}
                    1 => put_ack(io.out(connection), wire::PUBACK, delivery.packet_id),
                    _ => put_ack(io.out(connection), wire::PUBREC, delivery.packet_id),
                }
                if connection == self.responder {
                    self.answer(io, first, body);
                } else {
                    self.answered(io, connection, delivery.payload);
                }
            }
            0x50 => put_ack(io.out(connection), wire::PUBREL, ack_id(body)),
            0x60 => put_ack(io.out(connection), wire::PUBCOMP, ack_id(body)),
            _ => {}
        }
    }

    fn closed(&mut self, _io: &mut Io, _connection: usize, why: &io::Error) {
        self.failure = Some(format!("the broker closed a connection: {why}"));
    }
}

/// At most one message per caller is under way: no identifier is used twice at a time.
fn packet_id(number: u64) -> u16 {
    (number % u64::from(u16::MAX)) as u16 + 1
}
