//! The parts of a listener's URL that the configuration's own rules need.

use std::net::IpAddr;

/// How bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    pub(crate) const fn uses_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    pub(crate) const fn uses_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    const fn usual_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 8083,
            Self::Wss => 8084,
            Self::Unix => 0,
        }
    }
}

/// A listener's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerAddress {
    pub(crate) scheme: Scheme,
    /// A name or address, IPv6 without brackets; the path of a Unix socket.
    pub(crate) host: String,
    /// 0: any free one.
    pub(crate) port: u16,
}

impl ListenerAddress {
    /// Takes a URL apart, or says what is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("it has no scheme: write for example mqtt://127.0.0.1:1883".into());
        };
        let scheme = match scheme {
            "mqtt" => Scheme::Mqtt,
            "mqtts" => Scheme::Mqtts,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            "unix" => Scheme::Unix,
            "tcp" => return Err("its scheme is not known: write mqtt://".into()),
            "ssl" | "tls" => return Err("its scheme is not known: write mqtts://".into()),
            _ => return Err(format!("its scheme is not known: write {SCHEMES}")),
        };
        if scheme == Scheme::Unix {
            if rest.is_empty() || rest.contains('\0') {
                return Err("it has no path: write for example unix:///run/agentmq.sock".into());
            }
            return Ok(Self { scheme, host: rest.to_owned(), port: 0 });
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if !scheme.uses_websocket() && !matches!(path, "" | "/") {
            return Err("it has a path, which only ws:// and wss:// have: remove it".into());
        }
        if authority.contains('@') {
            return Err("it holds a user name: remove what stands before the @".into());
        }
        let (host, port) = host_and_port(authority, scheme)?;
        Ok(Self { scheme, host, port })
    }

    /// Whether only this machine reaches it. Of names only `localhost` counts: what another name
    /// stands for is up to the resolver.
    pub(crate) fn is_local(&self) -> bool {
        if self.scheme == Scheme::Unix || self.host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Whether every user of this machine reaches it, and nobody else. A Unix socket has a mode.
    pub(crate) fn is_loopback(&self) -> bool {
        self.scheme != Scheme::Unix && self.is_local()
    }

    /// Whether both would claim the same socket. Names are not resolved.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        let unix = self.scheme == Scheme::Unix;
        unix == (other.scheme == Scheme::Unix)
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
            && (unix || self.port != 0)
    }
}

fn host_and_port(authority: &str, scheme: Scheme) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err("the bracket [ is never closed: write for example [::1]:1883".into());
        };
        if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
            return Err("between the brackets is no IPv6 address".into());
        }
        let port = after.strip_prefix(':');
        if port.is_none() && !after.is_empty() {
            return Err("after the bracket ] comes a colon and the port".into());
        }
        (host, port)
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: write [::1]:1883".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err("it has no host: write 127.0.0.1, or 0.0.0.0 for every address".into());
    }
    if host.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("its host holds a space or a control character".into());
    }
    let port = match port {
        None => scheme.usual_port(),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| PORT.to_owned())?
        }
        Some(_) => return Err(PORT.into()),
    };
    Ok((host.to_owned(), port))
}

const SCHEMES: &str = "mqtt://, mqtts://, ws://, wss:// or unix://";
const PORT: &str = "its port is not a number from 0 (any free one) to 65535";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, scheme, host, port) in [
            ("mqtt://127.0.0.1:1883", Scheme::Mqtt, "127.0.0.1", 1883),
            ("mqtt://127.0.0.1:0", Scheme::Mqtt, "127.0.0.1", 0),
            ("mqtt://localhost", Scheme::Mqtt, "localhost", 1883),
            ("mqtts://[::]", Scheme::Mqtts, "::", 8883),
            ("ws://[::1]:80/mqtt", Scheme::Ws, "::1", 80),
            ("wss://broker.example", Scheme::Wss, "broker.example", 8084),
            ("unix:///run/a.sock", Scheme::Unix, "/run/a.sock", 0),
        ] {
            let expected = ListenerAddress { scheme, host: host.into(), port };
            assert_eq!(ListenerAddress::parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_told_what_to_write() {
        for (url, hint) in [
            ("", "no scheme"),
            ("127.0.0.1:1883", "no scheme"),
            ("tcp://127.0.0.1", "write mqtt://"),
            ("ssl://127.0.0.1", "write mqtts://"),
            ("http://127.0.0.1", "wss://"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://::1", "in brackets"),
            ("mqtt://[::1", "never closed"),
            ("mqtt://[x]:1", "no IPv6 address"),
            ("mqtt://[::1]1", "a colon"),
            ("mqtt://a:b", "not a number"),
            ("mqtt://a:+1", "not a number"),
            ("mqtt://a:65536", "not a number"),
            ("mqtt://a:", "not a number"),
            ("mqtt://a/b", "a path"),
            ("mqtt://a b", "a space"),
            ("mqtt://user@a", "user name"),
            ("unix://", "no path"),
        ] {
            let message = ListenerAddress::parse(url).expect_err(url);
            assert!(message.contains(hint), "{url}: {message}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let local = |url| ListenerAddress::parse(url).unwrap().is_local();
        for url in [
            "mqtt://127.0.0.1",
            "mqtt://127.9.9.9",
            "ws://[::1]",
            "mqtt://LocalHost",
            "mqtt://[::ffff:127.0.0.1]",
            "unix:///a",
        ] {
            assert!(local(url), "{url}");
            let is_loopback = ListenerAddress::parse(url).unwrap().is_loopback();
            assert_eq!(is_loopback, !url.starts_with("unix:"), "{url}");
        }
        for url in [
            "mqtt://0.0.0.0",
            "mqtt://[::]",
            "mqtt://10.0.0.1",
            "mqtt://broker",
            "mqtt://127.0.0.1.example",
            "mqtt://[::ffff:10.0.0.1]",
            "mqtt://localhost.example",
        ] {
            assert!(!local(url), "{url}");
        }
    }

    #[test]
    fn two_listeners_cannot_share_a_socket() {
        let collide = |a, b| {
            let parse = |url| ListenerAddress::parse(url).unwrap();
            parse(a).collides_with(&parse(b))
        };
        assert!(collide("mqtt://127.0.0.1:1883", "ws://127.0.0.1:1883"));
        assert!(collide("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"));
        assert!(collide("unix:///a", "unix:///a"));
        assert!(!collide("unix:///a", "unix:///b"));
        assert!(!collide("mqtt://127.0.0.1:0", "mqtt://127.0.0.1:0"));
        assert!(!collide("mqtt://127.0.0.1", "mqtt://[::1]"));
    }
}
