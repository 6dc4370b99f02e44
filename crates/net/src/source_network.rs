//! CIDR networks (RFC 4632): which source addresses are trusted as proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::NetError;

/// A network in CIDR notation (RFC 4632), such as `10.0.0.0/8`, `fd00::/8` or a single address.
///
/// Bits of the address beyond the prefix must be zero: `10.1.2.3/8` is most likely a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceNetwork {
    address: IpAddr,
    prefix: u8,
}

impl SourceNetwork {
    /// Whether the address lies in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                mask_v4(address, self.prefix) == mask_v4(network, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                mask_v6(address, self.prefix) == mask_v6(network, self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for SourceNetwork {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let complain = |cause: String| NetError::SourceNetwork { text: text.to_owned(), cause };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| complain(format!("`{address}` is not an address")))?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(prefix) => {
                prefix.parse().ok().filter(|bits| *bits <= widest).ok_or_else(|| {
                    complain(format!("`{prefix}` is not a prefix of at most {widest} bits"))
                })?
            }
        };
        let network = match address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(mask_v4(address, prefix))),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(mask_v6(address, prefix))),
        };
        if network != address {
            return Err(complain(format!("its /{prefix} network is {network}/{prefix}")));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask_v4(address: Ipv4Addr, prefix: u8) -> u32 {
    let hidden = 32_u32.saturating_sub(u32::from(prefix));
    address.to_bits() & u32::MAX.checked_shl(hidden).unwrap_or(0)
}

fn mask_v6(address: Ipv6Addr, prefix: u8) -> u128 {
    let hidden = 128_u32.saturating_sub(u32::from(prefix));
    address.to_bits() & u128::MAX.checked_shl(hidden).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<SourceNetwork>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn membership_follows_the_prefix() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("fd00::/8", "fd12::1"));
        assert!(!contains("fd00::/8", "fe80::1"));
        assert!(contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, cause) in [
            ("10.0.0.0/33", "at most 32 bits"),
            ("::/129", "at most 128 bits"),
            ("10.1.2.3/8", "its /8 network is 10.0.0.0/8"),
            ("localhost", "not an address"),
            ("10.0.0.0/", "not a prefix"),
        ] {
            let error = text.parse::<SourceNetwork>().unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
        assert_eq!("10.0.0.0/8".parse::<SourceNetwork>().unwrap().to_string(), "10.0.0.0/8");
    }
}
