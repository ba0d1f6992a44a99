//! Deployment under test: one observer with its receivers and its disk, and the recorded state of
//! each.
//!
//! - [`process`] starts and ends processes; [`destination`] is a receiver process.
//! - [`disk`] is the small disk; [`clock`] is the observer's wall clock.
//! - [`configuration`] is the observer's configuration.
//! - [`availability`] computes when the observer can be expected to respond.

pub(crate) mod availability;
pub(crate) mod clock;
pub(crate) mod configuration;
pub(crate) mod destination;
pub(crate) mod disk;
pub(crate) mod process;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::deployment::availability::Availability;
use crate::deployment::configuration::{Durability, configuration};
use crate::deployment::destination::{Destination, DestinationKind, ReadPosition};
use crate::deployment::disk::SmallDisk;
use crate::deployment::process::{Process, free_port};
use crate::oracle::Oracle;
use crate::oracle::archive::Archive;
use crate::oracle::event::{SendMode, SentEvents};
use crate::oracle::foreign::ForeignFiles;
use crate::oracle::shared::SharedFolder;
use crate::receiver::{LENIENT, STRICT};
use crate::sync::lock;
use crate::tally::Tally;

/// Configured maximum time for which a request waits for the journal.
pub(crate) const INGEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Additional time for a response on a busy machine.
pub(crate) const SLACK: Duration = Duration::from_secs(5);
/// Configured maximum time of the sinks for a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time of any wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An observer, its receivers and its disk.
pub(crate) struct Deployment {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) availability: Availability,
    pub(crate) tally: Tally,
    pub(crate) oracle: Mutex<Oracle>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) small_disk: Option<SmallDisk>,
    observer: tokio::sync::Mutex<Option<Process>>,
    port: u16,
    /// Offset of the observer's wall clock in seconds.
    clock_offset: AtomicI64,
    read_state: Mutex<ReadState>,
    /// Numbers of events that producers have got, by mode.
    sent_events: [AtomicU64; 2],
    violation: watch::Sender<Option<String>>,
}

/// Positions up to which files were read, and the last total of the metrics.
pub(crate) struct ReadState {
    pub(crate) archive: Archive,
    pub(crate) shared: SharedFolder,
    pub(crate) foreign: ForeignFiles,
    pub(crate) destinations: Vec<ReadPosition>,
    pub(crate) events_total: f64,
}

impl Deployment {
    /// Writes the configuration and starts the receivers, but not the observer.
    pub(crate) async fn build(
        name: &'static str,
        dir: &Path,
        seed: u64,
        small_disk: Option<SmallDisk>,
        violation: watch::Sender<Option<String>>,
    ) -> Result<Self, String> {
        let dir = dir.to_owned();
        let outside = dir.with_extension("outside");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::create_dir_all(&outside))
            .map_err(|e| e.to_string())?;
        let destinations = vec![
            Destination::start(LENIENT, DestinationKind::Lenient, &outside, seed).await?,
            Destination::start(STRICT, DestinationKind::Strict, &outside, seed).await?,
            Destination::start("optional", DestinationKind::Optional, &outside, seed).await?,
        ];
        let port = free_port()?;
        let client =
            reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(2)).build();
        let this = Self {
            name,
            seed,
            port,
            clock_offset: AtomicI64::new(0),
            url: format!("http://127.0.0.1:{port}"),
            client: client.map_err(|error| error.to_string())?,
            availability: Availability::new(),
            tally: Tally::default(),
            oracle: Mutex::new(Oracle::new(seed, &destinations)),
            small_disk,
            observer: tokio::sync::Mutex::default(),
            read_state: Mutex::new(ReadState {
                archive: Archive::new(&dir.join("events")),
                shared: SharedFolder::new(&dir.join("shared")),
                foreign: ForeignFiles::default(),
                destinations: destinations.iter().map(|_| ReadPosition::default()).collect(),
                events_total: 0.0,
            }),
            destinations,
            sent_events: Default::default(),
            violation,
            dir,
        };
        this.configure(Durability::default())?;
        Ok(this)
    }

    /// Writes the configuration of the next start. No observer may be running.
    pub(crate) fn configure(&self, durability: Durability) -> Result<(), String> {
        let config = configuration(&self.dir, self.port, &self.destinations, durability);
        self.availability.set_durability(durability);
        std::fs::write(self.outside().join("observer.toml"), config)
            .map_err(|error| error.to_string())
    }

    /// Sets the observer's wall clock to this many seconds ahead of that of the system.
    pub(crate) async fn set_clock(&self, offset: i64) {
        self.clock_offset.store(offset, Ordering::SeqCst);
        if let Some(process) = &mut *self.observer.lock().await {
            process.write_line(&offset.to_string());
        }
    }

    fn start_process(&self) -> Result<Process, String> {
        let outside = self.outside();
        let offset = self.clock_offset.load(Ordering::SeqCst).to_string();
        let config = outside.join("observer.toml");
        let config = config.to_string_lossy();
        let arguments = ["observe-at", &offset, "--log-format", "json", "--config", &config];
        Process::start(&arguments, &outside.join("observer.log"))
    }

    /// Returns the number of an event that no producer has sent yet.
    pub(crate) fn next_event(&self, mode: SendMode) -> u64 {
        mode.number(self.sent_events[mode as usize].fetch_add(1, Ordering::SeqCst))
    }

    /// Returns whether a producer has got this event from [`Deployment::next_event`].
    pub(crate) fn was_sent(&self, n: u64) -> bool {
        self.sent_events().contains(n)
    }

    /// Returns the events that producers have got from [`Deployment::next_event`] so far.
    pub(crate) fn sent_events(&self) -> SentEvents {
        SentEvents(self.sent_events.each_ref().map(|count| count.load(Ordering::SeqCst)))
    }

    /// Reports a violation, which ends the test. Only the first one is kept.
    pub(crate) fn report(&self, what: String) {
        self.violation.send_if_modified(|violation| {
            let is_first = violation.is_none();
            violation.get_or_insert_with(|| {
                let history = self.availability.history();
                format!("{name}: {what}\n\nlast faults of {name}:\n{history}", name = self.name)
            });
            is_first
        });
    }

    /// Returns whether a violation was reported.
    pub(crate) fn has_failed(&self) -> bool {
        self.violation.borrow().is_some()
    }

    /// Returns the folder of the files that are not on the disk under test.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.with_extension("outside")
    }

    /// Adds an entry to the history of faults.
    pub(crate) fn record(&self, what: impl Into<String>) {
        self.availability.record(what.into());
    }

    /// Starts the observer and waits until it responds. While the disk is full, a failed start is
    /// repeated, as by a supervisor.
    pub(crate) async fn start(&self, after_kill: bool) -> Result<(), String> {
        let begun = Instant::now();
        let mut observer = self.observer.lock().await;
        'again: loop {
            *observer = None;
            let process = observer.insert(self.start_process()?);
            if after_kill {
                self.availability.started_after_kill();
            }
            loop {
                if let Some(status) = process.ended() {
                    if self.small_disk.as_ref().is_some_and(SmallDisk::is_full) {
                        self.tally.add("starts that failed while the disk was full", 1);
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue 'again;
                    }
                    return Err(format!(
                        "the observer ended with {status} during its start; see its log"
                    ));
                }
                let live = self
                    .client
                    .get(format!("{}/livez", self.url))
                    .timeout(Duration::from_secs(1))
                    .send()
                    .await;
                if live.is_ok_and(|response| response.status() == 200) {
                    self.availability.set_up();
                    return Ok(());
                }
                if begun.elapsed() > DEADLINE {
                    return Err(format!(
                        "the observer did not respond within {} s of its start",
                        DEADLINE.as_secs()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }

    /// Kills the observer (kill -9). With `verify`, checks the journal before the next start.
    pub(crate) async fn kill(&self, verify: bool) -> Result<(), String> {
        self.availability.interrupt();
        if let Some(process) = &mut *self.observer.lock().await {
            process.kill();
        }
        self.after_end(verify).await
    }

    /// Starts the observer and kills it after this time.
    pub(crate) async fn start_and_kill(&self, after: Duration) -> Result<(), String> {
        *self.observer.lock().await = Some(self.start_process()?);
        tokio::time::sleep(after).await;
        self.kill(false).await
    }

    /// Sends SIGTERM and checks that the observer ends successfully.
    pub(crate) async fn terminate(&self) -> Result<(), String> {
        self.availability.interrupt();
        if let Some(process) = &mut *self.observer.lock().await {
            process.signal("-TERM")?;
            // The shutdown timeout applies to requests and then to sinks; the rest is for flushes
            // and for closing.
            let within = SHUTDOWN_TIMEOUT * 2 + Duration::from_secs(12) + SLACK;
            match process.end(within).await {
                None => {
                    return Err(format!(
                        "the observer did not end within {} s of SIGTERM",
                        within.as_secs()
                    ));
                }
                Some(status) if !status.success() => {
                    return Err(format!("the observer ended with {status} after SIGTERM"));
                }
                Some(_) => {}
            }
        }
        self.after_end(true).await
    }

    /// Sends a signal to the observer.
    pub(crate) async fn signal(&self, signal: &str) -> Result<(), String> {
        match &*self.observer.lock().await {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    /// Reads what the receivers got, and records the positions of the sinks.
    async fn after_end(&self, verify: bool) -> Result<(), String> {
        self.read_destinations()?;
        let positions = if verify { self.verify_journal().await? } else { HashMap::new() };
        self.oracle().record_restart(&positions)
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        lock(&self.oracle)
    }

    pub(crate) fn read_state(&self) -> MutexGuard<'_, ReadState> {
        lock(&self.read_state)
    }
}
