//! Storing a known number of messages in a broker, and collecting them again.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use agentmq_client::{ProtocolVersion, QoS};
use agentmq_codec::Packet;
use hdrhistogram::Histogram;

use crate::bench::engine::{Engine, Handler, Io};
use crate::bench::report::histogram;
use crate::bench::sequence::Sequences;
use crate::bench::wire::{self, Delivery, Stamp, Template, ack_id, put_ack};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;

/// Publishes `total` messages, shared out among connections, and waits until the broker has them
/// all.
pub(crate) struct Feed<F> {
    connections: Range<usize>,
    qos: QoS,
    /// Unacknowledged at once on each connection.
    window: u64,
    total: u64,
    /// The packet for message n.
    template: F,
    run: u32,
    lines: Vec<Line>,
    /// Handed out to the connections.
    next: u64,
    acknowledged: u64,
    /// From each message to its acknowledgement, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    failure: Option<String>,
}

/// What one connection has under way.
#[derive(Default)]
struct Line {
    count: u64,
    under_way: u64,
    /// When the message with each packet identifier was sent.
    sent: Vec<u64>,
}

impl<F: FnMut(u64) -> Template> Feed<F> {
    pub(crate) fn new(
        connections: Range<usize>,
        qos: QoS,
        window: u64,
        total: u64,
        run: u32,
        template: F,
    ) -> Self {
        let window = if qos == QoS::AtMostOnce { BATCH } else { window.clamp(1, BATCH) };
        let lines = connections.clone().map(|_| Line::default()).collect();
        Self {
            connections,
            qos,
            window,
            total,
            template,
            run,
            lines,
            next: 0,
            acknowledged: 0,
            latency: histogram(),
            failure: None,
        }
    }

    /// Runs to the end; returns the seconds it took.
    pub(crate) fn run(
        &mut self,
        engine: &mut Engine,
        output: &Output,
        label: &'static str,
    ) -> Result<f64, Failure> {
        let mut progress = Progress::new(output, self.total, label);
        let started = Instant::now();
        for connection in self.connections.clone() {
            self.fill(&mut engine.io, connection);
        }
        let (mut seen, mut since) = (0, started);
        while self.acknowledged < self.total {
            engine.turn(Duration::from_millis(100), self)?;
            if let Some(failure) = self.failure.take() {
                return Err(Failure::new(failure));
            }
            progress.at(self.acknowledged);
            if self.acknowledged != seen {
                (seen, since) = (self.acknowledged, Instant::now());
            } else if since.elapsed() > PATIENCE {
                let what = format!("the broker took {seen} of {} messages, then none", self.total);
                return Err(Failure::with(Exit::TimedOut, what, "look into the broker's limits"));
            }
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn fill(&mut self, io: &mut Io, connection: usize) {
        let publisher = connection - self.connections.start;
        let Some(line) = self.lines.get_mut(publisher) else { return };
        while self.next < self.total && line.under_way < self.window {
            let sequence = self.next;
            self.next += 1;
            let id = (line.count % u64::from(u16::MAX)) as u16 + 1;
            (line.count, line.under_way) = (line.count + 1, line.under_way + 1);
            if self.qos > QoS::AtMostOnce {
                line.sent.resize(line.sent.len().max(usize::from(id) + 1), 0);
                line.sent[usize::from(id)] = io.now;
            }
            let stamp = Stamp { run: self.run, publisher: 0, sequence, sent: io.now };
            (self.template)(sequence).append(io.out(connection), id, stamp);
        }
        // QoS 0 has no acknowledgement: a PINGREQ behind each batch takes its place.
        if self.qos == QoS::AtMostOnce && line.under_way > 0 {
            io.out(connection).extend_from_slice(&[0xC0, 0]);
        }
    }
}

impl<F: FnMut(u64) -> Template> Handler for Feed<F> {
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        let publisher = connection.wrapping_sub(self.connections.start);
        let Some(line) = self.lines.get_mut(publisher) else { return };
        match first & 0xF0 {
            0xD0 => self.acknowledged += std::mem::take(&mut line.under_way),
            0x50 => return put_ack(io.out(connection), wire::PUBREL, ack_id(body)),
            0x40 | 0x70 => {
                self.acknowledged += 1;
                line.under_way = line.under_way.saturating_sub(1);
                if let Some(&sent) = line.sent.get(usize::from(ack_id(body))) {
                    self.latency.saturating_record(io.now.saturating_sub(sent));
                }
                if let Some(&reason) = body.get(2).filter(|&&reason| reason >= 0x80) {
                    self.failure = Some(format!("the broker refused a message: 0x{reason:02X}"));
                }
            }
            _ => return,
        }
        self.fill(io, connection);
    }

    fn closed(&mut self, _io: &mut Io, connection: usize, why: &io::Error) {
        if self.connections.contains(&connection) {
            self.failure = Some(format!("the broker closed the connection: {why}"));
        }
    }
}

/// Receives what one connection gets, until everything expected came or nothing more comes.
pub(crate) struct Collect {
    version: ProtocolVersion,
    run: u32,
    connection: usize,
    expected: u64,
    pub(crate) sequences: Sequences,
    pub(crate) session_present: bool,
    /// When the last message came.
    last: Option<Instant>,
    failure: Option<String>,
}

impl Collect {
    pub(crate) fn new(
        version: ProtocolVersion,
        run: u32,
        connection: usize,
        expected: u64,
    ) -> Self {
        Self {
            version,
            run,
            connection,
            expected,
            sequences: Sequences::unordered(expected),
            session_present: false,
            last: None,
            failure: None,
        }
    }

    /// Returns the seconds from now until the last message came.
    pub(crate) fn run(&mut self, engine: &mut Engine) -> Result<f64, Failure> {
        let started = Instant::now();
        loop {
            engine.turn(Duration::from_millis(100), self)?;
            if let Some(failure) = self.failure.take() {
                return Err(Failure::new(failure));
            }
            let last = self.last.unwrap_or(started);
            if self.sequences.unique >= self.expected || last.elapsed() > SILENCE {
                return Ok((last - started).as_secs_f64());
            }
        }
    }
}

impl Handler for Collect {
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        if connection != self.connection {
            return;
        }
        match first & 0xF0 {
            0x20 => {
                let limits = &agentmq_codec::PropertyLimits::UNLIMITED;
                if let Ok(Packet::ConnAck(ack)) = Packet::decode(first, body, self.version, limits)
                {
                    self.session_present = ack.session_present;
                    if ack.reason.is_error() {
                        self.failure = Some(format!("the broker refused: {}", ack.reason));
                    }
                }
            }
            0x30 => {
                let Some(delivery) = Delivery::read(self.version, first, body) else { return };
                match delivery.qos {
                    0 => {}
                    1 => put_ack(io.out(connection), wire::PUBACK, delivery.packet_id),
                    _ => put_ack(io.out(connection), wire::PUBREC, delivery.packet_id),
                }
                let stamp = Stamp::read(delivery.payload).filter(|stamp| stamp.run == self.run);
                if let Some(stamp) = stamp {
                    self.last = Some(Instant::now());
                    self.sequences.arrived(0, 0, stamp.sequence);
                }
            }
            0x60 => put_ack(io.out(connection), wire::PUBCOMP, ack_id(body)),
            _ => {}
        }
    }

    fn closed(&mut self, _io: &mut Io, connection: usize, why: &io::Error) {
        if connection == self.connection {
            self.failure = Some(format!("the broker closed the connection: {why}"));
        }
    }
}

/// Messages under way at most while storing.
const BATCH: u64 = 1000;

/// Silence after which storing has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Silence after which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(3);
