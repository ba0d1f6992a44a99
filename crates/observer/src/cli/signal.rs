//! What ends the program, and what has it read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a shell counts a program that was ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Until SIGTERM or Ctrl-C. A second one ends the program at once.
///
/// # Errors
/// When signals can't be listened to.
pub(super) fn ended() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        };
        tracing::info!(
            signal = name,
            "the observer ends: no more requests, and the sinks get what is there; a second signal ends it now"
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!(
                "the observer ends now; what sinks had not made durable is delivered again after the next start"
            );
            std::process::exit(INTERRUPTED);
        });
    })
}

/// Each SIGHUP.
///
/// # Errors
/// When signals can't be listened to.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
