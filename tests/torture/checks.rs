//! Checks of a deployment: during faults, after each kill, and in quiescence at the end of a round.

use std::collections::HashMap;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deployment::configuration::{SOURCES_FILE, SOURCES_SIZE};
use crate::deployment::{DEADLINE, Deployment, INGEST_TIMEOUT, ReadState, SLACK};
use crate::oracle::account::{Account, SinkAccount, check_dead_letters};
use crate::producer;

/// Size in bytes above which a log is truncated after it was read.
const MAX_LOG: usize = 8 << 20;

/// Time after which a quiescent deployment gets one more event.
const NUDGE_AFTER: Duration = Duration::from_secs(5);

impl Deployment {
    /// Runs `observer journal verify` and returns the positions of the sinks. The only acceptable
    /// damage is a torn tail, or a torn footer after a kill on a full disk.
    pub(crate) async fn verify_journal(&self) -> Result<HashMap<String, u64>, String> {
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
            // The observer was killed before it created a journal.
            Err(_) if !self.dir.join("journal").exists() => return Ok(HashMap::new()),
            Err(error) => return Err(format!("observer journal verify: {error}: {text}{errors}")),
        };
        let damage = found["damage"].as_array().cloned().unwrap_or_default();
        if found["lost"] != 0 || damage.iter().any(|damage| !is_torn(damage)) {
            return Err(format!("the journal is damaged: {}", found["damage"]));
        }
        self.tally.add("torn tails and footers found in journals", damage.len() as u64);
        let sinks = found["sinks"].as_array().into_iter().flatten();
        Ok(sinks
            .filter_map(|sink| {
                Some((sink["name"].as_str()?.to_owned(), sink["position"].as_u64()?))
            })
            .collect())
    }

    /// Checks the closed files of the archive and the receivers. Faults may go on meanwhile.
    pub(crate) fn check_progress(&self) -> Result<(), String> {
        let mut read_state = self.read_state();
        let ReadState { archive, foreign, .. } = &mut *read_state;
        let lines = archive.closed(foreign)?;
        let sent = |n| if self.was_sent(n) { Ok(()) } else { Err("was never sent") };
        self.oracle().archive(&lines, false, sent)?;
        foreign.check()?;
        drop(read_state);
        self.read_destinations()
    }

    /// Checks the events that receivers have accepted since the last call.
    pub(crate) fn read_destinations(&self) -> Result<(), String> {
        let mut read_state = self.read_state();
        for (destination, position) in self.destinations.iter().zip(&mut read_state.destinations) {
            let lines = destination.new_lines(position)?;
            let count = self.oracle().receive(destination.name, &lines, |n| self.was_sent(n))?;
            self.tally.add("deliveries checked", count);
        }
        Ok(())
    }

    /// Checks that the counts of each sink add up and that no counter has decreased. Returns `None`
    /// if the observer was not available.
    pub(crate) async fn check_metrics(&self) -> Result<Option<Account>, String> {
        let begun = self.availability.begin();
        let response = async {
            let response =
                self.client.get(format!("{}/metrics", self.url)).timeout(INGEST_TIMEOUT + SLACK);
            response.send().await?.error_for_status()?.text().await
        };
        let text = match response.await {
            Ok(text) => text,
            Err(error) if self.availability.was_available(begun) => {
                return Err(format!("GET /metrics: {error:?}"));
            }
            Err(_) => return Ok(None),
        };
        let account = Account::read(&text);
        account.check_balance(|name| {
            self.destinations.iter().any(|sink| sink.name == name && sink.may_expire)
        })?;
        let mut read_state = self.read_state();
        if account.events_total < read_state.events_total {
            let (before, now) = (read_state.events_total, account.events_total);
            return Err(format!(
                "the sum of observer_events_total decreased from {before} to {now}"
            ));
        }
        read_state.events_total = account.events_total;
        self.tally.add("counts of sinks checked", account.sinks.len() as u64);
        Ok(Some(account))
    }

    /// Waits until no sink has pending events, and compares all data with the acknowledged events.
    /// No fault may be active and no producer may send.
    pub(crate) async fn check_all(&self) -> Result<(), String> {
        self.wait_until_nothing_is_pending().await?;
        self.check_archive()?;
        self.read_destinations()?;
        let head = self.complete()?;
        self.check_shared(head).await?;
        let account = self.wait_for_total(head).await?;
        for (name, sink) in &account.sinks {
            self.check_account(name, sink, head)?;
        }
        self.read_log()?;
        self.tally.add("complete checks", 1);
        Ok(())
    }

    fn check_archive(&self) -> Result<(), String> {
        let mut read_state = self.read_state();
        let ReadState { archive, foreign, .. } = &mut *read_state;
        for (index, folder) in archive.all(foreign)?.into_iter().enumerate() {
            let sent = |n| match folder.sent {
                Some(sent) if !sent.contains(n) && self.was_sent(n) => {
                    Err("is in a file whose folder was removed before the event was sent")
                }
                _ if self.was_sent(n) => Ok(()),
                _ => Err("was never sent"),
            };
            self.oracle().archive(&folder.text, index > 0, sent)?;
        }
        foreign.check()?;
        self.tally.add("foreign files checked", foreign.len() as u64);
        Ok(())
    }

    /// Checks the folder of two sinks. Files are deleted in the background.
    async fn check_shared(&self, head: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let checked = {
                let mut read_state = self.read_state();
                let ReadState { shared, foreign, .. } = &mut *read_state;
                shared.check(head, foreign, |line| self.oracle().copied(line))?
            };
            self.tally.add("lines checked in a shared folder", checked.0);
            // One file of each source is open, and one was closed since the last sweep.
            if checked.1 <= SOURCES_SIZE + 4 * SOURCES_FILE {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                return Err(format!(
                    "sources: its files have {} bytes instead of {SOURCES_SIZE}",
                    checked.1
                ));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Compares the counts of a sink with the number of events.
    fn check_account(&self, name: &str, sink: &SinkAccount, head: u64) -> Result<(), String> {
        let receiver = self.destinations.iter().find(|destination| destination.name == name);
        let skipped = receiver.map_or(0, |_| self.oracle().skipped(name));
        let (dead, expired) = match receiver {
            // What a receiver got shortly before a kill may expire after it.
            Some(receiver) if receiver.may_expire && sink.expired >= skipped => (0, sink.expired),
            Some(receiver) if receiver.may_expire => (0, skipped),
            Some(_) => (skipped, 0),
            None => (0, 0),
        };
        if (sink.delivered, sink.dead, sink.expired) != (head - dead - expired, dead, expired) {
            return Err(format!(
                "{name} did not receive {skipped} of {head} events, but its counts are {sink:?}"
            ));
        }
        Ok(())
    }

    /// Checks that nothing is missing. Returns the number of events in the archive.
    fn complete(&self) -> Result<u64, String> {
        let mut oracle = self.oracle();
        oracle.complete()?;
        for destination in &self.destinations {
            let dir = self.dir.join("journal/dead-letters").join(destination.name);
            let rejected = oracle.rejected(destination.name);
            check_dead_letters(&dir, &rejected, oracle.dead_letters_since())?;
        }
        Ok(oracle.head())
    }

    async fn wait_until_nothing_is_pending(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut random = fastrand::Rng::with_seed(self.seed);
        loop {
            let account = self.check_metrics().await?;
            if account.is_some_and(|account| account.sinks.values().all(|sink| sink.pending == 0)) {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                let sinks = self.client.get(format!("{}/v1/sinks", self.url)).send().await;
                let sinks = match sinks {
                    Ok(sinks) => sinks.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                return Err(format!(
                    "some sinks still have pending events {} s after the last fault: {sinks}",
                    DEADLINE.as_secs()
                ));
            }
            if begun.elapsed() > NUDGE_AFTER {
                // If the last events are all poison, their sink is parked until it can deliver
                // another event.
                producer::send_single(self, &mut random).await?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the metrics show all events. They show flushed counts, and so with a delay.
    async fn wait_for_total(&self, head: u64) -> Result<Account, String> {
        let begun = Instant::now();
        loop {
            if let Some(account) = self.check_metrics().await? {
                if account.events_total == head as f64 {
                    return Ok(account);
                }
                if begun.elapsed() > INGEST_TIMEOUT + SLACK {
                    let total = account.events_total;
                    return Err(format!(
                        "the sum of observer_events_total is {total} instead of {head}"
                    ));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks that the log contains no panic, and truncates a large log.
    pub(crate) fn read_log(&self) -> Result<(), String> {
        let path = self.outside().join("observer.log");
        let log = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(format!("the observer panicked: {line}"));
        }
        if log.len() > MAX_LOG {
            let truncated =
                File::options().write(true).open(&path).and_then(|file| file.set_len(0));
            truncated.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// Returns whether a damage is a write that a kill or a full disk has cut, so that nothing is lost.
fn is_torn(damage: &Value) -> bool {
    damage["kind"] == "tail" || (damage["kind"] == "footer" && damage["records"].is_null())
}
