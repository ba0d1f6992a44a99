//! Binding of listeners to addresses.

use std::io;
use std::net::{self, SocketAddr};

use tokio::net::TcpListener;

use crate::tls::TlsError;

/// Error type for [`Server::bind`](crate::Server::bind).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address was given.
    #[error("no address to listen on; configure at least one, such as `127.0.0.1:3800`")]
    NoAddress,
    /// The text is not `host:port`, or the host has no address.
    #[error("can't resolve the address `{address}`; use `host:port`, such as `127.0.0.1:3800`")]
    Resolve {
        /// Address as configured.
        address: String,
        /// Error of the resolver.
        source: io::Error,
    },
    /// Another program listens on the address.
    #[error(
        "can't listen on {address}: the address is in use; stop the program that uses it, \
         perhaps another observer, or configure another port"
    )]
    InUse {
        /// Address in use.
        address: SocketAddr,
    },
    /// The operating system reported an error.
    #[error("can't listen on {address}")]
    Listen {
        /// Address to listen on.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A socket that another process opened can't be used.
    #[error("can't listen on the socket that was passed to the process")]
    Inherited {
        /// Error of the operating system.
        source: io::Error,
    },
    /// A socket for TLS was passed to the process, and TLS isn't configured.
    #[error(
        "a socket for TLS was passed to the process; configure the certificate for it in [server.tls]"
    )]
    InheritedWithoutTls,
    /// The files for TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The registry has the metrics of another server.
    #[error("can't register the server's metrics; each server needs a registry of its own")]
    Metrics(#[from] prometheus::Error),
}

/// Listening sockets that another process opened, such as a service manager. Those of a kind replace
/// the configured addresses of that kind.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Sockets for plain HTTP.
    pub plain: Vec<net::TcpListener>,
    /// Sockets for TLS.
    pub tls: Vec<net::TcpListener>,
}

impl InheritedSockets {
    /// Returns whether there is no socket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.tls.is_empty()
    }
}

/// Returns the sockets as listeners or, without any, binds the addresses.
pub(crate) async fn adopt_or_bind(
    sockets: Vec<net::TcpListener>,
    addresses: &[String],
) -> Result<Vec<TcpListener>, BindError> {
    if sockets.is_empty() {
        return bind(addresses).await;
    }
    let adopt = |socket: net::TcpListener| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    let adopted: io::Result<_> = sockets.into_iter().map(adopt).collect();
    adopted.map_err(|source| BindError::Inherited { source })
}

/// Binds a listener to each address.
///
/// On a machine without IPv6 the IPv6 loopback is skipped with a warning, as long as another
/// address can be bound.
async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, BindError> {
    bind_with(addresses, TcpListener::bind).await
}

/// Verifies that the addresses can be listened on, all at once. They are released again.
///
/// # Errors
/// If [`Server::bind`](crate::Server::bind) would fail for one of them.
pub async fn verify_addresses(addresses: &[String]) -> Result<(), BindError> {
    bind(addresses).await.map(drop)
}

async fn bind_with<L>(
    addresses: &[String],
    listen: impl AsyncFn(SocketAddr) -> io::Result<L>,
) -> Result<Vec<L>, BindError> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for text in addresses {
        for address in resolve(text).await? {
            match listen(address).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(BindError::InUse { address });
                }
                Err(source) if may_be_missing(address, &source) => {
                    missing = Some(BindError::Listen { address, source });
                }
                Err(source) => return Err(BindError::Listen { address, source }),
            }
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        Some(error) => {
            tracing::warn!(
                error = observer_core::report(&error),
                "IPv6 is not available; serving the other addresses only"
            );
            Ok(listeners)
        }
        None if listeners.is_empty() => Err(BindError::NoAddress),
        None => Ok(listeners),
    }
}

async fn resolve(text: &str) -> Result<Vec<SocketAddr>, BindError> {
    let failed = |source| BindError::Resolve { address: text.to_owned(), source };
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let addresses: Vec<_> = tokio::net::lookup_host(text).await.map_err(failed)?.collect();
    if addresses.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
}

/// Returns whether the error may mean that the machine has no IPv6: EADDRNOTAVAIL or EAFNOSUPPORT.
/// The latter has no stable name in the standard library.
fn may_be_missing(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6()
        && address.ip().is_loopback()
        && error.kind() != io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    async fn without_ipv6(address: SocketAddr) -> io::Result<SocketAddr> {
        if address.is_ipv6() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(address) }
    }

    #[tokio::test]
    async fn missing_ipv6_loopback_is_a_warning_if_another_address_binds() {
        let bound =
            bind_with(&addresses(&["127.0.0.1:3800", "[::1]:3800"]), without_ipv6).await.unwrap();
        assert_eq!(bound, ["127.0.0.1:3800".parse().unwrap()]);

        let alone = bind_with(&addresses(&["[::1]:3800"]), without_ipv6).await.unwrap_err();
        assert_eq!(
            observer_core::report(&alone),
            "can't listen on [::1]:3800: address not available"
        );

        let wanted = bind_with(&addresses(&["127.0.0.1:3800", "[2001:db8::1]:3800"]), without_ipv6)
            .await
            .unwrap_err();
        assert_eq!(
            observer_core::report(&wanted),
            "can't listen on [2001:db8::1]:3800: address not available"
        );
    }

    #[tokio::test]
    async fn address_in_use_is_named_with_a_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(std::slice::from_ref(&address)).await.unwrap_err();
        let verified = verify_addresses(std::slice::from_ref(&address)).await.unwrap_err();
        assert!(matches!(verified, BindError::InUse { .. }), "{verified}");
        drop(taken);
        for _ in 0..2 {
            verify_addresses(std::slice::from_ref(&address)).await.unwrap();
        }
        assert_eq!(
            error.to_string().replace(&address, "ADDRESS"),
            "can't listen on ADDRESS: the address is in use; stop the program that uses it, \
             perhaps another observer, or configure another port"
        );
    }

    #[tokio::test]
    async fn invalid_address_is_an_error() {
        let error = bind(&addresses(&["3800"])).await.unwrap_err();
        assert!(error.to_string().contains("`3800`"), "{error}");
        assert!(matches!(bind(&[]).await, Err(BindError::NoAddress)));
    }
}
