//! A receiver as this program sees it: a process to be treated badly, and the files with what it
//! has taken.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::deployment::process::{Process, free_port};
use crate::receiver::Manners;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct FarSide {
    pub(crate) name: &'static str,
    /// It refuses events that are poison.
    pub(crate) picky: bool,
    pub(crate) port: u16,
    dir: PathBuf,
    seed: u64,
    process: Mutex<Option<Process>>,
    /// How often it was started: each time it writes to another file.
    starts: AtomicU64,
}

/// How far the files of a receiver were read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    file: u64,
    offset: u64,
}

impl FarSide {
    pub(crate) async fn start(
        name: &'static str,
        picky: bool,
        dir: &Path,
        seed: u64,
    ) -> Result<Self, String> {
        let (port, dir) = (free_port()?, dir.to_owned());
        let (process, starts) = (Mutex::new(None), AtomicU64::new(0));
        let this = Self { name, picky, port, dir, seed, process, starts };
        this.restart().await?;
        Ok(this)
    }

    /// Have it run, and be well.
    pub(crate) async fn restart(&self) -> Result<(), String> {
        let mut process = self.process.lock().await;
        *process = None;
        let file = self.file(self.starts.load(Ordering::SeqCst) + 1);
        let (port, seed) = (self.port.to_string(), self.seed.to_string());
        let picky = if self.picky { "picky" } else { "plain" };
        let arguments = ["receive", &port, &file.to_string_lossy(), &seed, picky];
        *process = Some(Process::start(&arguments, &self.dir.join(format!("{}.log", self.name)))?);
        let begun = Instant::now();
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).is_err() {
            if begun.elapsed() > PATIENCE {
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

    pub(crate) async fn behave(&self, manners: Manners) {
        if let Some(process) = &mut *self.process.lock().await {
            process.tell(manners.name());
        }
    }

    /// Whole lines of what it has taken since the last time.
    pub(crate) fn taken(&self, reading: &mut Reading) -> Result<String, String> {
        let mut text = String::new();
        loop {
            // Looked at before the file, so that nothing is added to a file that was left for a
            // later one.
            let starts = self.starts.load(Ordering::SeqCst);
            if reading.file == 0 {
                reading.file = 1;
            }
            let path = self.file(reading.file);
            let mut new = Vec::new();
            let read = File::open(&path).and_then(|mut file| {
                file.seek(SeekFrom::Start(reading.offset))?;
                file.read_to_end(&mut new)
            });
            read.map_err(|error| format!("{}: {error}", path.display()))?;
            // A line that was cut by a kill was not answered for.
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            reading.offset += whole as u64;
            text.push_str(std::str::from_utf8(&new[..whole]).map_err(|error| error.to_string())?);
            if reading.file >= starts {
                return Ok(text);
            }
            let _ = std::fs::remove_file(path);
            *reading = Reading { file: reading.file + 1, offset: 0 };
        }
    }

    fn file(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start}.taken", self.name))
    }
}
