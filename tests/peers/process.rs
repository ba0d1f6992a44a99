//! Processes of third-party programs, each on free ports.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::TIMEOUT;

/// Running program, which is killed on drop.
pub(super) struct Peer {
    process: Child,
    /// File with standard output and error.
    pub(super) output: PathBuf,
}

impl Peer {
    /// Starts a program, and appends its output to a file.
    pub(super) fn start(mut command: Command, output: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&output).unwrap();
        let errors = file.try_clone().unwrap();
        let process = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().unwrap();
        Self { process, output }
    }

    /// Waits until the program is ready. Returns false if it exits instead.
    pub(super) async fn wait_until_ready(
        &mut self,
        mut is_ready: impl AsyncFnMut() -> bool,
    ) -> bool {
        let begun = Instant::now();
        while !is_ready().await {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(
                begun.elapsed() < TIMEOUT,
                "the program isn't ready: {}",
                read_output(&self.output)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the output of a program so far.
pub(super) fn read_output(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap_or_default()
}

/// Returns ports that are free at the moment. A program that can't choose a port itself may find it
/// in use by then, so callers try several times.
pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub(super) async fn is_listening(port: u16) -> bool {
    tokio::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.is_ok()
}
