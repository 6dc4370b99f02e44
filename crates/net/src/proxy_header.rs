//! The PROXY protocol, versions 1 and 2: the client's address behind a load balancer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The PROXY protocol header (version 1 text or version 2 binary, "The PROXY protocol", HAProxy
/// Technologies) that a load balancer puts in front of a connection to tell whom it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes the header takes; what follows belongs to the connection.
    pub length: usize,
    /// The client's address. None when the proxy speaks for itself (a health check: `LOCAL`) or
    /// does not say (`UNKNOWN`, `UNSPEC`, a Unix socket on its side).
    pub source: Option<SocketAddr>,
}

/// Why bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// Neither version's signature: most likely a client that connected past the proxy.
    #[error("the connection does not begin with a PROXY header; does the load balancer send one?")]
    NoSignature,
    /// A version 1 line that does not end within 107 bytes or does not follow the grammar.
    #[error("the version 1 line is malformed")]
    Line,
    /// A version 2 header of another version or with an unknown command.
    #[error("the version 2 header has an unknown version or command")]
    Command,
    /// A version 2 header for a protocol that is no stream.
    #[error("the version 2 header announces an address family that is no stream")]
    Family,
    /// A version 2 header shorter than its addresses, or whose type-length-value fields overrun it.
    #[error("the version 2 header is shorter than its fields")]
    Short,
    /// A version 2 header longer than [`ProxyHeader::MAX_BYTES`].
    #[error("the version 2 header announces {0} bytes, too many")]
    TooLong(usize),
}

impl ProxyHeader {
    /// The longest header accepted, in bytes. Proxies that pass a client certificate's fields along
    /// need some hundred bytes; the format would allow 64 KiB.
    pub const MAX_BYTES: usize = 4096;

    /// Reads the header at the beginning of `bytes`. `Ok(None)` means that more bytes are needed.
    ///
    /// # Errors
    /// As soon as the bytes cannot become a valid header, before the rest has arrived.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        if starts_like(bytes, SIGNATURE_V2) {
            parse_v2(bytes)
        } else if starts_like(bytes, SIGNATURE_V1) {
            parse_v1(bytes)
        } else {
            Err(ProxyHeaderError::NoSignature)
        }
    }
}

/// Whether `bytes` begin with the signature, or with a part of it and end there.
fn starts_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_LINE { Err(ProxyHeaderError::Line) } else { Ok(None) };
    };
    let line = window.get(..end).and_then(|line| str::from_utf8(line).ok());
    let mut words = line.ok_or(ProxyHeaderError::Line)?.split(' ');
    let length = end + 2;
    // The first word is the signature, already compared.
    let family = words.nth(1);
    if family == Some("UNKNOWN") {
        // "the receiver must ignore anything presented before the CRLF".
        return Ok(Some(ProxyHeader { length, source: None }));
    }
    let mut word = || words.next().ok_or(ProxyHeaderError::Line);
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyHeaderError::Line);
    }
    let source = match family {
        Some("TCP4") => {
            address::<Ipv4Addr>(destination)?;
            IpAddr::V4(address(source)?)
        }
        Some("TCP6") => {
            address::<Ipv6Addr>(destination)?;
            IpAddr::V6(address(source)?)
        }
        _ => return Err(ProxyHeaderError::Line),
    };
    port(destination_port)?;
    Ok(Some(ProxyHeader { length, source: Some(SocketAddr::new(source, port(source_port)?)) }))
}

fn address<T: FromStr>(word: &str) -> Result<T, ProxyHeaderError> {
    word.parse().map_err(|_| ProxyHeaderError::Line)
}

/// Digits only, without leading zeros, as the specification says.
fn port(word: &str) -> Result<u16, ProxyHeaderError> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (word.len() > 1 && word.starts_with('0')) {
        return Err(ProxyHeaderError::Line);
    }
    word.parse().map_err(|_| ProxyHeaderError::Line)
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let command = bytes.get(SIGNATURE_V2.len()).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return Err(ProxyHeaderError::Command);
    }
    let Some([command, family, high, low]) = bytes.get(12..16) else { return Ok(None) };
    let body_length = usize::from(u16::from_be_bytes([*high, *low]));
    let length = 16 + body_length;
    if length > ProxyHeader::MAX_BYTES {
        return Err(ProxyHeaderError::TooLong(length));
    }
    let Some(body) = bytes.get(16..length) else { return Ok(None) };
    if *command == LOCAL {
        return Ok(Some(ProxyHeader { length, source: None }));
    }
    let (source, fields) = match *family {
        UNSPEC => (None, None),
        TCP_OVER_IPV4 => match body.split_first_chunk::<12>() {
            Some(([a, b, c, d, _, _, _, _, high, low, _, _], fields)) => {
                let source = IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d));
                (Some((source, u16::from_be_bytes([*high, *low]))), Some(fields))
            }
            None => return Err(ProxyHeaderError::Short),
        },
        TCP_OVER_IPV6 => {
            let parts = body.split_first_chunk::<16>().and_then(|(source, rest)| {
                let (rest, fields) = rest.split_first_chunk::<20>()?;
                Some((source, rest.last_chunk::<4>()?, fields))
            });
            let Some((source, [high, low, _, _], fields)) = parts else {
                return Err(ProxyHeaderError::Short);
            };
            let source = IpAddr::V6(Ipv6Addr::from(*source));
            (Some((source, u16::from_be_bytes([*high, *low]))), Some(fields))
        }
        UNIX_STREAM => (None, Some(body.get(216..).ok_or(ProxyHeaderError::Short)?)),
        _ => return Err(ProxyHeaderError::Family),
    };
    check_fields(fields.unwrap_or_default())?;
    Ok(Some(ProxyHeader { length, source: source.map(SocketAddr::from) }))
}

/// The type-length-value fields behind the addresses are skipped, but must not overrun the header.
fn check_fields(mut fields: &[u8]) -> Result<(), ProxyHeaderError> {
    while !fields.is_empty() {
        let Some(([_, high, low], rest)) = fields.split_first_chunk::<3>() else {
            return Err(ProxyHeaderError::Short);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        fields = rest.get(length..).ok_or(ProxyHeaderError::Short)?;
    }
    Ok(())
}

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest version 1 line, CRLF included (section 2.1).
const MAX_LINE: usize = 107;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE_V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn source(bytes: &[u8]) -> Option<String> {
        let header = ProxyHeader::parse(bytes).unwrap().unwrap();
        header.source.map(|address| address.to_string())
    }

    #[test]
    fn version_1_gives_the_source_and_leaves_the_rest() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n\x10\x00";
        let header = ProxyHeader::parse(line).unwrap().unwrap();
        assert_eq!(header.length, line.len() - 2);
        assert_eq!(header.source, Some("192.0.2.1:56324".parse().unwrap()));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(source(line).unwrap(), "[2001:db8::1]:1");
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 whatever\r\n"), None);
    }

    #[test]
    fn version_1_mistakes_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883 x\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 056324 1883\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 1883\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 1883\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  1 1883\r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.1 1 1883\r\n",
            "PROXY TCP6 192.0.2.1 2001:db8::2 1 1883\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 1883\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(ProxyHeader::parse(line.as_bytes()), Err(ProxyHeaderError::Line), "{line}");
        }
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(ProxyHeader::parse(&endless), Err(ProxyHeaderError::Line));
    }

    #[test]
    fn version_2_gives_the_source_and_skips_fields() {
        let mut body = vec![192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 0x07, 0x5B];
        assert_eq!(source(&v2(PROXY, TCP_OVER_IPV4, &body)).unwrap(), "192.0.2.1:56324");
        body.extend([0x04, 0, 2, 0, 0]);
        let bytes = v2(PROXY, TCP_OVER_IPV4, &body);
        assert_eq!(ProxyHeader::parse(&bytes).unwrap().unwrap().length, bytes.len());
        body.extend([0x04, 0, 3, 0, 0]);
        let overrun = v2(PROXY, TCP_OVER_IPV4, &body);
        assert_eq!(ProxyHeader::parse(&overrun), Err(ProxyHeaderError::Short));

        let mut body = [0_u8; 36];
        body[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        body[32..34].copy_from_slice(&9_u16.to_be_bytes());
        assert_eq!(source(&v2(PROXY, TCP_OVER_IPV6, &body)).unwrap(), "[2001:db8::1]:9");
        assert_eq!(source(&v2(PROXY, UNIX_STREAM, &[0; 216])), None);
        assert_eq!(source(&v2(PROXY, UNSPEC, &[1, 2, 3])), None);
        assert_eq!(source(&v2(LOCAL, 0, &[])), None);
    }

    #[test]
    fn version_2_mistakes_are_refused() {
        for (bytes, error) in [
            (v2(0x11, TCP_OVER_IPV4, &[0; 12]), ProxyHeaderError::Command),
            (v2(0x22, TCP_OVER_IPV4, &[0; 12]), ProxyHeaderError::Command),
            (v2(PROXY, 0x12, &[0; 12]), ProxyHeaderError::Family),
            (v2(PROXY, TCP_OVER_IPV4, &[0; 11]), ProxyHeaderError::Short),
            (v2(PROXY, TCP_OVER_IPV6, &[0; 35]), ProxyHeaderError::Short),
            (v2(PROXY, UNIX_STREAM, &[0; 215]), ProxyHeaderError::Short),
            (v2(PROXY, TCP_OVER_IPV4, &[0; 14]), ProxyHeaderError::Short),
        ] {
            assert_eq!(ProxyHeader::parse(&bytes), Err(error));
        }
        let announced = [SIGNATURE_V2, &[PROXY, TCP_OVER_IPV4, 0xFF, 0xFF]].concat();
        assert_eq!(ProxyHeader::parse(&announced), Err(ProxyHeaderError::TooLong(16 + 0xFFFF)));
    }

    #[test]
    fn something_else_is_refused_at_its_first_wrong_byte() {
        assert_eq!(ProxyHeader::parse(b"\x10"), Err(ProxyHeaderError::NoSignature));
        assert_eq!(ProxyHeader::parse(b"PROXX"), Err(ProxyHeaderError::NoSignature));
        assert_eq!(ProxyHeader::parse(b""), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn every_proper_prefix_of_a_header_asks_for_more(
            ports in proptest::prelude::any::<(u16, u16)>(), text: bool, field: Vec<u8>,
        ) {
            let mut bytes = if text {
                format!("PROXY TCP4 192.0.2.1 192.0.2.2 {} {}\r\n", ports.0, ports.1).into_bytes()
            } else {
                let mut body = vec![192, 0, 2, 1, 192, 0, 2, 2];
                body.extend(ports.0.to_be_bytes());
                body.extend(ports.1.to_be_bytes());
                body.push(0x04);
                body.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
                body.extend(&field);
                v2(PROXY, TCP_OVER_IPV4, &body)
            };
            for end in 0..bytes.len() {
                proptest::prop_assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(None));
            }
            let expected = ProxyHeader {
                length: bytes.len(),
                source: Some(SocketAddr::from(([192, 0, 2, 1], ports.0))),
            };
            proptest::prop_assert_eq!(ProxyHeader::parse(&bytes), Ok(Some(expected)));
            bytes.extend(&field);
            proptest::prop_assert_eq!(ProxyHeader::parse(&bytes), Ok(Some(expected)));
        }
    }
}
