//! Peers: the clients of connections, by their address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Client of a connection. Clients behind a proxy are one peer, since nothing that a request says
/// about its origin can be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// Client with an address.
    Address(IpAddr),
    /// Client of the admin socket.
    AdminSocket,
    /// Client of an embedding application, which does not state its address.
    #[default]
    Unknown,
}

impl Peer {
    /// Returns the peer that limits apply to. Addresses of IPv6 count by their first 64 bits, since
    /// a single host usually has all addresses of such a prefix (RFC 6177).
    pub(crate) fn limited(self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let prefix = address.to_bits() >> 64 << 64;
                Self::Address(Ipv6Addr::from_bits(prefix).into())
            }
            peer => peer,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip().to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::AdminSocket => f.write_str("admin socket"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        SocketAddr::new(address.parse().unwrap(), 1).into()
    }

    #[test]
    fn addresses_of_one_host_are_one_limited_peer() {
        assert_eq!(peer("2001:db8::1").limited(), peer("2001:db8::2:3").limited());
        assert_ne!(peer("2001:db8::1").limited(), peer("2001:db8:0:1::1").limited());
        assert_ne!(peer("192.0.2.1").limited(), peer("192.0.2.2").limited());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"), "an address of IPv4 in IPv6");
        assert_eq!(peer("2001:db8::1").to_string(), "2001:db8::1");
    }
}
