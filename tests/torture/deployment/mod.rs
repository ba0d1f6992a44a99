//! One observer with its receivers, its disk, and what is known of them.

pub(crate) mod availability;
pub(crate) mod destination;
pub(crate) mod disk;
pub(crate) mod process;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::deployment::availability::Weather;
use crate::deployment::destination::{FarSide, Reading};
use crate::deployment::disk::SmallDisk;
use crate::deployment::process::{Process, free_port};
use crate::oracle::archive::Archive;
use crate::oracle::event::Way;
use crate::oracle::{BATCH, Oracle};
use crate::tally::Tally;

/// How long a producer waits for the journal, by the configuration.
pub(crate) const INGEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer an answer may take on a machine that has other things to do.
pub(crate) const SLACK: Duration = Duration::from_secs(5);
/// How long the sinks may go on when the observer is told to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) weather: Weather,
    pub(crate) tally: Tally,
    pub(crate) oracle: Mutex<Oracle>,
    pub(crate) far_sides: Vec<FarSide>,
    pub(crate) small: Option<SmallDisk>,
    server: tokio::sync::Mutex<Option<Process>>,
    readings: Mutex<Readings>,
    /// How many events there are of each way to send one.
    handed_out: [AtomicU64; 2],
    finding: watch::Sender<Option<String>>,
}

/// How far everything was read.
pub(crate) struct Readings {
    pub(crate) archive: Archive,
    pub(crate) far_sides: Vec<Reading>,
    pub(crate) events_total: f64,
}

impl House {
    pub(crate) async fn build(
        name: &'static str,
        dir: &Path,
        seed: u64,
        small: Option<SmallDisk>,
        finding: watch::Sender<Option<String>>,
    ) -> Result<Self, String> {
        let dir = dir.to_owned();
        let outside = dir.with_extension("outside");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::create_dir_all(&outside))
            .map_err(|e| e.to_string())?;
        let far_sides = vec![
            FarSide::start("plain", false, &outside, seed).await?,
            FarSide::start("picky", true, &outside, seed).await?,
        ];
        let port = free_port()?;
        let config = configuration(&dir, port, &far_sides, small.is_some());
        std::fs::write(outside.join("observer.toml"), config).map_err(|error| error.to_string())?;
        let client =
            reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(2)).build();
        Ok(Self {
            name,
            seed,
            url: format!("http://127.0.0.1:{port}"),
            client: client.map_err(|error| error.to_string())?,
            weather: Weather::new(),
            tally: Tally::default(),
            oracle: Mutex::new(Oracle::new(
                seed,
                far_sides.iter().map(|far_side| (far_side.name, far_side.picky)),
            )),
            small,
            server: tokio::sync::Mutex::default(),
            readings: Mutex::new(Readings {
                archive: Archive::new(&dir.join("events")),
                far_sides: far_sides.iter().map(|_| Reading::default()).collect(),
                events_total: 0.0,
            }),
            far_sides,
            handed_out: Default::default(),
            finding,
            dir,
        })
    }

    /// The next event that nobody has sent yet.
    pub(crate) fn hand_out(&self, way: Way) -> u64 {
        way.number(self.handed_out[way as usize].fetch_add(1, Ordering::SeqCst))
    }

    pub(crate) fn was_sent(&self, n: u64) -> bool {
        let way = if n.is_multiple_of(2) { Way::Batch } else { Way::Single };
        n / 2 < self.handed_out[way as usize].load(Ordering::SeqCst)
    }

    /// What must not be is so. The first one of all counts.
    pub(crate) fn found(&self, what: String) {
        self.finding.send_if_modified(|finding| {
            let is_first = finding.is_none();
            finding.get_or_insert_with(|| {
                let history = self.weather.history();
                format!("{}: {what}\n\nwhat was done to {} last:\n{history}", self.name, self.name)
            });
            is_first
        });
    }

    pub(crate) fn is_over(&self) -> bool {
        self.finding.borrow().is_some()
    }

    /// Files beside the disk that may be full.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.with_extension("outside")
    }

    pub(crate) fn remember(&self, what: impl Into<String>) {
        self.weather.remember(what.into());
    }

    /// Start the observer, and wait until it can be reached. Ends that a full disk explains are
    /// tried again, as a supervisor would.
    pub(crate) async fn start(&self, after_kill: bool) -> Result<(), String> {
        let config = self.outside().join("observer.toml");
        let arguments = ["observe", "--log-format", "json", "--config", &config.to_string_lossy()];
        let begun = Instant::now();
        let mut server = self.server.lock().await;
        'again: loop {
            *server = None;
            let process =
                server.insert(Process::start(&arguments, &self.outside().join("observer.log"))?);
            if after_kill {
                self.weather.started_after_kill();
            }
            loop {
                if let Some(status) = process.ended() {
                    if self.small.as_ref().is_some_and(SmallDisk::is_full) {
                        self.tally.add("starts that failed while the disk was full", 1);
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue 'again;
                    }
                    return Err(format!(
                        "the observer does not start, but ends with {status}; see its log"
                    ));
                }
                let live = self
                    .client
                    .get(format!("{}/livez", self.url))
                    .timeout(Duration::from_secs(1))
                    .send()
                    .await;
                if live.is_ok_and(|answer| answer.status() == 200) {
                    self.weather.clear_up();
                    return Ok(());
                }
                if begun.elapsed() > PATIENCE {
                    return Err(format!(
                        "the observer can't be reached {} s after its start",
                        PATIENCE.as_secs()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }

    /// kill -9. What the observer has made durable is looked at before anything else happens to it.
    pub(crate) async fn kill(&self, look: bool) -> Result<(), String> {
        self.weather.disturb();
        if let Some(process) = &mut *self.server.lock().await {
            process.kill();
        }
        self.after_end(look).await
    }

    /// Start it, and kill it before long.
    pub(crate) async fn start_and_kill(&self, after: Duration) -> Result<(), String> {
        let config = self.outside().join("observer.toml");
        let arguments = ["observe", "--log-format", "json", "--config", &config.to_string_lossy()];
        let process = Process::start(&arguments, &self.outside().join("observer.log"))?;
        *self.server.lock().await = Some(process);
        tokio::time::sleep(after).await;
        self.kill(false).await
    }

    /// SIGTERM: it ends by itself, with success.
    pub(crate) async fn terminate(&self) -> Result<(), String> {
        self.weather.disturb();
        if let Some(process) = &mut *self.server.lock().await {
            process.signal("-TERM")?;
            // One shutdown timeout for requests, one for sinks, and time for each to flush and
            // close.
            let within = SHUTDOWN_TIMEOUT * 2 + Duration::from_secs(12) + SLACK;
            match process.end(within).await {
                None => {
                    return Err(format!(
                        "the observer did not end within {} s of SIGTERM",
                        within.as_secs()
                    ));
                }
                Some(status) if !status.success() => {
                    return Err(format!("after SIGTERM it ended with {status}"));
                }
                Some(_) => {}
            }
        }
        self.after_end(true).await
    }

    /// To the observer's process.
    pub(crate) async fn signal(&self, signal: &str) -> Result<(), String> {
        match &*self.server.lock().await {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    async fn after_end(&self, look: bool) -> Result<(), String> {
        self.read_far_sides()?;
        let positions = if look { self.verify().await? } else { HashMap::new() };
        self.oracle().restarts(&positions)
    }

    pub(crate) fn oracle(&self) -> std::sync::MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("nothing panics while it holds the oracle")
    }

    pub(crate) fn readings(&self) -> std::sync::MutexGuard<'_, Readings> {
        self.readings.lock().expect("nothing panics while it reads")
    }
}

fn configuration(dir: &Path, port: u16, far_sides: &[FarSide], is_small: bool) -> String {
    let (max_size, retain) = if is_small { ("40MiB", "20s") } else { ("1GiB", "60s") };
    let data = dir.display();
    let mut text = format!(
        "data_dir = \"{data}\"\n\
         [server]\nlisten = \"127.0.0.1:{port}\"\ningest_timeout = \"{}ms\"\nshutdown_timeout = \"{}s\"\n\
         [journal]\nsegment_size = \"1MiB\"\nmax_size = \"{max_size}\"\nretain = \"{retain}\"\n\
         [sinks.archive]\ntype = \"file\"\npath = \"{data}/events/archive.jsonl\"\nrotate = {{ max_size = \"512KiB\" }}\n\
         compression = \"gzip\"\nrequired = true\nstart = \"earliest\"\nretry = {{ max = \"1s\" }}\n\
         [sinks.prometheus]\ntype = \"prometheus\"\nrequired = true\nstart = \"earliest\"\nretry = {{ max = \"1s\" }}\n",
        INGEST_TIMEOUT.as_millis(),
        SHUTDOWN_TIMEOUT.as_secs(),
    );
    for far_side in far_sides {
        text.push_str(&format!(
            "[sinks.{}]\ntype = \"http\"\nurl = \"http://127.0.0.1:{}/\"\nbody = \"ndjson\"\nrequired = true\nstart = \"earliest\"\n\
             batch = {{ max_events = {BATCH}, linger = \"20ms\" }}\nretry = {{ initial = \"50ms\", max = \"1s\" }}\n\
             timeout = \"1s\"\n",
            far_side.name, far_side.port
        ));
    }
    text
}
