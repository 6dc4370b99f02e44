//! `[[listeners]]`: the keys of a listener, its TLS files among them, and the rules between them.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::quoted;
use crate::key::{Field, Reload, Target, field, fitting};
use crate::listener_address::{ListenerAddress, Scheme};
use crate::value::{Allowed, Setting, Value};

/// One `[[listeners]]`: where clients arrive, and what they must bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerConfig {
    /// `mqtt://`, `mqtts://`, `ws://`, `wss://` or `unix://`; port 0 takes any free one.
    pub url: String,
    /// Let clients in that do not authenticate although other machines reach the address.
    pub allow_anonymous: bool,
    /// Connections at most; 0: as many as `limits.connections`.
    pub max_connections: u32,
    /// Say nothing of who has published a message, where messages of others do.
    pub hide_publishers: bool,
    /// Take all who come for agents, whatever they claim (`[agents]`).
    pub agents: bool,
    /// Networks and addresses whose connections begin with a PROXY header, which is believed.
    pub proxy_from: Vec<String>,
    /// Web pages that may connect by WebSocket; empty: those of the same host; `*`: all.
    pub allowed_origins: Vec<String>,
    /// Permissions of the socket file; unset: 0600.
    pub mode: Option<u32>,
    /// Certificates, for `mqtts://` and `wss://`.
    pub tls: Option<TlsConfig>,
}

/// Certificates of a listener. The files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Authorities of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub require_client_cert: bool,
}

impl ListenerConfig {
    /// A listener at `url` with the defaults of everything else.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Permissions of the socket file of a `unix://` listener.
    #[must_use]
    pub fn socket_mode(&self) -> u32 {
        self.mode.unwrap_or(PRIVATE)
    }

    /// Whether other machines' clients come in without proof or consent: then it is refused, unless
    /// the broker `authenticates` clients.
    #[must_use]
    pub fn lets_strangers_in(&self, authenticates: bool) -> bool {
        let authenticates =
            authenticates || self.tls.as_ref().is_some_and(|tls| tls.require_client_cert);
        let public = ListenerAddress::parse(&self.url).is_ok_and(|address| !address.is_local());
        public && !authenticates && !self.allow_anonymous
    }

    /// Whether all clients on this machine come in without proof, and only they.
    pub(crate) fn lets_neighbours_in(&self) -> bool {
        let loopback = ListenerAddress::parse(&self.url).is_ok_and(|it| it.is_loopback());
        loopback && self.allow_anonymous
    }

    /// Whether it is a Unix socket, which has a mode.
    pub(crate) fn is_unix(&self) -> bool {
        ListenerAddress::parse(&self.url).is_ok_and(|it| it.scheme == Scheme::Unix)
    }

    /// Every rule that this listener breaks, as key and message.
    pub(crate) fn problems(&self, authenticates: bool) -> Vec<(&'static str, String)> {
        if self.url.is_empty() {
            let why = "the listener has no url: add url = \"mqtt://127.0.0.1:1883\"";
            return vec![("", why.into())];
        }
        let address = match ListenerAddress::parse(&self.url) {
            Ok(address) => address,
            Err(why) => {
                return vec![("url", format!("{} is no address: {why}", quoted(&self.url)))];
            }
        };
        let mut problems = self.misplaced(address.scheme);
        problems.extend(self.certificate_problems(address.scheme));
        if self.lets_strangers_in(authenticates) {
            let why = format!(
                "{} can be reached from other machines and clients need not authenticate: set \
                 access.users or access.tokens.keys, or to accept that, add to this listener: \
                 allow_anonymous = true",
                quoted(&self.url)
            );
            problems.push(("url", why));
        }
        problems
    }

    fn misplaced(&self, scheme: Scheme) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut only = |wrong: bool, key, schemes: &str| {
            if wrong {
                problems.push((key, format!("{key} is only for {schemes}: remove it")));
            }
        };
        let unix = scheme == Scheme::Unix;
        only(self.mode.is_some() && !unix, "mode", "unix://");
        only(
            !self.allowed_origins.is_empty() && !scheme.uses_websocket(),
            "allowed_origins",
            "ws:// and wss://",
        );
        only(!self.proxy_from.is_empty() && unix, "proxy_from", "listeners with a port");
        if self.tls.is_some() && !scheme.uses_tls() {
            let right = if scheme == Scheme::Ws { "wss://" } else { "mqtts://" };
            problems.push(("tls", format!("the url does not ask for TLS: write {right}")));
        }
        problems
    }

    fn certificate_problems(&self, scheme: Scheme) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !scheme.uses_tls() {
            return problems;
        }
        let tls = self.tls.clone().unwrap_or_default();
        for (path, key, example) in
            [(&tls.cert, "tls.cert", "server.pem"), (&tls.key, "tls.key", "server.key")]
        {
            if path.as_os_str().is_empty() {
                problems.push((key, format!("TLS needs {key}: add {key} = {example:?}")));
            }
        }
        if tls.require_client_cert && tls.client_ca.is_none() {
            let why = "nothing says which client certificates are good: add tls.client_ca";
            problems.push(("tls.require_client_cert", why.into()));
        }
        problems
    }

    /// Keys of a listener, in the order of the file.
    pub(crate) fn fields() -> &'static [Field<Self>] {
        FIELDS
    }

    pub(crate) fn find(key: &str) -> Option<&'static Field<Self>> {
        FIELDS.iter().find(|field| field.name == key)
    }
}

impl Target for ListenerConfig {
    fn allowed(key: &str) -> Option<Allowed> {
        Self::find(key).map(|field| field.allowed)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        Self::find(key).map_or_else(|| Err("is no key".into()), |field| (field.set)(self, value))
    }

    fn names() -> Vec<String> {
        FIELDS.iter().map(|field| field.name.to_owned()).collect()
    }
}

/// Checks an item of `proxy_from`: an address, or a network in CIDR notation (RFC 4632) without
/// stray bits.
fn check_network(text: &str) -> Result<(), String> {
    let wrong = || format!("{} is no network: write for example 10.0.0.0/8", quoted(text));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let Some(prefix) = prefix else { return Ok(()) };
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
    let stray = match address {
        IpAddr::V4(address) if prefix <= 32 => {
            address.to_bits().checked_shl(prefix).unwrap_or(0) != 0
        }
        IpAddr::V6(address) if prefix <= 128 => {
            address.to_bits().checked_shl(prefix).unwrap_or(0) != 0
        }
        _ => return Err(wrong()),
    };
    if stray { Err(format!("{} has bits set beyond its prefix", quoted(text))) } else { Ok(()) }
}

fn set_networks(listener: &mut ListenerConfig, value: Value) -> Result<(), String> {
    let networks: Vec<String> = fitting(value)?;
    networks.iter().try_for_each(|text| check_network(text))?;
    listener.proxy_from = networks;
    Ok(())
}

fn set_origins(listener: &mut ListenerConfig, value: Value) -> Result<(), String> {
    let origins: Vec<String> = fitting(value)?;
    let good = |origin: &&String| *origin == "*" || origin.split_once("://").is_some();
    if let Some(wrong) = origins.iter().find(|origin| !good(origin)) {
        let shown = quoted(wrong);
        return Err(format!("{shown} is no origin: write for example https://app.example, or *"));
    }
    listener.allowed_origins = origins;
    Ok(())
}

fn set_mode(listener: &mut ListenerConfig, value: Value) -> Result<(), String> {
    let digits: String = fitting(value)?;
    let mode = match u32::from_str_radix(&digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => mode,
        _ => return Err(format!("{} are no permissions: write \"0660\"", quoted(&digits))),
    };
    listener.mode = Some(mode);
    Ok(())
}

/// A field of [`TlsConfig`], which comes into being with its first key.
macro_rules! tls_field {
    ($name:literal, $allowed:expr, get: |$tls:ident| $get:expr, set: $field:ident) => {
        Field {
            name: $name,
            allowed: $allowed,
            reload: Reload::NewConnections,
            get: |listener| listener.tls.as_ref().and_then(|$tls| $get),
            set: |listener, value| {
                let value = tls_value(value)?;
                listener.tls.get_or_insert_default().$field = value;
                Ok(())
            },
        }
    };
}

fn tls_value<T: Setting>(value: Value) -> Result<T, String> {
    if matches!(&value, Value::Text(path) if path.is_empty()) {
        return Err("the name of a file is missing".into());
    }
    fitting(value)
}

/// Permissions of a socket file that only the broker's own user may open.
const PRIVATE: u32 = 0o600;

static FIELDS: &[Field<ListenerConfig>] = &[
    field!(url, Allowed::Text, Restart),
    field!(allow_anonymous, Allowed::Boolean, AtOnce),
    field!(max_connections, Allowed::Integer { minimum: 0, maximum: u32::MAX as u64 }, AtOnce),
    field!(hide_publishers, Allowed::Boolean, AtOnce),
    field!(agents, Allowed::Boolean, NewConnections),
    Field {
        name: "proxy_from",
        allowed: Allowed::List,
        reload: Reload::NewConnections,
        get: |listener| Some(listener.proxy_from.to_value()),
        set: set_networks,
    },
    Field {
        name: "allowed_origins",
        allowed: Allowed::List,
        reload: Reload::NewConnections,
        get: |listener| Some(listener.allowed_origins.to_value()),
        set: set_origins,
    },
    Field {
        name: "mode",
        allowed: Allowed::Text,
        reload: Reload::Restart,
        get: |listener| listener.mode.map(|mode| Value::Text(format!("{mode:04o}"))),
        set: set_mode,
    },
    tls_field!("tls.cert", Allowed::Text, get: |tls| Some(tls.cert.to_value()), set: cert),
    tls_field!("tls.key", Allowed::Text, get: |tls| Some(tls.key.to_value()), set: key),
    tls_field!(
        "tls.client_ca",
        Allowed::Text,
        get: |tls| tls.client_ca.as_ref().map(Setting::to_value),
        set: client_ca
    ),
    tls_field!(
        "tls.require_client_cert",
        Allowed::Boolean,
        get: |tls| Some(tls.require_client_cert.to_value()),
        set: require_client_cert
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn set(listener: &mut ListenerConfig, key: &str, value: &str) -> Result<(), String> {
        let allowed = ListenerConfig::allowed(key).expect("is a key");
        let value = toml::de::DeValue::parse(value).unwrap();
        listener.set(key, allowed.read(value.get_ref())?)
    }

    fn listener(settings: &[(&str, &str)]) -> ListenerConfig {
        let mut listener = ListenerConfig::default();
        for (key, value) in settings {
            assert_eq!(set(&mut listener, key, value), Ok(()), "{key}");
        }
        listener
    }

    fn keys_with_problems(settings: &[(&str, &str)]) -> Vec<&'static str> {
        listener(settings).problems(false).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn every_key_is_set_and_read_back() {
        let mut listener = ListenerConfig::default();
        for (key, value) in [
            ("url", "\"wss://127.0.0.1:0\""),
            ("allow_anonymous", "true"),
            ("max_connections", "7"),
            ("hide_publishers", "true"),
            ("agents", "true"),
            ("proxy_from", "[\"10.0.0.0/8\", \"::1\"]"),
            ("allowed_origins", "[\"https://app.example\", \"*\"]"),
            ("mode", "\"0660\""),
            ("tls.cert", "\"a.pem\""),
            ("tls.key", "\"a.key\""),
            ("tls.client_ca", "\"ca.pem\""),
            ("tls.require_client_cert", "true"),
        ] {
            assert_eq!(set(&mut listener, key, value), Ok(()), "{key}");
            let field = ListenerConfig::find(key).unwrap();
            assert_eq!(
                (field.get)(&listener).map(|value| value.to_string()).as_deref(),
                Some(value)
            );
        }
        assert_eq!(listener.socket_mode(), 0o660);
        assert_eq!(ListenerConfig::default().socket_mode(), 0o600);
    }

    #[test]
    fn values_with_a_form_of_their_own_are_checked() {
        for (key, value) in [
            ("proxy_from", "['10.1.0.0/8']"),
            ("proxy_from", "['10.0.0.0/33']"),
            ("proxy_from", "['fd00::/129']"),
            ("proxy_from", "['10.0.0.0/+8']"),
            ("proxy_from", "['proxy.example']"),
            ("allowed_origins", "['app.example']"),
            ("mode", "'0888'"),
            ("mode", "'07777'"),
            ("mode", "'+77'"),
            ("mode", "''"),
            ("tls.cert", "''"),
            ("tls.client_ca", "''"),
        ] {
            let mut listener = ListenerConfig::default();
            assert!(set(&mut listener, key, value).is_err(), "{key} = {value}");
            assert_eq!(listener, ListenerConfig::default(), "{key} = {value}");
        }
        for value in ["['0.0.0.0/0']", "['::/0']", "['10.0.0.1']", "['10.0.0.1/32']", "['::1/128']"]
        {
            assert_eq!(set(&mut ListenerConfig::default(), "proxy_from", value), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_public_address_needs_consent_while_nobody_authenticates() {
        let public = ("url", "'mqtt://0.0.0.0:1883'");
        assert_eq!(keys_with_problems(&[public]), ["url"]);
        assert_eq!(keys_with_problems(&[public, ("allow_anonymous", "true")]), [""; 0]);
        assert_eq!(keys_with_problems(&[("url", "'mqtt://127.0.0.1:0'")]), [""; 0]);
        assert_eq!(keys_with_problems(&[("url", "'unix:///run/a'")]), [""; 0]);
        let message = &listener(&[public]).problems(false)[0].1;
        assert!(message.ends_with("add to this listener: allow_anonymous = true"), "{message}");
    }

    #[test]
    fn a_required_client_certificate_authenticates() {
        let tls = [
            ("url", "'mqtts://0.0.0.0'"),
            ("tls.cert", "'a.pem'"),
            ("tls.key", "'a.key'"),
            ("tls.client_ca", "'ca.pem'"),
        ];
        assert_eq!(keys_with_problems(&tls), ["url"], "it may come without one");
        let mut required = tls.to_vec();
        required.push(("tls.require_client_cert", "true"));
        assert_eq!(keys_with_problems(&required), [""; 0]);
    }

    #[test]
    fn certificates_stand_where_tls_is_and_are_complete() {
        assert_eq!(keys_with_problems(&[("url", "'wss://127.0.0.1'")]), ["tls.cert", "tls.key"]);
        let plain = [("url", "'mqtt://127.0.0.1'"), ("tls.cert", "'a.pem'")];
        assert_eq!(keys_with_problems(&plain), ["tls"]);
        let no_authority = [
            ("url", "'mqtts://127.0.0.1'"),
            ("tls.cert", "'a.pem'"),
            ("tls.key", "'a.key'"),
            ("tls.require_client_cert", "true"),
        ];
        assert_eq!(keys_with_problems(&no_authority), ["tls.require_client_cert"]);
    }

    #[test]
    fn a_key_for_another_kind_of_listener_is_refused() {
        let mqtt = ("url", "'mqtt://127.0.0.1'");
        assert_eq!(keys_with_problems(&[mqtt, ("mode", "'0600'")]), ["mode"]);
        assert_eq!(keys_with_problems(&[mqtt, ("allowed_origins", "['*']")]), ["allowed_origins"]);
        let unix = [("url", "'unix:///a'"), ("proxy_from", "['::1']")];
        assert_eq!(keys_with_problems(&unix), ["proxy_from"]);
        assert_eq!(keys_with_problems(&[]), [""], "no url");
        assert_eq!(keys_with_problems(&[("url", "'nowhere'")]), ["url"]);
    }
}
