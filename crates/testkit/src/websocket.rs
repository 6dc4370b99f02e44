//! A WebSocket client's side of a stream (RFC 6455), just enough to carry MQTT.

use std::io::{self, Read, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::broker::PATIENCE;
use crate::transport::Transport;

/// MQTT in binary frames. Each write is one frame.
#[derive(Debug)]
pub struct WebSocket<T> {
    stream: T,
    /// Unread payload of the frames that have arrived.
    payload: Vec<u8>,
    /// Payloads of pongs, in order.
    pongs: Vec<Vec<u8>>,
    /// The server's close code, once it has closed.
    closed: Option<u16>,
    answer: String,
}

impl<T: Transport> WebSocket<T> {
    /// Upgrades a fresh stream, offering these subprotocols. Returns the head of the answer if the
    /// server refuses.
    pub fn upgrade(mut stream: T, path: &str, protocols: &str) -> Result<Self, String> {
        let request = request(path, protocols, "");
        stream.limit_reads(PATIENCE).expect("an open socket takes a time limit");
        stream.write_all(request.as_bytes()).expect("the broker takes a request");
        let answer = read_head(&mut stream);
        if !answer.starts_with("HTTP/1.1 101") {
            return Err(answer);
        }
        Ok(Self { stream, payload: Vec::new(), pongs: Vec::new(), closed: None, answer })
    }

    /// Upgrades with a header of the test's own (`Name: value\r\n`); returns the answer's head.
    pub fn try_upgrade(mut stream: T, path: &str, header: &str) -> String {
        let request = request(path, "mqtt", header);
        stream.limit_reads(PATIENCE).expect("an open socket takes a time limit");
        stream.write_all(request.as_bytes()).expect("the broker takes a request");
        read_head(&mut stream)
    }

    /// The head of the server's answer.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// The stream below.
    pub fn stream_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Sends one frame with this first byte (FIN, reserved bits, opcode), masked.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xFFFF => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame)?;
        self.stream.flush()
    }

    /// Pings and waits for the pong, which must carry the same payload.
    pub fn ping(&mut self, payload: &[u8]) {
        self.send_frame(FIN | PING, payload).expect("the broker takes a ping");
        while self.pongs.is_empty() {
            self.read_frame().expect("the broker answers a ping");
        }
        assert_eq!(self.pongs.remove(0), payload);
    }

    /// The code of the server's close frame, once it has come.
    pub fn close_code(&self) -> Option<u16> {
        self.closed
    }

    fn read_frame(&mut self) -> io::Result<()> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes)?;
                usize::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.stream.read_exact(&mut bytes)?;
                usize::try_from(u64::from_be_bytes(bytes)).expect("a frame that fits in memory")
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        match head[0] & 0x0F {
            CONTINUATION | BINARY => self.payload.extend_from_slice(&payload),
            PONG => self.pongs.push(payload),
            PING => self.send_frame(FIN | PONG, &payload)?,
            CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                self.closed = Some(code);
            }
            other => panic!("the broker sent a frame with opcode {other} [MQTT-6.0.0-1]"),
        }
        Ok(())
    }
}

impl<T: Transport> Read for WebSocket<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            if self.closed.is_some() {
                return Ok(0);
            }
            match self.read_frame() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => other?,
            }
        }
        let count = buffer.len().min(self.payload.len());
        buffer[..count].copy_from_slice(&self.payload[..count]);
        self.payload.drain(..count);
        Ok(count)
    }
}

impl<T: Transport> Write for WebSocket<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_frame(FIN | BINARY, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<T: Transport> Transport for WebSocket<T> {
    fn limit_reads(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.limit_reads(patience)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.send_frame(FIN | CLOSE, &1000_u16.to_be_bytes())
    }
}

fn request(path: &str, protocols: &str, header: &str) -> String {
    let key = STANDARD.encode([7; 16]);
    let protocols = if protocols.is_empty() {
        String::new()
    } else {
        format!("Sec-WebSocket-Protocol: {protocols}\r\n")
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{protocols}{header}\r\n"
    )
}

/// Reads byte by byte, so that nothing behind the head is taken.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Any mask is as good as another where nobody is to be protected.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
