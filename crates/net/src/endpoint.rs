//! Listener URLs: their schemes, and how host, port and path are read and written.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::NetError;

/// Where a listener listens, and in which dress. Written as a URL: `mqtt://127.0.0.1:1883`,
/// `wss://[::]:8084/mqtt`, `unix:///run/agentmq.sock`.
///
/// A missing port is the scheme's usual one (1883, 8883, 8083, 8084); port 0 asks the system for a
/// free one. A missing WebSocket path is `/mqtt`. `[::]` means every IPv6 address and no IPv4
/// address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Plain TCP, `mqtt://`.
    Mqtt {
        /// A host name or address, IPv6 without brackets.
        host: String,
        /// The TCP port, 0 for any free one.
        port: u16,
    },
    /// TLS over TCP, `mqtts://`.
    Mqtts {
        /// A host name or address, IPv6 without brackets.
        host: String,
        /// The TCP port, 0 for any free one.
        port: u16,
    },
    /// WebSocket, `ws://`.
    Ws {
        /// A host name or address, IPv6 without brackets.
        host: String,
        /// The TCP port, 0 for any free one.
        port: u16,
        /// The only path that is answered; begins with `/`.
        path: String,
    },
    /// WebSocket over TLS, `wss://`.
    Wss {
        /// A host name or address, IPv6 without brackets.
        host: String,
        /// The TCP port, 0 for any free one.
        port: u16,
        /// The only path that is answered; begins with `/`.
        path: String,
    },
    /// A Unix stream socket, `unix://`.
    Unix {
        /// The socket file; absolute when the URL has three slashes.
        path: PathBuf,
    },
}

impl Endpoint {
    /// Whether the bytes are encrypted by TLS.
    #[must_use]
    pub const fn uses_tls(&self) -> bool {
        matches!(self, Self::Mqtts { .. } | Self::Wss { .. })
    }

    /// Whether the bytes travel in WebSocket frames.
    #[must_use]
    pub const fn uses_websocket(&self) -> bool {
        matches!(self, Self::Ws { .. } | Self::Wss { .. })
    }

    /// The TCP port, none for a Unix socket.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Mqtt { port, .. }
            | Self::Mqtts { port, .. }
            | Self::Ws { port, .. }
            | Self::Wss { port, .. } => Some(*port),
            Self::Unix { .. } => None,
        }
    }

    /// The host, none for a Unix socket. IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Mqtt { host, .. }
            | Self::Mqtts { host, .. }
            | Self::Ws { host, .. }
            | Self::Wss { host, .. } => Some(host),
            Self::Unix { .. } => None,
        }
    }

    /// The same endpoint on another port: what port 0 became. A Unix socket stays as it is.
    #[must_use]
    pub fn with_port(mut self, bound: u16) -> Self {
        match &mut self {
            Self::Mqtt { port, .. }
            | Self::Mqtts { port, .. }
            | Self::Ws { port, .. }
            | Self::Wss { port, .. } => *port = bound,
            Self::Unix { .. } => {}
        }
        self
    }

    const fn scheme(&self) -> &'static str {
        match self {
            Self::Mqtt { .. } => "mqtt",
            Self::Mqtts { .. } => "mqtts",
            Self::Ws { .. } => "ws",
            Self::Wss { .. } => "wss",
            Self::Unix { .. } => "unix",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, path) = match self {
            Self::Mqtt { host, port } | Self::Mqtts { host, port } => (host, port, ""),
            Self::Ws { host, port, path } | Self::Wss { host, port, path } => {
                (host, port, path.as_str())
            }
            Self::Unix { path } => return write!(f, "unix://{}", path.display()),
        };
        let scheme = self.scheme();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

impl FromStr for Endpoint {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        parse(text).map_err(|(cause, fix)| NetError::Endpoint {
            text: text.to_owned(),
            cause,
            fix: fix.to_owned(),
        })
    }
}

type Complaint = (String, &'static str);

fn parse(text: &str) -> Result<Endpoint, Complaint> {
    const SCHEMES: &str = "use mqtt://, mqtts://, ws://, wss:// or unix://";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err((
            "it has no scheme".to_owned(),
            "write for example mqtt://127.0.0.1:1883 or unix:///run/agentmq.sock",
        ));
    };
    if scheme == "unix" {
        if rest.is_empty() {
            return Err(("the path is missing".to_owned(), "write unix:///run/agentmq.sock"));
        }
        return Ok(Endpoint::Unix { path: PathBuf::from(rest) });
    }
    let default_port = match scheme {
        "mqtt" => 1883,
        "mqtts" => 8883,
        "ws" => 8083,
        "wss" => 8084,
        "tcp" => return Err(("the scheme `tcp` is not known".to_owned(), "write mqtt://")),
        "ssl" | "tls" => {
            return Err((format!("the scheme `{scheme}` is not known"), "write mqtts://"));
        }
        other => return Err((format!("the scheme `{other}` is not known"), SCHEMES)),
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (host, port) = parse_authority(authority, default_port)?;
    match scheme {
        "ws" => Ok(Endpoint::Ws { host, port, path: parse_path(path)? }),
        "wss" => Ok(Endpoint::Wss { host, port, path: parse_path(path)? }),
        _ if !matches!(path, "" | "/") => Err((
            format!("{scheme}:// has no path, but `{path}` follows the port"),
            "remove it, or use ws:// or wss://",
        )),
        "mqtts" => Ok(Endpoint::Mqtts { host, port }),
        _ => Ok(Endpoint::Mqtt { host, port }),
    }
}

fn parse_authority(authority: &str, default_port: u16) -> Result<(String, u16), Complaint> {
    if authority.contains('@') {
        return Err((
            "it holds a user name or password".to_owned(),
            "remove what stands before the @: a listener does not log in",
        ));
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(("the bracket [ is never closed".to_owned(), "write [::1]:1883"));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err((
                format!("`{host}` is not an IPv6 address"),
                "put only an IPv6 address in brackets",
            ));
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => {
                return Err((
                    format!("`{after}` follows the bracket"),
                    "write a colon and the port after ]",
                ));
            }
        }
    } else {
        if authority.matches(':').count() > 1 {
            return Err((
                "it looks like an IPv6 address without brackets".to_owned(),
                "put the address in brackets: [::1]:1883",
            ));
        }
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err((
            "the host is missing".to_owned(),
            "write 127.0.0.1 for this machine only, 0.0.0.0 or [::] for every IPv4 or IPv6 address",
        ));
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if !host.bytes().all(allowed) {
        return Err((
            format!("`{host}` is not a host name"),
            "use letters, digits, dots and hyphens, or an address",
        ));
    }
    let port = match port {
        None => default_port,
        // `u16::from_str` would take a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_err(|_| bad_port(port))?
        }
        Some(port) => return Err(bad_port(port)),
    };
    Ok((host.to_owned(), port))
}

fn bad_port(port: &str) -> Complaint {
    (format!("`{port}` is not a port"), "write a number from 0 (any free port) to 65535")
}

fn parse_path(path: &str) -> Result<String, Complaint> {
    if path.is_empty() {
        return Ok("/mqtt".to_owned());
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
        return Err((
            format!(
                "the path `{path}` holds a space, a query, a fragment or a character beyond ASCII"
            ),
            "use a plain path such as /mqtt",
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn urls_get_their_default_ports_and_paths() {
        for (text, shown) in [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("mqtts://broker.example", "mqtts://broker.example:8883"),
            ("ws://localhost", "ws://localhost:8083/mqtt"),
            ("wss://[::1]/agents", "wss://[::1]:8084/agents"),
            ("mqtt://[::]:0", "mqtt://[::]:0"),
            ("mqtt://localhost:18830/", "mqtt://localhost:18830"),
            ("ws://localhost:1/", "ws://localhost:1/"),
            ("unix:///run/agentmq.sock", "unix:///run/agentmq.sock"),
            ("unix://agentmq.sock", "unix://agentmq.sock"),
        ] {
            let endpoint = parsed(text);
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(parsed(shown), endpoint);
        }
    }

    #[test]
    fn a_wrong_url_names_the_cause_and_the_fix() {
        for (text, cause, fix) in [
            ("127.0.0.1:1883", "no scheme", "mqtt://"),
            ("tcp://127.0.0.1", "`tcp`", "mqtt://"),
            ("ssl://127.0.0.1", "`ssl`", "mqtts://"),
            ("http://127.0.0.1", "`http`", "ws://"),
            ("mqtt://", "host is missing", "127.0.0.1"),
            ("mqtt://:1883", "host is missing", "0.0.0.0"),
            ("mqtt://::1:1883", "without brackets", "[::1]"),
            ("mqtt://[::1:1883", "never closed", "[::1]:1883"),
            ("mqtt://[10.0.0.1]", "not an IPv6 address", "brackets"),
            ("mqtt://[::1]1883", "follows the bracket", "colon"),
            ("mqtt://h:65536", "`65536` is not a port", "65535"),
            ("mqtt://h:+1", "`+1` is not a port", "65535"),
            ("mqtt://h/mqtt", "has no path", "ws://"),
            ("mqtt://user:pw@h", "user name", "remove"),
            ("mqtt://a b", "not a host name", "letters"),
            ("ws://h/a?b", "query", "/mqtt"),
            ("unix://", "path is missing", "unix:///"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert!(error.contains(cause), "{error}");
            assert!(error.contains(fix), "{error}");
        }
    }

    #[test]
    fn the_bound_port_replaces_port_zero() {
        assert_eq!(parsed("mqtt://h:0").with_port(7).port(), Some(7));
        assert_eq!(parsed("unix:///x").with_port(7).port(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_explains_itself(text in "(mqtts?|wss?|unix)?(://)?.{0,40}") {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => proptest::prop_assert_eq!(parsed(&endpoint.to_string()), endpoint),
                Err(error) => proptest::prop_assert!(error.to_string().contains(';')),
            }
        }
    }
}
