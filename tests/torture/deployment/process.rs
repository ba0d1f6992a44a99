//! Processes of this program's own: it runs itself again, as an observer or as a receiver.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when this is dropped, and that ends by itself when this program is
/// gone.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// This program with these arguments; what it says on standard error is appended to `log`.
    pub(crate) fn start(arguments: &[&str], log: &Path) -> Result<Self, String> {
        let start = || {
            let log = File::options().create(true).append(true).open(log)?;
            let mut command = Command::new(std::env::current_exe()?);
            command
                .env("NO_PROXY", "127.0.0.1")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        };
        start()
            .map(|child| Self { child })
            .map_err(|error| format!("{} can't be started: {error}", arguments[0]))
    }

    /// A line on its standard input. If it is gone, so is what it would have done.
    pub(crate) fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.child.stdin {
            let _ = writeln!(input, "{line}");
        }
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<(), String> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("kill {signal}: {status}")),
            Err(error) => Err(format!("kill {signal}: {error}")),
        }
    }

    /// kill -9, until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Until it has ended; `None` if that takes longer than it may.
    pub(crate) async fn end(&mut self, within: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if begun.elapsed() > within {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// End with the program that has started this one.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// A free port below those that the system gives to clients, so that it is still free after a kill.
pub(crate) fn free_port() -> Result<u16, String> {
    for _ in 0..1000 {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return Ok(port);
        }
    }
    Err("there is no free port".to_owned())
}
