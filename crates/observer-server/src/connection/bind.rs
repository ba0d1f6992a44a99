//! Taking the addresses to listen on.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::connection::tls::TlsError;

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address was given.
    #[error("there is no address to listen on; give at least one, such as `127.0.0.1:3800`")]
    NoAddress,
    /// Not `host:port`, or the host has no address.
    #[error(
        "can't find out what to listen on for `{address}`; it has to be `host:port`, such as `127.0.0.1:3800`"
    )]
    Resolve {
        /// As it was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Another program has it.
    #[error(
        "can't listen on {address}, which is in use: end the program that has it (an observer that is still running?), \
         or listen on another port"
    )]
    InUse {
        /// The one that is taken.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("can't listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The files for TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics have no place in the registry.
    #[error(
        "can't add the server's metrics to the registry; each server needs a registry of its own"
    )]
    Metrics(#[from] prometheus::Error),
}

/// Listen on each address. On a machine without IPv6, its loopback may be missing as long as there
/// is another address.
pub(crate) async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, BindError> {
    bind_with(addresses, TcpListener::bind).await
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
                "IPv6 seems to be missing here; only the other addresses are served"
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

/// Without IPv6 the loopback gives EADDRNOTAVAIL or EAFNOSUPPORT; the latter has no stable name in
/// the standard library.
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
    async fn the_ipv6_loopback_may_be_missing_next_to_another_address() {
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
    async fn an_address_in_use_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(std::slice::from_ref(&address)).await.unwrap_err();
        assert_eq!(
            error.to_string().replace(&address, "ADDRESS"),
            "can't listen on ADDRESS, which is in use: end the program that has it (an observer that is still running?), \
             or listen on another port"
        );
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused() {
        let error = bind(&addresses(&["3800"])).await.unwrap_err();
        assert!(error.to_string().contains("`3800`"), "{error}");
        assert!(matches!(bind(&[]).await, Err(BindError::NoAddress)));
    }
}
