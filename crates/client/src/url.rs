//! Broker addresses: `mqtt://user:password@host:port`, `unix:///path` and the like.

use crate::Error;

/// Where a broker listens and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The transport.
    pub transport: Transport,
    /// Host name or address without brackets; the socket's path for [`Transport::Unix`].
    pub host: String,
    /// Port; 0 for [`Transport::Unix`].
    pub port: u16,
    /// Request path of a WebSocket, with its leading slash; else empty.
    pub path: String,
    /// User name in the address.
    pub username: Option<String>,
    /// Password in the address.
    pub password: Option<String>,
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `mqtt://` or `tcp://`, port 1883.
    Tcp,
    /// `mqtts://`, `tls://` or `ssl://`, port 8883.
    Tls,
    /// `ws://`, port 80, path `/mqtt`.
    Ws,
    /// `wss://`, port 443, path `/mqtt`.
    Wss,
    /// `unix://` and the path of a socket.
    Unix,
}

impl Endpoint {
    /// Reads an address. Without a scheme it is `mqtt://`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        parse(url).map_err(|why| Error::Url { url: without_password(url), why })
    }
}

impl std::fmt::Display for Endpoint {
    /// The address without user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, path, .. } = self;
        let scheme = match self.transport {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Unix => return write!(f, "unix://{host}"),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

fn parse(url: &str) -> Result<Endpoint, &'static str> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("mqtt", url));
    let (transport, default_port) = match scheme {
        "mqtt" | "tcp" => (Transport::Tcp, 1883),
        "mqtts" | "tls" | "ssl" => (Transport::Tls, 8883),
        "ws" => (Transport::Ws, 80),
        "wss" => (Transport::Wss, 443),
        "unix" => (Transport::Unix, 0),
        _ => return Err("unknown scheme"),
    };
    let mut endpoint = Endpoint {
        transport,
        host: String::new(),
        port: default_port,
        path: String::new(),
        username: None,
        password: None,
    };
    if transport == Transport::Unix {
        if rest.is_empty() {
            return Err("no path of a socket");
        }
        endpoint.host = rest.to_owned();
        return Ok(endpoint);
    }
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    endpoint.path = match (transport, path) {
        (Transport::Ws | Transport::Wss, "" | "/") => "/mqtt".to_owned(),
        (Transport::Ws | Transport::Wss, path) => path.to_owned(),
        (_, "" | "/") => String::new(),
        _ => return Err("only WebSocket addresses have a path"),
    };
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((user_info, host_port)) => (Some(user_info), host_port),
        None => (None, authority),
    };
    if let Some(user_info) = user_info {
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        endpoint.username = Some(percent_decode(user)?);
        endpoint.password = password.map(percent_decode).transpose()?;
    }
    let (host, port) = split_port(host_port)?;
    if host.is_empty() {
        return Err("no host");
    }
    endpoint.host = host.to_owned();
    if let Some(port) = port {
        endpoint.port = port.parse().map_err(|_| "port is not a number from 1 to 65535")?;
    }
    Ok(endpoint)
}

fn split_port(host_port: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = host_port.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("bracket of an IPv6 address not closed")?;
        if host.contains('[') {
            return Err("a bracket within the brackets of an IPv6 address");
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("something else than a port behind the bracket"),
        };
    }
    match host_port.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("IPv6 addresses stand in brackets"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((host_port, None)),
    }
}

fn percent_decode(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "percent sign without two hexadecimal digits";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>().ok_or(BAD)?;
        let digits = std::str::from_utf8(digits).map_err(|_| BAD)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BAD)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| "user or password is not UTF-8")
}

/// For error messages, which end in logs.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{host}"),
            None => format!("…@{host}"),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_scheme() {
        for (url, shown) in [
            ("localhost", "mqtt://localhost:1883"),
            ("localhost:2000", "mqtt://localhost:2000"),
            ("tcp://10.0.0.1", "mqtt://10.0.0.1:1883"),
            ("mqtts://example.org/", "mqtts://example.org:8883"),
            ("ws://h", "ws://h:80/mqtt"),
            ("wss://h:8084/socket?x=1", "wss://h:8084/socket?x=1"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("unix:///run/agentmq.sock", "unix:///run/agentmq.sock"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn reads_user_and_password() {
        let endpoint = Endpoint::parse("mqtt://a%40b:p%3Aq@h").unwrap();
        assert_eq!(endpoint.username.as_deref(), Some("a@b"));
        assert_eq!(endpoint.password.as_deref(), Some("p:q"));
        assert!(!endpoint.to_string().contains("p:q"));
    }

    #[test]
    fn refuses_what_is_no_address_and_hides_the_password() {
        for url in
            ["", "http://h", "mqtt://", "h:port", "h:1:2", "[::1", "[[]", "unix://", "mqtt://h/x"]
        {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
        let error = Endpoint::parse("mqtt://me:secret@h:x").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics_and_prints_what_it_reads(url in "[a-z:/@\\[\\]%0-9é]{0,24}") {
            if let Ok(endpoint) = Endpoint::parse(&url) {
                let bare = Endpoint { username: None, password: None, ..endpoint };
                prop_assert_eq!(Endpoint::parse(&bare.to_string()).unwrap(), bare);
            }
        }
    }
}
