//! An echo server on a real event loop: what `shard` does, without MQTT.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use agentmq_net::{Endpoint, Link, Listener, ListenerOptions, PeerInfo, Read};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

/// How long a test waits for something that must happen; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the server saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The first application bytes came from this peer.
    Peer(Box<PeerInfo>),
    /// The peer closed.
    Closed,
    /// The link failed; the text of its error.
    Failed(String),
}

pub(crate) struct EchoServer {
    pub(crate) endpoint: Endpoint,
    seen: Receiver<Seen>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    pub(crate) fn start(options: &ListenerOptions) -> Self {
        Self::start_with_buffer(options, 64 << 10)
    }

    /// `buffer`: the size of the scratch buffer that links read into.
    pub(crate) fn start_with_buffer(options: &ListenerOptions, buffer: usize) -> Self {
        let listener = Listener::bind(options).expect("binds");
        let endpoint = listener.endpoint().clone();
        let poll = Poll::new().expect("polls");
        let waker = Arc::new(Waker::new(poll.registry(), STOP).expect("wakes"));
        let (sender, seen) = channel();
        let mut turn = Turn { poll, listener, connections: HashMap::new(), sender, buffer };
        let thread = Some(std::thread::spawn(move || turn.run()));
        Self { endpoint, seen, waker, thread }
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoint.port().expect("is TCP")
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.port())
    }

    pub(crate) fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("the server saw something")
    }

    pub(crate) fn peer(&self) -> PeerInfo {
        match self.next() {
            Seen::Peer(peer) => *peer,
            other => panic!("no peer but {other:?}"),
        }
    }

    pub(crate) fn failure(&self) -> String {
        match self.next() {
            Seen::Failed(reason) => reason,
            other => panic!("no failure but {other:?}"),
        }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.waker.wake().expect("wakes");
        let result = self.thread.take().expect("started").join();
        if !std::thread::panicking() {
            result.expect("the server did not panic");
        }
    }
}

struct Connection {
    link: Link,
    echo: VecDeque<u8>,
    introduced: bool,
}

struct Turn {
    poll: Poll,
    listener: Listener,
    connections: HashMap<usize, Connection>,
    sender: Sender<Seen>,
    buffer: usize,
}

const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);

impl Turn {
    fn run(&mut self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut self.listener, LISTENER, Interest::READABLE)
            .expect("registers");
        let mut events = Events::with_capacity(64);
        let mut next = 0;
        loop {
            self.poll.poll(&mut events, None).expect("polls");
            for event in &events {
                match event.token() {
                    STOP => return,
                    LISTENER => {
                        while let Some(mut link) = self.listener.accept().expect("accepts") {
                            let registry = self.poll.registry();
                            registry.register(&mut link, Token(next), both).expect("registers");
                            let echo = VecDeque::new();
                            let connection = Connection { link, echo, introduced: false };
                            self.connections.insert(next, connection);
                            next += 1;
                        }
                    }
                    Token(key) => self.serve(key, event),
                }
            }
        }
    }

    fn serve(&mut self, key: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let outcome = connection.turn(event, self.buffer, &self.sender);
        let seen = match outcome {
            Ok(true) => return,
            Ok(false) => {
                connection.link.shutdown();
                Seen::Closed
            }
            Err(error) => {
                connection.link.shutdown();
                Seen::Failed(error.to_string())
            }
        };
        let _ = self.sender.send(seen);
        self.connections.remove(&key);
    }
}

impl Connection {
    /// False when the peer has closed and everything is echoed.
    fn turn(&mut self, event: &Event, buffer: usize, sender: &Sender<Seen>) -> io::Result<bool> {
        let mut open = true;
        let mut scratch = vec![0; buffer];
        while event.is_readable() {
            let read = match self.link.read(&mut scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                result => result?,
            };
            match read {
                Read::Closed => {
                    open = false;
                    break;
                }
                Read::Data { bytes, drained } => {
                    if bytes > 0 && !self.introduced {
                        self.introduced = true;
                        let _ = sender.send(Seen::Peer(Box::new(self.link.peer())));
                    }
                    self.echo.extend(&scratch[..bytes]);
                    if drained && !event.is_read_closed() {
                        break;
                    }
                }
            }
        }
        while !self.echo.is_empty() {
            let (front, back) = self.echo.as_slices();
            match self.link.write(&[IoSlice::new(front), IoSlice::new(back)]) {
                Ok(taken) => drop(self.echo.drain(..taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The client may close before it has read its echo.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !open => break,
                Err(error) => return Err(error),
            }
        }
        self.link.flush()?;
        Ok(open)
    }
}
