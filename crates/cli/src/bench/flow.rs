//! Messages flowing from publishers to subscribers: pairs, fan-out, fan-in, shared, filters, paced.

use std::io;
use std::time::{Duration, Instant};

use agentmq_client::{ProtocolVersion, QoS};
use hdrhistogram::Histogram;

use crate::bench::churn::Churn;
use crate::bench::engine::{Engine, Handler, Io};
use crate::bench::filter_spread::FilterSpread;
use crate::bench::report::{Integrity, histogram};
use crate::bench::sequence::Sequences;
use crate::bench::wire::{self, Delivery, Stamp, Template, ack_id, put_ack};

/// Who receives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Subscriber n gets what publisher n sends.
    Pairs,
    /// Every subscriber gets everything.
    Everyone { subscribers: usize },
    /// One of the subscribers gets each message.
    Shared { subscribers: usize },
    /// The one subscriber with the one filter that matches.
    Spread(FilterSpread),
}

/// How publishers decide to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// So many messages per publisher under way.
    Closed { outstanding: u32 },
    /// So many messages per second over all publishers, whatever arrives.
    Paced { rate: f64 },
}

/// The state of a run. Publishers are the connections from `first_publisher`, subscribers those
/// from `first_subscriber`.
pub(crate) struct Flow {
    pub(crate) version: ProtocolVersion,
    pub(crate) run: u32,
    pub(crate) shape: Shape,
    pub(crate) load: Load,
    pub(crate) qos: QoS,
    pub(crate) first_publisher: usize,
    pub(crate) first_subscriber: usize,
    /// What comes to subscribers from this one on is counted and not opened.
    pub(crate) opened: usize,
    counted: Counted,
    /// Unacknowledged messages per publisher that the broker allows.
    pub(crate) window: u32,
    publishers: Vec<Publisher>,
    sequences: Sequences,
    /// False before the start and after the end.
    sending: bool,
    /// When the paced load began, and how many messages it has sent since.
    paced: (u64, u64),
    pub(crate) measuring: bool,
    pub(crate) latency: Histogram<u64>,
    /// Deliveries, duplicates included.
    pub(crate) delivered: u64,
    refused: u64,
    stalls: u64,
    /// Subscriptions that come and go beside the flow.
    pub(crate) churn: Option<Churn>,
    pub(crate) failure: Option<String>,
}

/// What came to subscribers whose messages are not opened.
#[derive(Debug, Default)]
struct Counted {
    /// Bytes of one delivery: all are equally long.
    size: usize,
    /// Bytes that are no whole delivery yet, of each subscriber.
    rest: Vec<usize>,
    deliveries: u64,
    /// Whose turn it is to send for one of them: unopened it does not say from whom it came.
    next: usize,
}

#[derive(Debug)]
struct Publisher {
    template: Template,
    next: u64,
    /// Deliveries that its messages will cause and that have not come.
    under_way: u32,
    unacknowledged: u32,
}

impl Flow {
    pub(crate) fn new(
        version: ProtocolVersion,
        run: u32,
        shape: Shape,
        load: Load,
        qos: QoS,
        templates: Vec<Template>,
    ) -> Self {
        let count = templates.len();
        let sequences = match shape {
            Shape::Pairs => Sequences::new(count, count),
            Shape::Everyone { subscribers } => {
                Sequences::new(count * subscribers, count * subscribers)
            }
            Shape::Shared { subscribers } => Sequences::new(count, count * subscribers),
            // Order is promised within a topic, and each topic has one publisher.
            Shape::Spread(spread) => Sequences::new(count, spread.filters as usize),
        };
        let size = templates.first().map_or(1, Template::len);
        let counted = Counted { size, ..Counted::default() };
        let publishers = templates
            .into_iter()
            .map(|template| Publisher { template, next: 0, under_way: 0, unacknowledged: 0 })
            .collect();
        Self {
            version,
            run,
            shape,
            load,
            qos,
            first_publisher: 0,
            first_subscriber: 0,
            opened: usize::MAX,
            counted,
            window: u32::MAX,
            publishers,
            sequences,
            sending: false,
            paced: (0, 0),
            measuring: false,
            latency: histogram(),
            delivered: 0,
            refused: 0,
            stalls: 0,
            churn: None,
            failure: None,
        }
    }

    /// Begins to send.
    pub(crate) fn start(&mut self, io: &mut Io) {
        io.refresh_clock();
        self.sending = true;
        self.paced = (io.now, 0);
        if let Some(churn) = &mut self.churn {
            churn.start(io.now);
        }
        self.fill_all(io);
    }

    /// Sends no more.
    pub(crate) fn stop(&mut self) {
        self.sending = false;
    }

    /// Runs the loop until `until`, noticing stalls.
    pub(crate) fn run_until(
        &mut self,
        engine: &mut Engine,
        until: Instant,
    ) -> Result<(), crate::failure::Failure> {
        let (mut seen, mut since) = (self.delivered, Instant::now());
        loop {
            let now = Instant::now();
            if now >= until || self.failure.is_some() {
                return Ok(());
            }
            engine.turn((until - now).min(STALL), self)?;
            if self.delivered != seen {
                (seen, since) = (self.delivered, Instant::now());
            } else if since.elapsed() >= STALL && self.under_way() > 0 {
                self.stalls += 1;
                // Lost messages must not stop the rest of the measurement. With QoS 1 and 2
                // nothing is lost, and more than the broker's window must not be sent.
                if self.qos == QoS::AtMostOnce {
                    self.forgive();
                    self.fill_all(&mut engine.io);
                }
                since = Instant::now();
            }
        }
    }

    /// Waits for what is under way, as long as something comes.
    pub(crate) fn drain(&mut self, engine: &mut Engine) -> Result<(), crate::failure::Failure> {
        let (mut seen, mut since) = (self.delivered, Instant::now());
        // Not what is counted as under way: that leaves out what a stall delayed.
        let open = |flow: &Self| {
            let churning = flow.churn.as_ref().is_some_and(|churn| churn.under_way() > 0);
            (churning || flow.integrity().lost > 0) && flow.failure.is_none()
        };
        while open(self) && since.elapsed() < DRAIN {
            engine.turn(Duration::from_millis(50), self)?;
            if self.delivered != seen {
                (seen, since) = (self.delivered, Instant::now());
            }
        }
        Ok(())
    }

    /// Loss, duplicates and order over the whole run.
    pub(crate) fn integrity(&self) -> Integrity {
        let sent = self.publishers.iter().map(|publisher| publisher.next).sum();
        let expected = sent * u64::from(self.copies());
        let Sequences { unique, duplicates, out_of_order, .. } = self.sequences;
        let received = unique + self.counted.deliveries;
        Integrity {
            sent,
            expected,
            received,
            lost: expected.saturating_sub(received),
            // Unopened, what came twice is only seen when everything is counted together.
            duplicates: duplicates + received.saturating_sub(expected),
            out_of_order,
            stalls: self.stalls,
            refused: self.refused,
        }
    }

    fn copies(&self) -> u32 {
        match self.shape {
            Shape::Everyone { subscribers } => subscribers as u32,
            _ => 1,
        }
    }

    fn under_way(&self) -> u64 {
        self.publishers.iter().map(|publisher| u64::from(publisher.under_way)).sum()
    }

    fn forgive(&mut self) {
        for publisher in &mut self.publishers {
            publisher.under_way = 0;
        }
    }

    fn fill_all(&mut self, io: &mut Io) {
        match self.load {
            Load::Closed { .. } => {
                for index in 0..self.publishers.len() {
                    self.fill(io, index);
                }
            }
            Load::Paced { rate } => self.send_due(io, rate),
        }
    }

    /// Sends as much as the closed loop allows.
    fn fill(&mut self, io: &mut Io, index: usize) {
        let Load::Closed { outstanding } = self.load else { return };
        let limit = outstanding * self.copies();
        while self.sending {
            let Some(publisher) = self.publishers.get(index) else { return };
            let room = publisher.under_way + self.copies() <= limit;
            if !room || publisher.unacknowledged >= self.window {
                return;
            }
            let now = io.now;
            self.send(io, index, now);
        }
    }

    /// Sends what is due by the clock. Latency counts from the time when a message was due, so
    /// that a broker that stalls does not hide it by delaying the load.
    fn send_due(&mut self, io: &mut Io, rate: f64) {
        let (started, mut sent) = self.paced;
        while self.sending {
            let due = started + due_after(sent, rate);
            if due > io.now {
                break;
            }
            let index = sent as usize % self.publishers.len();
            self.send(io, index, due);
            sent += 1;
        }
        self.paced.1 = sent;
    }

    fn send(&mut self, io: &mut Io, index: usize, time: u64) {
        let copies = self.copies();
        let Some(publisher) = self.publishers.get_mut(index) else { return };
        let sequence = publisher.next;
        publisher.next += 1;
        publisher.under_way += copies;
        let mut packet_id = 0;
        if self.qos != QoS::AtMostOnce {
            publisher.unacknowledged += 1;
            // Far fewer are unacknowledged than there are identifiers.
            packet_id = (sequence % u64::from(u16::MAX)) as u16 + 1;
        }
        if let Shape::Spread(spread) = self.shape {
            publisher.template.address(spread.of_message(index as u64, sequence));
        }
        let stamp = Stamp { run: self.run, publisher: index as u32, sequence, sent: time };
        publisher.template.append(io.out(self.first_publisher + index), packet_id, stamp);
    }

    fn delivered(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        let Some(delivery) = Delivery::read(self.version, first, body) else {
            self.failure = Some("the broker sent a malformed PUBLISH".into());
            return;
        };
        match delivery.qos {
            0 => {}
            1 => put_ack(io.out(connection), wire::PUBACK, delivery.packet_id),
            _ => put_ack(io.out(connection), wire::PUBREC, delivery.packet_id),
        }
        // Messages of others may match too.
        let Some(stamp) = Stamp::read(delivery.payload).filter(|stamp| stamp.run == self.run)
        else {
            return;
        };
        let index = stamp.publisher as usize;
        let Some(subscriber) = connection.checked_sub(self.first_subscriber) else { return };
        let all = self.publishers.len();
        let (stream, order) = match self.shape {
            Shape::Pairs if subscriber != index => {
                self.failure = Some("a message went to the wrong subscriber".into());
                return;
            }
            Shape::Pairs => (index, index),
            Shape::Everyone { .. } => (subscriber * all + index, subscriber * all + index),
            Shape::Shared { .. } => (index, subscriber * all + index),
            Shape::Spread(spread) => {
                let filter = spread.of_message(index as u64, stamp.sequence);
                if spread.subscriber(filter) != subscriber as u64 {
                    self.failure = Some("a message went to the wrong subscriber".into());
                    return;
                }
                (index, filter as usize)
            }
        };
        self.delivered += 1;
        if self.measuring {
            self.latency.saturating_record(io.now.saturating_sub(stamp.sent));
        }
        if !self.sequences.arrived(stream, order, stamp.sequence) {
            return;
        }
        if self.opened < usize::MAX {
            return self.allow(io, 1);
        }
        if let Some(publisher) = self.publishers.get_mut(index) {
            publisher.under_way = publisher.under_way.saturating_sub(1);
            self.fill(io, index);
        }
    }

    /// So many deliveries have come, from whomever: publishers go on in turn, each with all that it
    /// had under way, so that what it then sends is a batch as before.
    fn allow(&mut self, io: &mut Io, deliveries: usize) {
        let mut left = u32::try_from(deliveries).unwrap_or(u32::MAX);
        for _ in 0..self.publishers.len() {
            let index = self.counted.next % self.publishers.len();
            let Some(publisher) = self.publishers.get_mut(index) else { return };
            let settled = publisher.under_way.min(left);
            publisher.under_way -= settled;
            left -= settled;
            self.fill(io, index);
            if left == 0 {
                return;
            }
            self.counted.next = index + 1;
        }
    }

    /// Whether every subscriber that is not opened has got whole deliveries only.
    pub(crate) fn counts_are_whole(&self) -> bool {
        self.counted.rest.iter().all(|rest| *rest == 0)
    }

    /// PUBACK, or the first answer of QoS 2 that failed, or PUBCOMP.
    fn settled(&mut self, io: &mut Io, connection: usize, refused: bool) {
        let Some(index) = connection.checked_sub(self.first_publisher) else { return };
        let Some(publisher) = self.publishers.get_mut(index) else { return };
        publisher.unacknowledged = publisher.unacknowledged.saturating_sub(1);
        self.refused += u64::from(refused);
        self.fill(io, index);
    }
}

impl Handler for Flow {
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]) {
        if let Some(churn) = &mut self.churn
            && churn.packet(connection, first, body)
        {
            return;
        }
        let refused = || body.get(2).is_some_and(|&reason| reason >= 0x80);
        match first & 0xF0 {
            0x30 => self.delivered(io, connection, first, body),
            0x40 | 0x70 => self.settled(io, connection, refused()),
            0x50 if refused() => self.settled(io, connection, true),
            0x50 => put_ack(io.out(connection), wire::PUBREL, ack_id(body)),
            0x60 => put_ack(io.out(connection), wire::PUBCOMP, ack_id(body)),
            0xE0 => {
                let reason = body.first().copied().unwrap_or_default();
                self.failure = Some(format!("the broker disconnected a client: 0x{reason:02X}"));
            }
            _ => {}
        }
    }

    fn counted(&mut self, io: &mut Io, connection: usize, bytes: usize) {
        let Some(subscriber) = connection.checked_sub(self.first_subscriber) else { return };
        let counted = &mut self.counted;
        if counted.rest.len() <= subscriber {
            counted.rest.resize(subscriber + 1, 0);
        }
        let bytes = counted.rest[subscriber] + bytes;
        let deliveries = bytes / counted.size;
        counted.rest[subscriber] = bytes % counted.size;
        counted.deliveries += deliveries as u64;
        self.delivered += deliveries as u64;
        self.allow(io, deliveries);
    }

    fn closed(&mut self, _io: &mut Io, _connection: usize, why: &io::Error) {
        let why = format!("the broker closed a connection: {why}");
        self.failure.get_or_insert(why);
    }

    fn tick(&mut self, io: &mut Io) -> Option<u64> {
        if !self.sending {
            return None;
        }
        let churn = self.churn.as_mut().map(|churn| churn.send_due(io));
        let Load::Paced { rate } = self.load else { return churn };
        self.send_due(io, rate);
        let (started, sent) = self.paced;
        let next = started + due_after(sent, rate);
        Some(churn.map_or(next, |churn| churn.min(next)))
    }
}

/// Nanoseconds from the start until message `number` is due.
pub(crate) fn due_after(number: u64, rate: f64) -> u64 {
    (number as f64 * 1e9 / rate) as u64
}

/// Silence that counts as a stall.
pub(crate) const STALL: Duration = Duration::from_millis(250);

/// Silence that ends the wait for the last messages.
const DRAIN: Duration = Duration::from_secs(5);
