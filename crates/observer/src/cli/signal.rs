//! Signals that end the program or reload its configuration.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second SIGTERM or Ctrl-C: 128 plus the number of SIGINT, as shells report
/// it.
const INTERRUPTED: i32 = 130;

/// Returns a future that completes at the first SIGTERM or Ctrl-C. The second one exits the process
/// at once.
///
/// # Errors
/// If a signal handler can't be installed.
pub(super) fn shutdown() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        };
        tracing::info!(
            signal = name,
            "shutting down: no new requests, sinks drain; a second signal exits at once"
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!(
                "exiting at once; events that sinks had not flushed are delivered again after the \
                 next start"
            );
            std::process::exit(INTERRUPTED);
        });
    })
}

/// Returns a future that completes at SIGTERM or Ctrl-C.
///
/// # Errors
/// If a signal handler can't be installed.
pub(super) fn interruption() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Number of SIGXFSZ on Linux, BSD and macOS.
const SIGXFSZ: i32 = 25;

/// Keeps SIGXFSZ from ending the process: a write beyond the size limit of the system (`ulimit -f`)
/// fails then, and its error is reported.
///
/// # Errors
/// If the signal handler can't be installed.
pub(super) fn survive_file_size_limit() -> io::Result<()> {
    // The handler stays when the stream is dropped.
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Keeps SIGUSR1 and SIGUSR2 from ending the process, since tools send these to daemons to rotate
/// logs or print statistics. They have no effect.
///
/// # Errors
/// If a signal handler can't be installed.
pub(super) fn ignore_user_signals() -> io::Result<()> {
    // The handlers stay when the streams are dropped.
    drop(signal(SignalKind::user_defined1())?);
    signal(SignalKind::user_defined2()).map(drop)
}

/// Returns the stream of SIGHUP signals.
///
/// # Errors
/// If the signal handler can't be installed.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
