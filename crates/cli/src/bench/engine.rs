//! The load generator's event loop: raw sockets, one thread, batched reads and writes.
//!
//! It shares the machine with the broker it measures, so a packet costs as little as possible:
//! all connections read into one buffer, packets are found in place, answers are appended to the
//! connection's output, and every output is written once at the end of the turn.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use agentmq_client::{Error, TlsSession, TlsSessions};
use agentmq_codec::frame;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::bench::args::Target;
use crate::bench::record_count::RecordCount;
use crate::bench::timer::{TIMER, Timer};
use crate::failure::Failure;

/// The connections and the loop.
#[derive(Debug)]
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    at: String,
    tls: Option<TlsSessions>,
    links: Vec<Link>,
    pub(crate) io: Io,
    scratch: Vec<u8>,
    /// Connections whose socket may hold more than was read.
    unread: Vec<usize>,
    dirty: Vec<usize>,
    timer: Option<Timer>,
}

#[derive(Debug)]
struct Link {
    /// `None` once closed.
    socket: Option<TcpStream>,
    /// The beginning of a packet whose rest has not come.
    partial: Vec<u8>,
    layer: Layer,
}

/// What is between the socket and MQTT.
#[derive(Debug)]
enum Layer {
    Nothing,
    Tls(Box<Sealed>),
    /// What comes is counted and not opened, and nothing is sent any more.
    Counted(RecordCount),
}

#[derive(Debug)]
struct Sealed {
    session: TlsSession,
    /// Records for the socket.
    records: Vec<u8>,
}

/// What a scenario may do while it handles a packet: append to any connection's output.
#[derive(Debug)]
pub(crate) struct Io {
    outputs: Vec<OutputBuffer>,
    dirty: Vec<usize>,
    started: Instant,
    /// Nanoseconds since the start, as of the latest read or wake-up.
    pub(crate) now: u64,
}

#[derive(Debug, Default)]
struct OutputBuffer {
    bytes: Vec<u8>,
    written: usize,
    dirty: bool,
}

/// What happens on connections.
pub(crate) trait Handler {
    /// A packet came: first byte and body.
    fn packet(&mut self, io: &mut Io, connection: usize, first: u8, body: &[u8]);

    /// On a connection of which [`Engine::count`] was asked came so many bytes of MQTT.
    fn counted(&mut self, _io: &mut Io, _connection: usize, _bytes: usize) {}

    /// A connection ended.
    fn closed(&mut self, io: &mut Io, connection: usize, why: &io::Error);

    /// The timer went off. Returns when it shall do so next, by the clock of [`Io::now`].
    fn tick(&mut self, _io: &mut Io) -> Option<u64> {
        None
    }
}

impl Io {
    /// The output of a connection, which will be written at the end of the turn.
    pub(crate) fn out(&mut self, connection: usize) -> &mut Vec<u8> {
        let output = &mut self.outputs[connection];
        if !output.dirty {
            output.dirty = true;
            self.dirty.push(connection);
        }
        &mut output.bytes
    }

    pub(crate) fn refresh_clock(&mut self) {
        self.now = self.started.elapsed().as_nanos() as u64;
    }
}

impl Engine {
    /// A loop for connections to this broker.
    pub(crate) fn new(target: &Target) -> Result<Self, Failure> {
        let endpoint = &target.endpoint;
        let at = endpoint.to_string();
        let failed = |source| Error::Connect { at: at.clone(), source };
        let address = (endpoint.host.as_str(), endpoint.port)
            .to_socket_addrs()
            .and_then(|mut all| all.next().ok_or_else(|| ErrorKind::NotFound.into()))
            .map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        let io = Io { outputs: vec![], dirty: vec![], started: Instant::now(), now: 0 };
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            address,
            links: Vec::new(),
            io,
            scratch: vec![0; 256 << 10],
            unread: Vec::new(),
            dirty: Vec::new(),
            timer: None,
            at,
            tls: target.tls.clone(),
        })
    }

    /// Starts a connection; what is in its output is written as soon as it stands.
    pub(crate) fn connect(&mut self) -> Result<usize, Failure> {
        let index = self.links.len();
        let connect = || -> io::Result<TcpStream> {
            let mut socket = TcpStream::connect(self.address)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            // Registered once, edge-triggered: no system call per packet for readiness.
            self.poll.registry().register(&mut socket, Token(index), interest)?;
            // Before the connection stands this may fail on some systems; Linux accepts it.
            socket.set_nodelay(true)?;
            Ok(socket)
        };
        let socket = connect().map_err(|source| Error::Connect { at: self.at.clone(), source })?;
        let layer = match &self.tls {
            Some(tls) => Layer::Tls(Box::new(Sealed { session: tls.open()?, records: Vec::new() })),
            None => Layer::Nothing,
        };
        self.links.push(Link { socket: Some(socket), partial: Vec::new(), layer });
        self.io.outputs.push(OutputBuffer::default());
        Ok(index)
    }

    /// From now on only counts what comes on a connection, which must not be in the middle of a
    /// record. Without TLS nothing is saved by that, and it is an error.
    pub(crate) fn count(&mut self, connection: usize) -> Result<(), Failure> {
        let link = &mut self.links[connection];
        let overhead = match &link.layer {
            Layer::Tls(sealed) => sealed.session.record_overhead(),
            _ => None,
        };
        let overhead = overhead.ok_or_else(|| {
            let what = format!("what {} sends cannot be counted unopened", self.at);
            Failure::usage(what, "use a broker with TLS 1.3, or leave --opened away")
        })?;
        link.layer = Layer::Counted(RecordCount::new(overhead));
        Ok(())
    }

    /// Closes a connection without a word.
    pub(crate) fn close(&mut self, connection: usize) {
        self.links[connection].socket = None;
        self.links[connection].partial = Vec::new();
        self.io.outputs[connection].bytes = Vec::new();
        self.io.outputs[connection].written = 0;
    }

    /// Connections opened so far, closed ones included; also the next one's number.
    pub(crate) fn connection_count(&self) -> usize {
        self.links.len()
    }

    /// Where the broker is.
    pub(crate) fn at(&self) -> &str {
        &self.at
    }

    /// Has [`Handler::tick`] called soon, and then whenever it wishes. More precise than the
    /// loop's own timeout, which has milliseconds only.
    pub(crate) fn start_timer(&mut self) -> Result<(), Failure> {
        let timer = Timer::start(&self.poll)
            .map_err(|error| Failure::new(format!("cannot start a timer: {error}")))?;
        self.timer = Some(timer);
        Ok(())
    }

    /// One turn: waits at most so long, handles what came, writes what was appended.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        handler: &mut impl Handler,
    ) -> Result<(), Failure> {
        self.flush(handler);
        let timeout = if self.unread.is_empty() { timeout } else { Duration::ZERO };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Failure::new(format!("cannot wait for events: {error}")));
            }
            _ => {}
        }
        self.io.refresh_clock();
        for connection in std::mem::take(&mut self.unread) {
            self.read(connection, false, handler);
        }
        for event in &events {
            let Token(connection) = event.token();
            if event.token() == TIMER {
                let next = handler.tick(&mut self.io);
                if let (Some(timer), Some(next)) = (&self.timer, next) {
                    timer.set(Duration::from_nanos(next.saturating_sub(self.io.now)));
                }
                continue;
            }
            if event.is_writable() {
                self.io.out(connection);
            }
            if event.is_readable() || event.is_error() {
                self.read(connection, event.is_read_closed() || event.is_error(), handler);
            }
        }
        self.events = events;
        self.flush(handler);
        Ok(())
    }

    fn read(&mut self, connection: usize, closing: bool, handler: &mut impl Handler) {
        for _ in 0..READS_PER_TURN {
            let Some(link) = self.links.get_mut(connection) else { return };
            let Some(socket) = &mut link.socket else { return };
            let over_tls = !matches!(link.layer, Layer::Nothing);
            // Over TLS what is kept was opened before, and what comes is not.
            let held = if over_tls { 0 } else { link.partial.len() };
            if self.scratch.len() < 2 * held {
                self.scratch.resize(2 * held, 0);
            }
            self.scratch[..held].copy_from_slice(&link.partial[..held]);
            let result = socket.read(&mut self.scratch[held..]);
            let n = match result {
                Ok(0) => return self.ended(connection, ErrorKind::UnexpectedEof.into(), handler),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.ended(connection, error, handler),
            };
            let filled = held + n;
            let drained = filled < self.scratch.len();
            self.io.refresh_clock();
            let arrived = &self.scratch[..filled];
            let opened = match &mut link.layer {
                Layer::Nothing => {
                    link.partial.clear();
                    None
                }
                Layer::Tls(sealed) => {
                    let mut opened = std::mem::take(&mut link.partial);
                    let result = sealed.session.open(arrived, &mut opened);
                    self.io.out(connection); // the handshake may have something to say
                    if let Err(error) = result {
                        let error = io::Error::new(ErrorKind::InvalidData, error.to_string());
                        return self.ended(connection, error, handler);
                    }
                    Some(opened)
                }
                Layer::Counted(count) => {
                    let Some(bytes) = count.content(arrived) else {
                        let error = io::Error::new(ErrorKind::InvalidData, "no TLS record");
                        return self.ended(connection, error, handler);
                    };
                    handler.counted(&mut self.io, connection, bytes);
                    if drained && !closing {
                        return;
                    }
                    continue;
                }
            };
            let mut rest = opened.as_deref().unwrap_or(arrived);
            loop {
                match frame::cut(rest, usize::MAX) {
                    Ok(Some(frame)) => {
                        let body = &rest[frame.body_at..frame.total];
                        handler.packet(&mut self.io, connection, frame.first, body);
                        rest = &rest[frame.total..];
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let error = io::Error::new(ErrorKind::InvalidData, error.to_string());
                        return self.ended(connection, error, handler);
                    }
                }
            }
            if let Some(link) = self.links.get_mut(connection) {
                link.partial.extend_from_slice(rest);
            }
            // Less than asked for: the socket is empty, the next edge will tell of more.
            if drained && !closing {
                return;
            }
        }
        self.unread.push(connection);
    }

    fn flush(&mut self, handler: &mut impl Handler) {
        std::mem::swap(&mut self.dirty, &mut self.io.dirty);
        for at in 0..self.dirty.len() {
            let connection = self.dirty[at];
            let output = &mut self.io.outputs[connection];
            output.dirty = false;
            let link = &mut self.links[connection];
            let Some(socket) = &mut link.socket else { continue };
            let mut failed = None;
            let bytes = match &mut link.layer {
                Layer::Tls(sealed) => {
                    let Sealed { session, records } = &mut **sealed;
                    if let Err(error) = session.seal(&output.bytes, records) {
                        failed = Some(io::Error::new(ErrorKind::InvalidData, error.to_string()));
                    }
                    output.bytes.clear();
                    records
                }
                _ => &mut output.bytes,
            };
            while output.written < bytes.len() {
                match socket.write(&bytes[output.written..]) {
                    Ok(n) => output.written += n,
                    // The socket is full or not yet connected: the next edge will tell.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::NotConnected
                        ) =>
                    {
                        break;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if output.written == bytes.len() {
                bytes.clear();
                output.written = 0;
                // A fleet of idle connections must not hold a buffer each.
                bytes.shrink_to(16 << 10);
            }
            if let Some(error) = failed {
                self.ended(connection, error, handler);
            }
        }
        self.dirty.clear();
    }

    fn ended(&mut self, connection: usize, why: io::Error, handler: &mut impl Handler) {
        if self.links[connection].socket.is_some() {
            self.close(connection);
            handler.closed(&mut self.io, connection, &why);
        }
    }
}

/// Then others have their turn.
const READS_PER_TURN: usize = 4;
