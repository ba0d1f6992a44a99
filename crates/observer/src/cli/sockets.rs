//! Sockets that a service manager passes to the process: socket activation by systemd
//! (`sd_listen_fds(3)`).

use std::env;

use anyhow::{Context, bail};
use listenfd::ListenFd;
use observer_server::InheritedSockets;

/// Value of `FileDescriptorName=` for sockets of TLS.
const TLS: &str = "tls";

/// Takes the sockets that were passed to this process, once. It must run before other threads
/// start, since it removes the variables that list the sockets.
///
/// # Errors
/// If a descriptor is not a listening TCP socket.
pub(super) fn inherit() -> anyhow::Result<InheritedSockets> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut sockets = InheritedSockets::default();
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let socket = passed.take_tcp_listener(index).with_context(|| {
            format!(
                "can't listen on socket {index} of the service manager, named {name:?}; pass TCP \
                 sockets only"
            )
        })?;
        let Some(socket) = socket else {
            bail!("the service manager passed socket {index} twice; correct its socket units");
        };
        if name == TLS { sockets.tls.push(socket) } else { sockets.plain.push(socket) }
    }
    Ok(sockets)
}
