//! One WebSocket from upgrade to close (RFC 6455): pings, the closing handshake, close codes.

use std::sync::Arc;

use crate::error::NetError;
use crate::ws_frame::{CloseCode, FrameDecoder, Opcode, encode_close, encode_control};
use crate::ws_upgrade::{AllowedOrigins, Upgrade, UpgradeRules, upgrade};

/// How a WebSocket listener treats its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// Which web pages may connect.
    pub allowed_origins: AllowedOrigins,
    /// The longest frame taken, in bytes. Frames are streamed, so a large limit costs no memory;
    /// clients commonly put a whole packet into one frame, so it should not be below the largest
    /// packet.
    pub max_frame_bytes: u64,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self { allowed_origins: AllowedOrigins::default(), max_frame_bytes: 256 << 20 }
    }
}

/// What all WebSocket connections of one listener share.
#[derive(Debug)]
pub(crate) struct WebSocketRules {
    pub(crate) path: String,
    pub(crate) options: WebSocketOptions,
}

/// The server's end of one WebSocket, without I/O: wire bytes in, payload and replies out.
#[derive(Debug)]
pub(crate) struct WebSocket {
    phase: Phase,
    decoder: FrameDecoder,
}

#[derive(Debug)]
enum Phase {
    /// The HTTP request has not arrived completely; these bytes have.
    Upgrading {
        rules: Arc<WebSocketRules>,
        over_loopback: bool,
        request: Vec<u8>,
    },
    Open,
    /// Our close frame is sent; the peer's may follow.
    Closing,
    /// Nothing more comes from the peer.
    Ended,
}

impl WebSocket {
    pub(crate) fn new(rules: Arc<WebSocketRules>, over_loopback: bool) -> Self {
        let decoder = FrameDecoder::new(rules.options.max_frame_bytes);
        Self { phase: Phase::Upgrading { rules, over_loopback, request: Vec::new() }, decoder }
    }

    pub(crate) const fn is_upgrading(&self) -> bool {
        matches!(self.phase, Phase::Upgrading { .. })
    }

    /// Whether frames may be sent.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the peer has closed or broken the rules.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Takes wire bytes, leaves their payload at the front of `bytes` and returns its length. What
    /// must be sent in return (the HTTP response, a pong, a close) is appended to `replies`, also
    /// on an error.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<usize, NetError> {
        let arrived = bytes.len();
        let frames = match &mut self.phase {
            Phase::Ended => 0,
            Phase::Open | Phase::Closing => arrived,
            Phase::Upgrading { rules, over_loopback, request } => {
                let seen = request.len();
                request.extend_from_slice(bytes);
                let rules = UpgradeRules {
                    path: &rules.path,
                    allowed_origins: &rules.options.allowed_origins,
                    over_loopback: *over_loopback,
                };
                match upgrade(request, seen, &rules) {
                    Upgrade::Incomplete => 0,
                    Upgrade::Accepted { length, response } => {
                        // The request ended within `bytes`, so frames behind it are still in there.
                        let rest = request.len().saturating_sub(length).min(arrived);
                        bytes.copy_within(arrived - rest.., 0);
                        replies.extend_from_slice(&response);
                        self.phase = Phase::Open;
                        rest
                    }
                    Upgrade::Refused { response, error } => {
                        replies.extend_from_slice(&response);
                        self.phase = Phase::Ended;
                        return Err(error.into());
                    }
                }
            }
        };
        self.receive_frames(bytes.get_mut(..frames).unwrap_or_default(), replies)
    }

    fn receive_frames(
        &mut self,
        frames: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<usize, NetError> {
        let decoded = match self.decoder.decode(frames) {
            Ok(decoded) => decoded,
            Err(error) => {
                if self.is_open() {
                    encode_close(error.close_code(), &error.to_string(), replies);
                }
                self.phase = Phase::Ended;
                return Err(error.into());
            }
        };
        if let Some(body) = decoded.ping.filter(|_| self.is_open()) {
            encode_control(Opcode::Pong, &body, replies);
        }
        if let Some(code) = decoded.close {
            match (self.is_open(), code) {
                (true, Some(code)) => encode_close(code, "", replies),
                (true, None) => encode_control(Opcode::Close, b"", replies),
                // It is the answer to ours.
                (false, _) => {}
            }
            self.phase = Phase::Ended;
        }
        Ok(decoded.payload)
    }

    /// Begins the closing handshake, if it has not begun.
    pub(crate) fn close(&mut self, replies: &mut Vec<u8>) {
        if self.is_open() {
            encode_close(CloseCode::NORMAL, "", replies);
            self.phase = Phase::Closing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    /// `hi` in a binary frame masked with zeros.
    const HI: &[u8] = &[0x82, 0x82, 0, 0, 0, 0, b'h', b'i'];

    fn websocket() -> WebSocket {
        let options = WebSocketOptions::default();
        WebSocket::new(Arc::new(WebSocketRules { path: "/mqtt".to_owned(), options }), true)
    }

    fn receive(websocket: &mut WebSocket, bytes: &[u8]) -> (Result<Vec<u8>, NetError>, Vec<u8>) {
        let (mut bytes, mut replies) = (bytes.to_vec(), Vec::new());
        let result = websocket.receive(&mut bytes, &mut replies);
        (result.map(|payload| bytes[..payload].to_vec()), replies)
    }

    #[test]
    fn frames_behind_the_request_are_not_lost_wherever_it_is_split() {
        let stream = [REQUEST, HI].concat();
        for cut in 0..stream.len() {
            let mut websocket = websocket();
            let (first, replies) = receive(&mut websocket, &stream[..cut]);
            let (second, more) = receive(&mut websocket, &stream[cut..]);
            assert_eq!([first.unwrap(), second.unwrap()].concat(), b"hi");
            let replies = String::from_utf8([replies, more].concat()).unwrap();
            assert!(replies.starts_with("HTTP/1.1 101 "));
            assert!(websocket.is_open());
        }
    }

    #[test]
    fn a_ping_is_answered_and_a_close_is_echoed_once() {
        let mut websocket = websocket();
        receive(&mut websocket, REQUEST).0.unwrap();
        let (_, replies) = receive(&mut websocket, &[0x89, 0x81, 0, 0, 0, 0, b'?']);
        assert_eq!(replies, [0x8A, 1, b'?']);
        let close = [&[0x88, 0x82, 0, 0, 0, 0], 1001_u16.to_be_bytes().as_slice()].concat();
        let (payload, replies) = receive(&mut websocket, &[HI, &close].concat());
        assert_eq!(payload.unwrap(), b"hi");
        assert_eq!(replies, [&[0x88, 2], 1001_u16.to_be_bytes().as_slice()].concat());
        assert!(websocket.has_ended());
        let mut replies = Vec::new();
        websocket.close(&mut replies);
        assert!(replies.is_empty());
    }

    #[test]
    fn after_our_close_the_peers_close_gets_no_echo() {
        let mut websocket = websocket();
        receive(&mut websocket, REQUEST).0.unwrap();
        let mut replies = Vec::new();
        websocket.close(&mut replies);
        assert_eq!(replies, [0x88, 2, 3, 0xE8]);
        let (_, replies) = receive(&mut websocket, &[0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]);
        assert!(replies.is_empty());
        assert!(websocket.has_ended());
    }

    #[test]
    fn a_broken_rule_is_answered_with_its_close_code() {
        let mut websocket = websocket();
        receive(&mut websocket, REQUEST).0.unwrap();
        let (result, replies) = receive(&mut websocket, &[0x81, 0x80, 0, 0, 0, 0]);
        assert!(matches!(result, Err(NetError::Frame(_))));
        assert_eq!(replies[2..4], 1003_u16.to_be_bytes());
        assert!(websocket.has_ended());
    }
}
