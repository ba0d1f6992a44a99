//! Handle of a receiver: its process, and the files with the events that it has accepted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::deployment::process::{Process, free_port};
use crate::receiver::{Behaviour, LENIENT, STRICT};

const DEADLINE: Duration = Duration::from_secs(30);

/// Kind of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationKind {
    /// Accepts all events.
    Lenient,
    /// Rejects poison events.
    Strict,
    /// Accepts all events; its sink is not required.
    Optional,
}

pub(crate) struct Destination {
    pub(crate) name: &'static str,
    /// True if it rejects poison events.
    pub(crate) rejects_poison: bool,
    /// True if its sink is not required, so that events may expire during an outage.
    pub(crate) may_expire: bool,
    pub(crate) port: u16,
    dir: PathBuf,
    seed: u64,
    process: Mutex<Option<Process>>,
    /// Number of starts. Each process writes to a file of its own.
    starts: AtomicU64,
}

/// Position up to which the files of a receiver were read.
#[derive(Debug, Default)]
pub(crate) struct ReadPosition {
    file: u64,
    offset: u64,
}

impl Destination {
    pub(crate) async fn start(
        name: &'static str,
        kind: DestinationKind,
        dir: &Path,
        seed: u64,
    ) -> Result<Self, String> {
        let (port, dir) = (free_port()?, dir.to_owned());
        let (process, starts) = (Mutex::new(None), AtomicU64::new(0));
        let rejects_poison = kind == DestinationKind::Strict;
        let may_expire = kind == DestinationKind::Optional;
        let this = Self { name, rejects_poison, may_expire, port, dir, seed, process, starts };
        this.restart().await?;
        Ok(this)
    }

    /// Starts the process, after the end of the previous one.
    pub(crate) async fn restart(&self) -> Result<(), String> {
        let mut process = self.process.lock().await;
        *process = None;
        let file = self.file(self.starts.load(Ordering::SeqCst) + 1);
        let (port, seed) = (self.port.to_string(), self.seed.to_string());
        let mode = if self.rejects_poison { STRICT } else { LENIENT };
        let arguments = ["receive", &port, &file.to_string_lossy(), &seed, mode];
        *process = Some(Process::start(&arguments, &self.dir.join(format!("{}.log", self.name)))?);
        let begun = Instant::now();
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).is_err() {
            if begun.elapsed() > DEADLINE {
                return Err(format!("the receiver {} does not listen", self.name));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.starts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    pub(crate) async fn kill(&self) {
        if let Some(process) = &mut *self.process.lock().await {
            process.kill();
        }
    }

    pub(crate) async fn signal(&self, signal: &str) -> Result<(), String> {
        match &*self.process.lock().await {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    /// Sets the behaviour of the receiver.
    pub(crate) async fn behave(&self, behaviour: Behaviour) {
        if let Some(process) = &mut *self.process.lock().await {
            process.write_line(behaviour.as_str());
        }
    }

    /// Reads the complete lines that the receiver has written since the last call.
    pub(crate) fn new_lines(&self, position: &mut ReadPosition) -> Result<String, String> {
        let mut text = String::new();
        loop {
            // The number of starts is read first. If it is greater than the number of the file,
            // nothing more is written to that file.
            let starts = self.starts.load(Ordering::SeqCst);
            if position.file == 0 {
                position.file = 1;
            }
            let path = self.file(position.file);
            let mut new = Vec::new();
            let read = File::open(&path).and_then(|mut file| {
                file.seek(SeekFrom::Start(position.offset))?;
                file.read_to_end(&mut new)
            });
            read.map_err(|error| format!("{}: {error}", path.display()))?;
            // A partial line belongs to a batch that was not acknowledged before a kill.
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            position.offset += whole as u64;
            text.push_str(std::str::from_utf8(&new[..whole]).map_err(|error| error.to_string())?);
            if position.file >= starts {
                return Ok(text);
            }
            let _ = std::fs::remove_file(path);
            *position = ReadPosition { file: position.file + 1, offset: 0 };
        }
    }

    fn file(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start}.accepted", self.name))
    }
}
