//! `[admin]`: the HTTP side.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use agentmq_admin::{AdminOptions, Doorkeeper, Mount, Services, TlsIdentity};
use agentmq_audit::Trail;

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `http://` or `https://`, an address and a port; empty: there is none.
    pub url: String,
    /// The certificate chain in PEM, for `https://`.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Names that it is reached by, beside those of this machine.
    pub hosts: Vec<String>,
    /// Whether MCP clients get at the bus there, at `/mcp`.
    pub mcp: bool,
}

impl Default for AdminConfig {
    fn default() -> Self {
        let (url, hosts) = (String::new(), Vec::new());
        Self { url, cert: PathBuf::new(), key: PathBuf::new(), hosts, mcp: true }
    }
}

impl AdminConfig {
    /// Whether there is an HTTP side.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Every rule that is broken, as key and message: if clients are asked who they are or not, and
    /// come by Unix sockets only or not.
    pub(crate) fn problems(&self, authenticates: bool, is_private: bool) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !self.is_on() {
            return problems;
        }
        let mut report = |key: &str, why: &str| problems.push((format!("admin.{key}"), why.into()));
        let (address, is_https) = match self.parse() {
            Ok(parsed) => parsed,
            Err(why) => {
                report("url", why);
                return problems;
            }
        };
        if !is_https && !address.ip().is_loopback() {
            let why = "other machines can reach it, and whoever is on the way can read tokens: \
                       write https://, admin.cert and admin.key, or an address of this machine";
            report("url", why);
        }
        if self.mcp && !authenticates && !address.ip().is_loopback() {
            let why = "other machines can reach it, and nobody is asked who he is: set \
                       access.users or access.tokens.keys, or admin.mcp = false";
            report("mcp", why);
        } else if self.mcp && !authenticates && is_private {
            let why = "every user of this machine can reach it, though the listeners are Unix \
                       sockets, and nobody is asked who he is: set access.users or \
                       access.tokens.keys, or admin.mcp = false";
            report("mcp", why);
        }
        for (key, file) in [("cert", &self.cert), ("key", &self.key)] {
            match (is_https, file.as_os_str().is_empty()) {
                (true, true) => report(key, "https:// needs it"),
                (false, false) => report(key, "it is only for https://: write https:// in the url"),
                _ => {}
            }
        }
        problems
    }

    /// The address, and whether it is for TLS.
    fn parse(&self) -> Result<(SocketAddr, bool), &'static str> {
        let how = "write for example http://127.0.0.1:8080: scheme, address and port";
        let (scheme, rest) = self.url.split_once("://").ok_or(how)?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(how),
        };
        let rest = rest.trim_end_matches('/');
        if let Some(port) = rest.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| how)?;
            return Ok((SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port), is_https));
        }
        rest.parse().map(|address| (address, is_https)).map_err(|_| how)
    }

    /// Its certificate and key; `None`: it is not for TLS.
    pub(crate) fn tls(&self) -> Option<TlsIdentity> {
        let (_, is_https) = self.parse().ok()?;
        is_https.then(|| TlsIdentity { cert: self.cert.clone(), key: self.key.clone() })
    }

    /// What the server is started with; `None`: there is none.
    pub(crate) fn options(
        &self,
        services: &Services,
        trail: &Trail,
        mount: impl FnOnce() -> Option<Mount>,
    ) -> Option<AdminOptions> {
        let (address, _) = self.parse().ok()?;
        let tls = self.tls();
        let mut hosts = self.hosts.clone();
        if !address.ip().is_unspecified() {
            hosts.push(address.ip().to_string());
        }
        let (doorkeeper, services) = (Doorkeeper::new(hosts), services.clone());
        let trail = trail.clone();
        let mount = if self.mcp { mount() } else { None };
        Some(AdminOptions { address, tls, doorkeeper, services, trail, mount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(url: &str, cert: &str) -> Vec<String> {
        let (url, cert) = (url.to_owned(), PathBuf::from(cert));
        let config = AdminConfig { url, key: cert.clone(), cert, ..AdminConfig::default() };
        config.problems(true, true).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn in_the_clear_it_is_for_this_machine_only() {
        for url in ["", "http://127.0.0.1:8080", "http://localhost:0/", "http://[::1]:80"] {
            assert_eq!(keys(url, ""), [""; 0], "{url}");
        }
        assert_eq!(keys("https://0.0.0.0:443", "a.pem"), [""; 0]);
        assert_eq!(keys("http://0.0.0.0:80", ""), ["admin.url"]);
        assert_eq!(keys("https://127.0.0.1:443", ""), ["admin.cert", "admin.key"]);
        assert_eq!(keys("http://127.0.0.1:80", "a.pem"), ["admin.cert", "admin.key"]);
        for url in ["127.0.0.1:80", "ftp://127.0.0.1:80", "http://127.0.0.1", "http://name:80"] {
            assert_eq!(keys(url, ""), ["admin.url"], "{url}");
        }
    }

    #[test]
    fn strangers_get_nowhere() {
        let problems = |url: &str, mcp, is_private| {
            let (url, cert) = (url.to_owned(), PathBuf::from("a.pem"));
            let config = AdminConfig { url, key: cert.clone(), cert, mcp, hosts: Vec::new() };
            config.problems(false, is_private).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(problems("https://0.0.0.0:443", true, false), ["admin.mcp"]);
        assert_eq!(problems("https://0.0.0.0:443", false, false), [""; 0]);
        assert_eq!(problems("https://127.0.0.1:443", true, false), [""; 0]);
        assert_eq!(problems("https://127.0.0.1:443", true, true), ["admin.mcp"]);
        assert_eq!(problems("https://127.0.0.1:443", false, true), [""; 0]);
    }
}
