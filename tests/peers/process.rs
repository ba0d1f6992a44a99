//! Programs of others, each on ports of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::TIMEOUT;

/// A program that runs until it is killed or dropped.
pub(super) struct Peer {
    process: Child,
    /// What it said.
    pub(super) output: PathBuf,
}

impl Peer {
    /// Run it, with what it says in a file of this name.
    pub(super) fn run(mut command: Command, output: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&output).unwrap();
        let errors = file.try_clone().unwrap();
        let process = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().unwrap();
        Self { process, output }
    }

    /// Until it is ready; false if it ended instead.
    pub(super) async fn is_up(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> bool {
        let begun = Instant::now();
        while !is_ready().await {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(begun.elapsed() < TIMEOUT, "it isn't ready: {}", said(&self.output));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    /// kill -9.
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

pub(super) fn said(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap_or_default()
}

/// Ports that nobody has at the moment. Programs that can't be told to choose one may find it taken
/// after all, and are tried again with others.
pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub(super) async fn is_listening(port: u16) -> bool {
    tokio::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.is_ok()
}
