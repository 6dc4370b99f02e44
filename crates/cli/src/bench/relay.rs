//! A relay without MQTT logic: what a broker could reach at best over the same sockets.
//!
//! It answers CONNECT, SUBSCRIBE and PINGREQ with canned bytes while clients get ready. A
//! connection's first PUBLISH says by its topic which subscribers are meant; from then on every
//! chunk that is read from this connection is written to each of them as it is, unread. So it fits
//! what flows one way from one publisher at QoS 0: pairs and fan-out.
//!
//! To be the ceiling, it does what is cheapest. Small chunks for one receiver wait for the turn's
//! end, so that whoever reads them is not woken while others are still being read; all else is
//! written at once, without a copy.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use agentmq_client::ProtocolVersion;
use agentmq_codec::frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use crate::bench::greeting::{Next, respond};
use crate::bench::process::allow_open_files;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs until it is killed.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    allow_open_files(CONNECTIONS)?;
    let failed = |error: io::Error| Failure::new(format!("the relay ended: {error}"));
    let mut relay = Relay::bind(args.port).map_err(failed)?;
    let address = relay.address().map_err(failed)?;
    let text = format!("relaying on {address}");
    output.result(&text, &json!({ "event": "relaying", "address": address.to_string() }))?;
    loop {
        relay.turn(None).map_err(failed)?;
    }
}

struct Relay {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    links: Vec<Option<Link>>,
    scratch: Vec<u8>,
    /// Connections that may hold more than was read.
    unread: VecDeque<usize>,
    /// Connections whose bytes wait for the end of the turn.
    waiting: Vec<usize>,
}

struct Link {
    socket: TcpStream,
    role: Role,
    /// What could not be written yet.
    pending: Vec<u8>,
}

enum Role {
    /// Getting ready: a packet that is not whole yet.
    Greeting { version: ProtocolVersion, partial: Vec<u8> },
    /// It has subscribed; what it sends is thrown away.
    Subscriber { filter: String },
    /// Whatever it sends goes to these.
    Publisher { to: Vec<usize> },
}

impl Relay {
    fn bind(port: u16) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port).into())?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            listener,
            links: Vec::new(),
            scratch: vec![0; CHUNK],
            unread: VecDeque::new(),
            waiting: Vec::new(),
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns whether anything happened within this time.
    fn turn(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let busy = !self.unread.is_empty();
        let timeout = if busy { Some(Duration::ZERO) } else { limit };
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for _ in 0..self.unread.len() {
            let Some(index) = self.unread.pop_front() else { break };
            self.read(index);
        }
        for event in &events {
            if event.token() == LISTENER {
                self.accept()?;
                continue;
            }
            let Token(index) = event.token();
            if event.is_writable() {
                self.write_pending(index);
            }
            if event.is_readable() || event.is_error() {
                self.read(index);
            }
        }
        let happened = busy || !events.is_empty();
        self.events = events;
        while let Some(index) = self.waiting.pop() {
            self.write_pending(index);
        }
        Ok(happened)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client may have gone meanwhile.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(self.links.len()), interest)?;
            let role = Role::Greeting { version: ProtocolVersion::V5, partial: Vec::new() };
            self.links.push(Some(Link { socket, role, pending: Vec::new() }));
        }
    }

    /// Reads one chunk and forwards it.
    fn read(&mut self, index: usize) {
        let Some(Some(link)) = self.links.get_mut(index) else { return };
        let n = match link.socket.read(&mut self.scratch) {
            Ok(0) => return self.end(index),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => return self.end(index),
        };
        // Less than asked for: the socket is empty, the next edge will tell of more.
        if n == 0 || n == self.scratch.len() {
            self.unread.push_back(index);
        }
        let Self { links, scratch, waiting, .. } = self;
        let chunk = &scratch[..n];
        match &mut links[index].as_mut().expect("it was just read from").role {
            Role::Publisher { to } if to.len() == 1 && n < SMALL => {
                let receiver = to[0];
                if let Some(Some(link)) = links.get_mut(receiver) {
                    link.pending.extend_from_slice(chunk);
                    waiting.push(receiver);
                }
            }
            Role::Publisher { to } => {
                let to = std::mem::take(to);
                for &receiver in &to {
                    send(links, receiver, chunk);
                }
                if let Some(Some(link)) = links.get_mut(index) {
                    link.role = Role::Publisher { to };
                }
            }
            Role::Subscriber { .. } => {}
            Role::Greeting { .. } => self.greet(index, n),
        }
    }

    /// Answers what clients say before they publish.
    fn greet(&mut self, index: usize, n: usize) {
        let Some(Some(link)) = self.links.get_mut(index) else { return };
        let Role::Greeting { version, partial } = &mut link.role else { return };
        partial.extend_from_slice(&self.scratch[..n]);
        let (mut version, bytes) = (*version, std::mem::take(partial));
        let mut rest = bytes.as_slice();
        let mut role = None;
        while let Ok(Some(frame)) = frame::cut(rest, usize::MAX) {
            let (packet, behind) = rest.split_at(frame.total);
            let (answer, next) = respond(&packet[frame.body_at..], frame.first, &mut version);
            match next {
                Some(Next::Subscribed(filter)) => role = Some(Role::Subscriber { filter }),
                Some(Next::Publishes(topic)) => {
                    let to = self.receivers(&topic);
                    for &receiver in &to {
                        send(&mut self.links, receiver, rest);
                    }
                    self.set(index, Role::Publisher { to });
                    return;
                }
                None => {}
            }
            send(&mut self.links, index, &answer);
            rest = behind;
        }
        let partial = rest.to_vec();
        self.set(index, role.unwrap_or(Role::Greeting { version, partial }));
    }

    fn set(&mut self, index: usize, role: Role) {
        let Some(Some(link)) = self.links.get_mut(index) else { return };
        link.role = role;
    }

    /// The subscribers whose filter is this topic, or the level above it with a `+`.
    fn receivers(&self, topic: &str) -> Vec<usize> {
        let above = topic.rsplit_once('/').map_or("", |(above, _)| above);
        let meant = |filter: &str| filter == topic || filter.strip_suffix("/+") == Some(above);
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, link)| match link.as_ref().map(|link| &link.role) {
                Some(Role::Subscriber { filter }) => meant(filter),
                _ => false,
            })
            .map(|(index, _)| index)
            .collect()
    }

    fn write_pending(&mut self, index: usize) {
        let Some(Some(link)) = self.links.get_mut(index) else { return };
        if link.pending.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut link.pending);
        send(&mut self.links, index, &bytes);
        // The buffer stays with its connection.
        if let Some(Some(link)) = self.links.get_mut(index)
            && link.pending.is_empty()
        {
            bytes.clear();
            link.pending = bytes;
        }
    }

    fn end(&mut self, index: usize) {
        self.links.get_mut(index).map(Option::take);
    }
}

/// Writes, and keeps what the socket does not take. The load generator's window bounds that.
fn send(links: &mut [Option<Link>], index: usize, bytes: &[u8]) {
    let Some(Some(link)) = links.get_mut(index) else { return };
    if !link.pending.is_empty() {
        link.pending.extend_from_slice(bytes);
        return;
    }
    let mut written = 0;
    while written < bytes.len() {
        match link.socket.write(&bytes[written..]) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Reading will tell, and end it.
            Err(_) => return,
        }
    }
    link.pending.extend_from_slice(&bytes[written..]);
}

const LISTENER: Token = Token(usize::MAX);

/// Below this a copy costs less than waking a reader early.
const SMALL: usize = 4096;

/// As a broker's read would be.
const CHUNK: usize = 64 << 10;

/// As many as the widest scenario that is relayed has, and some.
const CONNECTIONS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::wire::{Delivery, Hello, Stamp, Template};
    use agentmq_client::{PropertiesBuf, QoS};
    use std::net::TcpStream as Blocking;

    fn client(relay: &mut Relay, greeting: &[u8], answer_len: usize) -> (Blocking, Vec<u8>) {
        let address = relay.address().unwrap();
        let mut client = Blocking::connect(address).unwrap();
        client.write_all(greeting).unwrap();
        client.set_nonblocking(true).unwrap();
        let answer = read(relay, &mut client, answer_len);
        (client, answer)
    }

    /// Turns the relay until so many bytes have come.
    fn read(relay: &mut Relay, client: &mut Blocking, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match client.read(&mut bytes[filled..]) {
                Ok(0) => panic!("closed after {filled} of {len} bytes"),
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let happened = relay.turn(Some(Duration::from_secs(10))).unwrap();
                    assert!(happened, "{filled} of {len} bytes came");
                }
                Err(error) => panic!("{error}"),
            }
        }
        bytes
    }

    #[test]
    fn bytes_go_from_a_publisher_to_whom_its_topic_means() {
        for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
            let mut relay = Relay::bind(0).unwrap();
            let hello = Hello { version, username: None, password: None };
            let connect = hello.connect("c", true, false);
            let connack = if version.is_v5() { 5 } else { 4 };
            let mut subscribers = ["t/1", "t/+", "t/2"].map(|filter| {
                let greeting = [connect.clone(), hello.subscribe(filter, QoS::AtMostOnce)].concat();
                let (client, answer) = client(&mut relay, &greeting, connack + connack + 1);
                assert_eq!((answer[0], answer[connack]), (0x20, 0x90));
                client
            });
            let none = PropertiesBuf::new();
            let template = Template::new(version, "t/1", QoS::AtMostOnce, false, &none, 30);
            let (mut publisher, _) = client(&mut relay, &connect, connack);
            let mut packets = Vec::new();
            for sequence in 0..2 {
                template.append(&mut packets, 0, Stamp { run: 1, publisher: 2, sequence, sent: 3 });
            }
            publisher.write_all(&packets).unwrap();
            for subscriber in &mut subscribers[..2] {
                let got = read(&mut relay, subscriber, packets.len());
                assert_eq!(got, packets);
                let delivery = Delivery::read(version, got[0], &got[2..packets.len() / 2]);
                assert_eq!(delivery.unwrap().payload.len(), 30);
            }
            // What follows is not looked at: these bytes are no MQTT.
            publisher.write_all(b"xyz").unwrap();
            assert_eq!(read(&mut relay, &mut subscribers[0], 3), b"xyz");
            // One receiver, whose small chunks wait for the end of the turn.
            let template = Template::new(version, "t/9", QoS::AtMostOnce, false, &none, 30);
            let (mut publisher, _) = client(&mut relay, &connect, connack);
            packets.clear();
            template.append(&mut packets, 0, Stamp { run: 1, publisher: 3, sequence: 0, sent: 3 });
            publisher.write_all(&packets).unwrap();
            assert_eq!(read(&mut relay, &mut subscribers[1], 3), b"xyz");
            assert_eq!(read(&mut relay, &mut subscribers[1], packets.len()), packets);
            publisher.write_all(b"uvw").unwrap();
            assert_eq!(read(&mut relay, &mut subscribers[1], 3), b"uvw");
            let nothing = subscribers[2].read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        }
    }
}
