//! Child processes: this program runs itself again as an observer or as a receiver.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Child process. It is killed when this handle is dropped, and ends when this program ends.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts this program with these arguments. Its standard error is appended to `log`.
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
            .map_err(|error| format!("can't start the process \"{}\": {error}", arguments[0]))
    }

    /// Writes a line to its standard input.
    pub(crate) fn write_line(&mut self, line: &str) {
        if let Some(input) = &mut self.child.stdin {
            // The process may have ended.
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

    /// Kills the process (kill -9) and waits for its end.
    pub(crate) fn kill(&mut self) {
        // The process may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end of the process; `None` if it takes longer than `within`.
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

/// Ends this process when the program that started it ends.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// Returns a free port below the ephemeral ports, so that it remains free after a kill.
pub(crate) fn free_port() -> Result<u16, String> {
    for _ in 0..1000 {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return Ok(port);
        }
    }
    Err("found no free port".to_owned())
}
