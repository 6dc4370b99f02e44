//! A client that blocks: enough MQTT 3.1.1 to look at a broker from outside.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use agentmq_codec::{Connect, ProtocolVersion, Publish, QoS, frame};

#[derive(Debug)]
pub struct PlainClient {
    stream: TcpStream,
    bytes: Vec<u8>,
    next_id: u16,
}

impl PlainClient {
    /// Connects; also answers whether a session was there.
    pub fn connect(port: u16, client_id: &str, clean: bool) -> (Self, bool) {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Longer than any of this takes: a test that would wait for ever fails instead.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, bytes: Vec::new(), next_id: 0 };
        let mut bytes = Vec::new();
        let version = ProtocolVersion::V311;
        Connect { version, clean_start: clean, client_id, ..Connect::default() }.encode(&mut bytes);
        client.write(&bytes);
        let (first, body) = client.packet();
        assert_eq!((first, body[1]), (0x20, 0), "CONNACK");
        (client, body[0] == 1)
    }

    /// Subscribes and waits for the SUBACK.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.next_id += 1;
        let [high, low] = self.next_id.to_be_bytes();
        let length = filter.len() as u8;
        let head = [0x82, length + 5, high, low, 0, length];
        self.write(&[&head[..], filter.as_bytes(), &[qos]].concat());
        let (first, body) = self.packet();
        assert_eq!((first, body), (0x90, vec![high, low, qos]), "SUBACK");
    }

    pub fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.next_id += 1;
        let mut bytes = Vec::new();
        let (packet_id, payload) = (self.next_id, payload.as_bytes());
        Publish { qos, retain, topic, packet_id, payload, ..Publish::default() }
            .encode(ProtocolVersion::V311, &mut bytes);
        self.write(&bytes);
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub fn publish_acknowledged(&mut self, topic: &str, payload: &str, retain: bool) {
        self.publish(topic, payload, QoS::AtLeastOnce, retain);
        assert_eq!(self.packet().0, 0x40, "PUBACK");
    }

    /// The payload of the next PUBLISH, which is acknowledged if it has QoS 1.
    pub fn receive(&mut self) -> String {
        let (first, body) = self.packet();
        assert_eq!(first >> 4, 3, "PUBLISH");
        let mut at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        if first & 0x06 != 0 {
            self.write(&[0x40, 2, body[at], body[at + 1]]);
            at += 2;
        }
        String::from_utf8(body[at..].to_vec()).unwrap()
    }

    /// Waits for the answer to a PINGREQ: all that was sent before has been handled. Answers the
    /// first packet that came instead, if one did.
    pub fn ping(&mut self) -> Option<(u8, Vec<u8>)> {
        self.write(&[0xC0, 0]);
        let packet = self.packet();
        (packet.0 != 0xD0).then_some(packet)
    }

    /// Waits for the end of the connection.
    pub fn wait_for_end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn packet(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(frame) = frame::cut(&self.bytes, 1 << 24).unwrap() {
                let packet = (frame.first, self.bytes[frame.body_at..frame.total].to_vec());
                self.bytes.drain(..frame.total);
                return packet;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the broker has closed the connection");
            self.bytes.extend_from_slice(&buffer[..count]);
        }
    }
}
