//! What is held against what: while everything goes on, after each kill, and when all is calm.

use std::collections::HashMap;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deployment::{House, INGEST_TIMEOUT, PATIENCE, SLACK};
use crate::oracle::account::{Account, check_dead_letters};
use crate::producer;

/// A log that is larger is cut once it was read.
const MAX_LOG: usize = 8 << 20;

/// How long sinks may take in calm before they get one more event.
const LONELY: Duration = Duration::from_secs(5);

impl House {
    /// `observer journal verify`: where the sinks stand. A torn end is all that may be wrong.
    pub(crate) async fn verify(&self) -> Result<HashMap<String, u64>, String> {
        self.tally.add("journals verified", 1);
        let config = self.outside().join("observer.toml");
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("command")
            .arg("--config")
            .arg(config)
            .args(["journal", "verify", "--json"])
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output =
            output.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let found: Value = match serde_json::from_str(&text) {
            Ok(found) => found,
            // It was killed before it had one.
            Err(_) if !self.dir.join("journal").exists() => return Ok(HashMap::new()),
            Err(error) => return Err(format!("observer journal verify: {error}: {text}{errors}")),
        };
        let damage = found["damage"].as_array().cloned().unwrap_or_default();
        if found["lost"] != 0 || damage.iter().any(|damage| damage["kind"] != "tail") {
            return Err(format!("the journal is damaged: {}", found["damage"]));
        }
        self.tally.add("torn ends found in journals", damage.len() as u64);
        let sinks = found["sinks"].as_array().into_iter().flatten();
        Ok(sinks
            .filter_map(|sink| {
                Some((sink["name"].as_str()?.to_owned(), sink["position"].as_u64()?))
            })
            .collect())
    }

    /// What there is to be seen while everything goes on.
    pub(crate) fn look(&self) -> Result<(), String> {
        let mut readings = self.readings();
        let lines = readings.archive.closed()?;
        self.oracle().archive(&lines, |n| self.was_sent(n))?;
        drop(readings);
        self.read_far_sides()
    }

    pub(crate) fn read_far_sides(&self) -> Result<(), String> {
        let mut readings = self.readings();
        for (far_side, reading) in self.far_sides.iter().zip(&mut readings.far_sides) {
            let lines = far_side.taken(reading)?;
            let count = self.oracle().receive(far_side.name, &lines, |n| self.was_sent(n))?;
            self.tally.add("deliveries of events checked", count);
        }
        Ok(())
    }

    /// The account of each sink closes, and no event is taken back from what was shown.
    pub(crate) async fn ask_metrics(&self) -> Result<Option<Account>, String> {
        let begun = self.weather.begin();
        let answer = async {
            let answer =
                self.client.get(format!("{}/metrics", self.url)).timeout(INGEST_TIMEOUT + SLACK);
            answer.send().await?.error_for_status()?.text().await
        };
        let text = match answer.await {
            Ok(text) => text,
            Err(error) if self.weather.was_fine(begun) => {
                return Err(format!("GET /metrics: {error:?}"));
            }
            Err(_) => return Ok(None),
        };
        let account = Account::read(&text);
        account.closes()?;
        let mut readings = self.readings();
        if account.events_total < readings.events_total {
            let (before, now) = (readings.events_total, account.events_total);
            return Err(format!(
                "the sum of observer_events_total went back from {before} to {now}"
            ));
        }
        readings.events_total = account.events_total;
        self.tally.add("accounts checked", account.sinks.len() as u64);
        Ok(Some(account))
    }

    /// With everything mended and nobody sending: wait until each sink has everything, and hold all
    /// of it against what was acknowledged.
    pub(crate) async fn settle(&self) -> Result<(), String> {
        self.until_none_is_pending().await?;
        let lines = self.readings().archive.all()?;
        self.oracle().archive(&lines, |n| self.was_sent(n))?;
        self.read_far_sides()?;
        let head = self.complete()?;
        let account = self.until_total(head).await?;
        for (name, sink) in &account.sinks {
            let is_far = self.far_sides.iter().any(|far_side| far_side.name == name);
            let dead = if is_far { self.oracle().passed(name) } else { 0 };
            if (sink.delivered, sink.dead) != (head - dead, dead) {
                return Err(format!(
                    "of {head} events {dead} are poison to {name}, and its account says {sink:?}"
                ));
            }
        }
        self.read_log()?;
        self.tally.add("times that all was held against all", 1);
        Ok(())
    }

    /// What was read adds up. How many events there are.
    fn complete(&self) -> Result<u64, String> {
        let mut oracle = self.oracle();
        oracle.complete()?;
        for far_side in &self.far_sides {
            let letters = self.dir.join("journal/dead-letters").join(far_side.name);
            check_dead_letters(&letters, oracle.dead(far_side.name))?;
        }
        Ok(oracle.head())
    }

    async fn until_none_is_pending(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut random = fastrand::Rng::with_seed(self.seed);
        loop {
            let account = self.ask_metrics().await?;
            if account.is_some_and(|account| account.sinks.values().all(|sink| sink.pending == 0)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let sinks = self.client.get(format!("{}/v1/sinks", self.url)).send().await;
                let sinks = match sinks {
                    Ok(sinks) => sinks.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                return Err(format!(
                    "after {} s of calm some sinks have events pending: {sinks}",
                    PATIENCE.as_secs()
                ));
            }
            if begun.elapsed() > LONELY {
                // The last events may all be poison to someone, who is parked until there is one
                // that isn't.
                producer::send_single(self, &mut random).await?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Metrics show what is durable, so with a delay.
    async fn until_total(&self, head: u64) -> Result<Account, String> {
        let begun = Instant::now();
        loop {
            if let Some(account) = self.ask_metrics().await? {
                if account.events_total == head as f64 {
                    return Ok(account);
                }
                if begun.elapsed() > INGEST_TIMEOUT + SLACK {
                    let total = account.events_total;
                    return Err(format!(
                        "the sum of observer_events_total is {total}, and there are {head} events"
                    ));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Nothing may have panicked. What was read is not kept for ever.
    pub(crate) fn read_log(&self) -> Result<(), String> {
        let path = self.outside().join("observer.log");
        let log = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(format!("its log says: {line}"));
        }
        if log.len() > MAX_LOG {
            let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(0));
            cut.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}
