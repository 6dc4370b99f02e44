//! An MQTT client without an opinion: it sends what it is told and shows what arrives.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, TcpStream};

use agentmq_codec::{
    Ack, AckKind, Connect, Disconnect, Packet, Properties, ProtocolVersion, Publish, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, frame,
};

use crate::broker::PATIENCE;
use crate::received::Received;
use crate::transport::Transport;

/// A connection on which a test speaks MQTT. Everything it waits for has a time limit.
pub struct RawClient {
    transport: Box<dyn Transport>,
    version: ProtocolVersion,
    /// Bytes behind the last whole packet.
    arrived: Vec<u8>,
    /// Packets that came while another one was waited for.
    aside: VecDeque<Received>,
    /// Packets that have come in all, for messages about those that have not.
    count: usize,
    next_id: u16,
}

impl RawClient {
    /// A client over TCP to a port on loopback. Nothing is sent yet.
    pub fn tcp(port: u16) -> Self {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the broker accepts"))
    }

    /// A client over any transport.
    pub fn over(mut transport: impl Transport + 'static) -> Self {
        transport.limit_reads(PATIENCE).expect("an open socket takes a time limit");
        Self {
            transport: Box::new(transport),
            version: ProtocolVersion::V5,
            arrived: Vec::new(),
            aside: VecDeque::new(),
            count: 0,
            next_id: 0,
        }
    }

    /// The version in which packets are written and read; MQTT 5 unless said otherwise.
    pub fn speak(&mut self, version: ProtocolVersion) {
        self.version = version;
    }

    /// Connects with a clean session and expects to be let in.
    pub fn connect(&mut self, client_id: &str) {
        let connect = Connect { client_id, clean_start: true, ..Connect::default() };
        let connack = self.connect_with(connect);
        assert_eq!(connack.reason(), ReasonCode::Success, "{client_id}: {connack:?}");
    }

    /// Sends this CONNECT in the client's version and returns the CONNACK.
    pub fn connect_with(&mut self, connect: Connect<'_>) -> Received {
        let connect = Connect { version: self.version, ..connect };
        self.send(&Packet::Connect(Box::new(connect)));
        let connack = self.receive();
        assert!(matches!(connack.packet(), Packet::ConnAck(_)), "expected CONNACK: {connack:?}");
        connack
    }

    /// Subscribes and returns the code of the SUBACK.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let packet_id = self.packet_id();
        let mut bytes = Vec::new();
        let filters = [SubscribeFilter { filter, options: SubscriptionOptions::at(qos) }];
        let version = self.version;
        Subscribe::encode_parts(packet_id, Properties::EMPTY, filters, version, &mut bytes);
        self.send_bytes(&bytes);
        self.wait_for(|packet| matches!(packet, Packet::SubAck(_))).reason()
    }

    /// Publishes and waits until the exchange of its QoS is over. Returns the reason code, Success
    /// for QoS 0.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) -> ReasonCode {
        let mut packet_id = 0;
        if qos > QoS::AtMostOnce {
            packet_id = self.packet_id();
        }
        let publish = Publish { topic, payload, qos, packet_id, ..Publish::default() };
        self.send(&Packet::Publish(publish));
        let answer = |kind| move |packet: &Packet<'_>| is_answer(packet, kind, packet_id);
        match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => self.wait_for(answer(AckKind::PubAck)).reason(),
            QoS::ExactlyOnce => {
                let reason = self.wait_for(answer(AckKind::PubRec)).reason();
                if !reason.is_error() {
                    let release = Ack::new(AckKind::PubRel, packet_id, ReasonCode::Success);
                    self.send(&Packet::Ack(release));
                    self.wait_for(answer(AckKind::PubComp));
                }
                reason
            }
        }
    }

    /// PINGREQ and PINGRESP: the broker has handled everything that was sent before.
    pub fn ping(&mut self) {
        self.send(&Packet::PingReq);
        self.wait_for(|packet| matches!(packet, Packet::PingResp));
    }

    /// A normal DISCONNECT.
    pub fn disconnect(&mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    }

    /// Sends one packet in one write.
    pub fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends bytes as they are, in one write if the socket takes them.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the broker takes what is sent");
    }

    /// Like [`Self::send_bytes`] where the broker may have closed already.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transport.write_all(bytes)?;
        self.transport.flush()
    }

    /// Sends bytes in portions of this size, each a write of its own.
    pub fn send_split(&mut self, bytes: &[u8], portion: usize) {
        for part in bytes.chunks(portion) {
            self.send_bytes(part);
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.try_finish().expect("an open socket can be shut down");
    }

    /// Like [`Self::finish`] where the broker may have closed already.
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.transport.finish()
    }

    /// Reads whatever comes, in whatever version the broker speaks; `false` at the end.
    pub fn bytes_or_end(&mut self) -> bool {
        self.arrived.clear();
        self.read_more()
    }

    /// The next packet. Panics if the broker closes or nothing comes in time.
    pub fn receive(&mut self) -> Received {
        self.receive_or_end().expect("a packet before the end of the connection")
    }

    /// The next packet; `None` if the broker has closed. Panics if nothing comes in time.
    pub fn receive_or_end(&mut self) -> Option<Received> {
        if let Some(packet) = self.aside.pop_front() {
            return Some(packet);
        }
        self.next_from_transport()
    }

    /// The next PUBLISH; QoS 1 is acknowledged. Panics if something else comes first.
    pub fn receive_publish(&mut self) -> Received {
        let received = self.receive();
        let publish = received.publish();
        if publish.qos == QoS::AtLeastOnce {
            let ack = Ack::new(AckKind::PubAck, publish.packet_id, ReasonCode::Success);
            self.send(&Packet::Ack(ack));
        }
        received
    }

    /// The next packet that fits; those before it are kept for [`Self::receive`].
    pub fn wait_for(&mut self, fits: impl Fn(&Packet<'_>) -> bool) -> Received {
        if let Some(index) = self.aside.iter().position(|packet| fits(&packet.packet())) {
            return self.aside.remove(index).expect("the position was just found");
        }
        loop {
            let packet = self.next_from_transport();
            let packet = packet.unwrap_or_else(|| panic!("closed; before that: {:?}", self.aside));
            if fits(&packet.packet()) {
                return packet;
            }
            self.aside.push_back(packet);
        }
    }

    /// Reads until the broker closes, and returns the reason of its DISCONNECT, if it sent one.
    /// Publications before it are dropped.
    pub fn reason_of_end(&mut self) -> Option<ReasonCode> {
        let mut reason = None;
        while let Some(packet) = self.receive_or_end() {
            match packet.packet() {
                Packet::Disconnect(packet) => reason = Some(packet.reason),
                Packet::ConnAck(packet) if packet.reason.is_error() => reason = Some(packet.reason),
                _ => {}
            }
        }
        reason
    }

    fn next_from_transport(&mut self) -> Option<Received> {
        loop {
            let frame = frame::cut(&self.arrived, usize::MAX).expect("the broker sends packets");
            if let Some(frame) = frame {
                let bytes: Vec<u8> = self.arrived.drain(..frame.total).collect();
                let body = bytes[frame.body_at..].to_vec();
                self.count += 1;
                return Some(Received::new(frame.first, body, self.version));
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Reads once; `false` at the end of the stream.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.transport.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.arrived.extend_from_slice(&buffer[..count]);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    panic!("nothing came within {PATIENCE:?} after {} packets", self.count)
                }
                Err(_) => return false, // a reset ends the connection as well
            }
        }
    }

    fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}

impl std::fmt::Debug for RawClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawClient").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A CONNECT with a clean session, as bytes.
pub fn connect_packet(version: ProtocolVersion, client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect { version, clean_start: true, client_id, ..Connect::default() }.encode(&mut bytes);
    bytes
}

fn is_answer(packet: &Packet<'_>, kind: AckKind, packet_id: u16) -> bool {
    matches!(packet, Packet::Ack(ack) if ack.kind == kind && ack.packet_id == packet_id)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
