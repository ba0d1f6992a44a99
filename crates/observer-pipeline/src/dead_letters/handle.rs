//! API of the pipeline for dead letters: listing, showing, redelivering and purging.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use observer_core::{Event, Timestamp, Uuid, sink_name};
use tokio::sync::{mpsc, oneshot};

use crate::dead_letters::index::{ALL_FILES, DeadLetter, Entry};
use crate::dead_letters::store::DeadLetterStore;
use crate::lock::lock;
use crate::pipeline::Pipeline;
use crate::worker::command::{Command, RedeliverCommand, RedeliverReport, Rejection};

/// Selection of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterSelection {
    /// All dead letters of the sink.
    All,
    /// Dead letters of the events with these ids.
    Ids(BTreeSet<Uuid>),
    /// Dead letters with a `dead_at` before this time.
    Before(Timestamp),
}

/// Position of a page in the list of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterCursor {
    seq: u64,
    id: Uuid,
}

/// Page of a sink's dead letters, newest events first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterPage {
    /// Number of all dead letters of the sink.
    pub total: usize,
    /// Dead letters of this page.
    pub dead_letters: Vec<DeadLetter>,
    /// Cursor of the next page; `None` on the last page.
    pub next: Option<DeadLetterCursor>,
}

/// Result of a redelivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redelivery {
    /// Number of dead letters that were delivered and removed.
    pub redelivered: u64,
    /// Events that were rejected again, with the destination's response. Their dead letters stay.
    pub rejected: Vec<(Uuid, String)>,
    /// Selected ids for which the sink has no dead letter.
    pub missing: Vec<Uuid>,
    /// Reason for which the redelivery ended early. The dead letters that were not tried stay.
    pub stopped: Option<String>,
}

impl Redelivery {
    /// Adds the report of the sink's worker; `None` if the worker has ended.
    ///
    /// # Errors
    /// If the worker stopped before it tried a dead letter.
    fn add(&mut self, sink: &str, report: Option<RedeliverReport>) -> Result<(), DeadLetterError> {
        let name = sink.to_owned();
        let has_ended = report.is_none();
        let RedeliverReport { redelivered, rejected, stopped } = report.unwrap_or_default();
        self.redelivered += redelivered;
        self.rejected.extend(rejected);
        let has_tried = self.redelivered > 0 || !self.rejected.is_empty();
        self.stopped = match stopped {
            Some(Rejection::Permanent(reason)) => {
                return Err(DeadLetterError::ReplayUnsupported { name, reason });
            }
            Some(Rejection::Temporary(reason)) if !has_tried => {
                return Err(DeadLetterError::Unavailable { reason });
            }
            Some(Rejection::Temporary(reason)) => Some(reason),
            None if has_ended && !has_tried => {
                return Err(DeadLetterError::SinkNotRunning { name });
            }
            None => has_ended.then(|| "the sink was stopped".to_owned()),
        };
        Ok(())
    }
}

/// Error type for operations on dead letters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no sink of this name.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// Requested name.
        name: String,
    },
    /// The sink does not support the repeated delivery of events.
    #[error("the sink {name:?} does not support redelivery: {reason}")]
    ReplayUnsupported {
        /// Name of the sink.
        name: String,
        /// Reason that the sink states.
        reason: String,
    },
    /// The sink is no longer configured, or is being stopped.
    #[error("the sink {name:?} is not running; add it to the configuration first")]
    SinkNotRunning {
        /// Name of the sink.
        name: String,
    },
    /// The sink is unavailable at the moment. All dead letters stay.
    #[error("no dead letter was redelivered: {reason}")]
    Unavailable {
        /// Failure of the sink.
        reason: String,
    },
    /// No event was diverted.
    #[error("no event was diverted: {reason}")]
    NotDiverted {
        /// Failure of a file operation or of the sink.
        reason: String,
    },
    /// The files can't be read or written.
    #[error("the dead letters can't be read or written")]
    Files(#[source] io::Error),
    /// An edited event was given with a selection other than a single id.
    #[error("an edited event needs exactly one id; select a single dead letter")]
    EditNeedsOneId,
}

impl Pipeline {
    /// Returns a page of a sink's dead letters, newest events first: up to `limit` of those after
    /// the cursor.
    ///
    /// # Errors
    /// If there is no such sink, or its files can't be read.
    pub async fn dead_letters(
        &self,
        sink: &str,
        limit: usize,
        cursor: Option<DeadLetterCursor>,
    ) -> Result<DeadLetterPage, DeadLetterError> {
        self.with_store(sink, move |store| {
            let entries = store.index()?;
            let end = cursor.map_or(entries.len(), |cursor| {
                entries.partition_point(|entry| cursor_of(entry) < cursor)
            });
            let page = &entries[end.saturating_sub(limit)..end];
            let mut dead_letters = match (page.first(), ids_of(page)) {
                (None, _) => Vec::new(),
                (Some(_), ids) => store.load(&ids, &files_of(page))?,
            };
            dead_letters.reverse();
            let next = page.first().filter(|_| end > page.len()).map(cursor_of);
            Ok(DeadLetterPage { total: entries.len(), dead_letters, next })
        })
        .await
    }

    /// Returns the dead letter of an event, if there is one.
    ///
    /// # Errors
    /// If there is no such sink, or its files can't be read.
    pub async fn dead_letter(
        &self,
        sink: &str,
        id: Uuid,
    ) -> Result<Option<DeadLetter>, DeadLetterError> {
        self.with_store(sink, move |store| Ok(store.load(&BTreeSet::from([id]), &ALL_FILES)?.pop()))
            .await
    }

    /// Removes dead letters permanently. Returns how many there were.
    ///
    /// # Errors
    /// If there is no such sink, or its files can't be written. Some may be removed then.
    pub async fn purge_dead_letters(
        &self,
        sink: &str,
        selection: DeadLetterSelection,
    ) -> Result<u64, DeadLetterError> {
        let purged = self.with_store(sink, move |store| match selection {
            DeadLetterSelection::All => store.clear(),
            DeadLetterSelection::Ids(ids) => store.remove(&ids, &ALL_FILES),
            DeadLetterSelection::Before(_) => {
                let old: Vec<_> =
                    store.index()?.into_iter().filter(|entry| selection.has(entry)).collect();
                if old.is_empty() { Ok(0) } else { store.remove(&ids_of(&old), &files_of(&old)) }
            }
        });
        let purged = purged.await?;
        if purged > 0 {
            tracing::info!(sink, count = purged, "dead letters were purged");
            // The sink may be parked since it had no space for them. It need not run.
            if let Ok(commands) = self.commands(sink) {
                let _ = commands.try_send(Command::Wake(oneshot::channel().0));
            }
        }
        Ok(purged)
    }

    /// Delivers dead letters to their sink again, and to no other, in the order of the events.
    ///
    /// The sink's worker does it between its other batches. A dead letter is removed once its event
    /// is durable at the destination. If the observer ends before that, the dead letter stays, and
    /// the sink may get the event twice, under the same id.
    ///
    /// `edited` replaces the event of a single dead letter; identity and time of receipt stay.
    ///
    /// When the future is dropped, the current batch is still delivered, and the other dead letters
    /// stay.
    ///
    /// # Errors
    /// If nothing was delivered. A rejection by the destination is not an error.
    pub async fn redeliver_dead_letters(
        &self,
        sink: &str,
        selection: DeadLetterSelection,
        mut edited: Option<Event>,
    ) -> Result<Redelivery, DeadLetterError> {
        if edited.is_some()
            && !matches!(&selection, DeadLetterSelection::Ids(ids) if ids.len() == 1)
        {
            return Err(DeadLetterError::EditNeedsOneId);
        }
        let selected = selection.clone();
        let entries = self.with_store(sink, move |store| Ok(selected.of(store.index()?))).await?;
        let worker = self
            .worker_handle(sink)
            .ok_or_else(|| DeadLetterError::SinkNotRunning { name: sink.to_owned() })?;
        let missing = selection.missing_from(&entries);
        let mut result = Redelivery { missing, ..Redelivery::default() };
        let mut pages = entries.chunks(worker.batch_size.max(1)).peekable();
        while let Some(page) = pages.next() {
            let (reply, report) = oneshot::channel();
            let command = RedeliverCommand {
                ids: ids_of(page),
                files: files_of(page),
                edited: edited.take(),
                in_vain: if result.redelivered == 0 { result.rejected.len() } else { 0 },
                has_more: pages.peek().is_some(),
                reply,
            };
            let sent = worker.commands.send(Command::Redeliver(command)).await.is_ok();
            let report = if sent { report.await.ok() } else { None };
            result.add(sink, report)?;
            if result.stopped.is_some() {
                break;
            }
        }
        Ok(result)
    }

    /// Returns the channel to the worker of a sink.
    pub(crate) fn commands(&self, sink: &str) -> Result<mpsc::Sender<Command>, DeadLetterError> {
        if !sink_name::is_valid(sink) || !self.has_sink(sink) {
            return Err(DeadLetterError::UnknownSink { name: sink.to_owned() });
        }
        let worker = self.worker_handle(sink);
        let not_running = || DeadLetterError::SinkNotRunning { name: sink.to_owned() };
        worker.map(|worker| worker.commands).ok_or_else(not_running)
    }

    /// Runs an operation on a sink's store, on the blocking pool.
    async fn with_store<T: Send + 'static>(
        &self,
        sink: &str,
        work: impl FnOnce(&mut DeadLetterStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DeadLetterError> {
        if !sink_name::is_valid(sink) || !self.has_sink(sink) {
            return Err(DeadLetterError::UnknownSink { name: sink.to_owned() });
        }
        let store = self.dead_letter_store(sink);
        let done = self.blocking().run(move || work(&mut lock(&store))).await;
        done.map_err(io::Error::other).flatten().map_err(DeadLetterError::Files)
    }
}

impl DeadLetterSelection {
    fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&entry.id),
            Self::Before(time) => entry.dead_at < *time,
        }
    }

    fn of(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.retain(|entry| self.has(entry));
        entries
    }

    fn missing_from(&self, entries: &[Entry]) -> Vec<Uuid> {
        match self {
            Self::Ids(ids) => ids.difference(&ids_of(entries)).copied().collect(),
            Self::All | Self::Before(_) => Vec::new(),
        }
    }
}

fn cursor_of(entry: &Entry) -> DeadLetterCursor {
    DeadLetterCursor { seq: entry.seq, id: entry.id }
}

fn ids_of(entries: &[Entry]) -> BTreeSet<Uuid> {
    entries.iter().map(|entry| entry.id).collect()
}

fn files_of(entries: &[Entry]) -> std::ops::RangeInclusive<u64> {
    let first = entries.iter().map(|entry| *entry.files.start()).min().unwrap_or(0);
    let last = entries.iter().map(|entry| *entry.files.end()).max().unwrap_or(0);
    first..=last
}

impl fmt::Display for DeadLetterCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.id)
    }
}

/// Error type for text that is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is invalid; use the cursor of the previous page")]
pub struct InvalidCursor;

impl FromStr for DeadLetterCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (seq, id) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| InvalidCursor)?,
            id: Uuid::parse_str(id).map_err(|_| InvalidCursor)?,
        })
    }
}
