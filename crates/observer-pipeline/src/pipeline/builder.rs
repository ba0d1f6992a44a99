//! Builder of a pipeline.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_journal::fs::FileSystem;
use observer_journal::{OfflineJournal, OpenError, Options};

use super::sinks::{hold, hold_events};
use super::{Inner, Pipeline, StartError, maintenance};
use crate::account::Checkpoint;
use crate::blocking::Blocking;
use crate::dead_letters::undecided;
use crate::event_log::Journal;
use crate::ingest::{CommitState, Ingest, IngestOptions, scanned_keys, upgrade};
use crate::replay::state::is_replay_reader;
use crate::spec::SinkSpec;

/// Builder of a [`Pipeline`].
#[derive(Debug)]
#[must_use]
pub struct PipelineBuilder {
    journal: Options,
    ingest: IngestOptions,
    sinks: Vec<SinkSpec>,
    seed: Option<u64>,
}

impl PipelineBuilder {
    /// Sets the options of the journal.
    pub fn journal(self, journal: Options) -> Self {
        Self { journal, ..self }
    }

    /// Sets the options of ingest.
    pub fn ingest(self, ingest: IngestOptions) -> Self {
        Self { ingest, ..self }
    }

    /// Adds a sink. One that continues at its position of an earlier run belongs here: the journal
    /// may remove expired events before a sink is added to the running pipeline.
    pub fn sink(mut self, sink: SinkSpec) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Adds sinks.
    pub fn sinks(mut self, sinks: impl IntoIterator<Item = SinkSpec>) -> Self {
        self.sinks.extend(sinks);
        self
    }

    /// Seeds the jitter of back-off, so that the same calls have the same pauses.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Opens the journal, and starts a worker for each sink.
    ///
    /// # Errors
    /// If the journal can't be opened, or a sink can't be added. An unreachable destination is
    /// not an error: its events wait.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<Pipeline, StartError> {
        let Self { journal, ingest, sinks, seed } = self;
        // Identities are known for the time of the window, however early their events go.
        let window = Duration::from_micros(ingest.dedup.micros);
        let options = journal.remember_keys(window, scanned_keys(&ingest.dedup));
        for spec in &sinks {
            let verified = spec.sink.verify_state().await;
            verified.map_err(|source| StartError::State { name: spec.name.clone(), source })?;
        }
        let commit_state = Arc::new(CommitState::new(ingest.dedup));
        let (journal, committed) = (options.clone(), commit_state.clone());
        let (fs, dir, clock) = (options.fs(), options.dir().to_owned(), options.get_clock());
        let holds: Vec<_> = sinks.iter().map(|sink| (sink.name.clone(), hold(sink))).collect();
        let open = move || {
            verify_own_versions(&*fs, &dir)?;
            let (journal, recovery) =
                Journal::open(journal, move |group| committed.on_commit(group))?;
            let journal = Arc::new(journal);
            // Before anything can fail: a journal that is closed removes what no reader holds.
            holds.iter().for_each(|(name, hold)| hold_events(&journal, name, *hold));
            count_lost_ends(&journal);
            let tail = commit_state.tail.clone();
            tail.begin_after(journal.head());
            let since = upgrade::principals_since(&*fs, &dir, recovery.created, clock());
            let ingest = Ingest::open(journal.clone(), commit_state, ingest, since, clock)
                .map_err(StartError::Keys)?;
            Ok::<_, StartError>((journal, recovery, tail, since, ingest))
        };
        let blocking = Blocking::new(options.get_runner());
        let opened = blocking.run(open).await;
        let (journal, recovery, tail, tagged_since, ingest) =
            opened.expect("opening a journal doesn't panic")?;
        let inner = Arc::new(Inner {
            blocking,
            journal,
            options,
            tail,
            tagged_since,
            ingest,
            workers: Mutex::default(),
            served: Mutex::default(),
            dead_letter_stores: Mutex::default(),
            undecided_stores: Mutex::default(),
            stopped: Mutex::default(),
            random: Mutex::new(seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            recovery,
            maintenance: Mutex::default(),
        });
        let pipeline = Pipeline { inner };
        for sink in sinks {
            if let Err(error) = pipeline.add_sink(sink) {
                pipeline.shutdown(Duration::ZERO).await;
                return Err(error.into());
            }
        }
        *pipeline.inner.maintenance() =
            Some(tokio::spawn(maintenance::maintain(blocking, pipeline.inner.journal.clone())));
        Ok(pipeline)
    }
}

/// Counts the events that the journal lost at its end in the accounts of the sinks that had not
/// received them.
fn count_lost_ends(journal: &Journal) {
    for (name, _) in journal.positions().into_iter().filter(|(name, _)| !is_replay_reader(name)) {
        let lost = journal.lost_after_position(&name);
        if let Some(stored) = journal.position(&name).filter(|_| lost > 0) {
            tracing::error!(
                sink = name,
                lost,
                "the journal lost events before they were delivered"
            );
            let mut checkpoint = Checkpoint::decode(stored.seq, &stored.state);
            checkpoint.lose(lost);
            journal.set_position(&name, checkpoint.seq, checkpoint.encode().into());
        }
    }
}

/// Checks that no later version of the program wrote a file in the folder of a journal, which may
/// be missing or open. Changes nothing.
///
/// # Errors
/// If a later version wrote a file.
pub fn verify_versions(options: &Options) -> Result<(), OpenError> {
    OfflineJournal::verify_versions(options)?;
    verify_own_versions(&*options.fs(), options.dir())
}

/// Checks the versions of the files beside those of the journal itself.
fn verify_own_versions(fs: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
    upgrade::verify_version(fs, dir)?;
    undecided::verify_versions(fs, &dir.join(undecided::FOLDER))
}

impl Pipeline {
    /// Returns a builder whose defaults are a journal in memory (256 MiB) and no sinks.
    pub fn builder() -> PipelineBuilder {
        let memory = Options::new("journal")
            .file_system(observer_journal::fs::Memory::default())
            .max_size(256 << 20);
        PipelineBuilder {
            journal: memory,
            ingest: IngestOptions::default(),
            sinks: Vec::new(),
            seed: None,
        }
    }
}
