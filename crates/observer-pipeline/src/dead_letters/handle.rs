//! Dead letters as others see them: listed, shown, sent again, purged.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use observer_core::{Event, Timestamp, Uuid, sink_name};
use tokio::sync::oneshot;

use crate::dead_letters::index::{ALL_FILES, DeadLetter, Entry};
use crate::dead_letters::store::DeadLetterStore;
use crate::lock::lock;
use crate::pipeline::Pipeline;
use crate::worker::command::{LettersOrder, Order, Outcome, Stopped};

/// Which letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterSelection {
    /// All that are there.
    All,
    /// Those of these events.
    Ids(BTreeSet<Uuid>),
    /// Those that were put aside before this.
    Before(Timestamp),
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterCursor {
    seq: u64,
    id: Uuid,
}

/// Some of a sink's dead letters, those of the newest events first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterPage {
    /// How many there are in all.
    pub total: usize,
    /// Those of this page.
    pub dead_letters: Vec<DeadLetter>,
    /// Where the next page begins, if there is one.
    pub next: Option<DeadLetterCursor>,
}

/// What came of sending letters again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redelivery {
    /// How many the sink took; they are no dead letters any more.
    pub redelivered: u64,
    /// Those that were refused again, with what the far side said. They stay.
    pub rejected: Vec<(Uuid, String)>,
    /// Those that are no dead letters of this sink.
    pub missing: Vec<Uuid>,
    /// Why it ended before all were tried. What was not tried stays.
    pub stopped: Option<String>,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no such sink.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// The name.
        name: String,
    },
    /// The sink can't take past events rightly, ever.
    #[error("the sink {name:?} can't be sent its dead letters: {reason}")]
    InOrderOnly {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The sink doesn't run: it is configured no more, or is about to end.
    #[error("the sink {name:?} doesn't run, so it can't be sent anything")]
    SinkNotRunning {
        /// The name.
        name: String,
    },
    /// The sink takes nothing now.
    #[error("the dead letters stay as they are: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
    /// The files can't be read or written.
    #[error("the dead letters can't be read or written")]
    Files(#[source] io::Error),
    /// An edited event is for one letter.
    #[error("an edited event can be sent for a single dead letter only")]
    EditNeedsOneId,
}

type Shelf = Arc<Mutex<DeadLetterStore>>;

impl Pipeline {
    /// A sink's dead letters, those of the newest events first: up to `limit` of those that come
    /// after the cursor.
    ///
    /// # Errors
    /// When there is no such sink, or its files can't be read.
    pub async fn dead_letters(
        &self,
        sink: &str,
        limit: usize,
        cursor: Option<DeadLetterCursor>,
    ) -> Result<DeadLetterPage, DeadLetterError> {
        self.with_shelf(sink, move |shelf| {
            let entries = shelf.index()?;
            let end = cursor.map_or(entries.len(), |cursor| {
                entries.partition_point(|entry| cursor_of(entry) < cursor)
            });
            let page = &entries[end.saturating_sub(limit)..end];
            let mut letters = match (page.first(), ids_of(page)) {
                (None, _) => Vec::new(),
                (Some(_), ids) => shelf.load(&ids, &files_of(page))?,
            };
            letters.reverse();
            let next = page.first().filter(|_| end > page.len()).map(cursor_of);
            Ok(DeadLetterPage { total: entries.len(), dead_letters: letters, next })
        })
        .await
    }

    /// The dead letter of this event, if there is one.
    ///
    /// # Errors
    /// When there is no such sink, or its files can't be read.
    pub async fn dead_letter(
        &self,
        sink: &str,
        id: Uuid,
    ) -> Result<Option<DeadLetter>, DeadLetterError> {
        self.with_shelf(sink, move |shelf| Ok(shelf.load(&BTreeSet::from([id]), &ALL_FILES)?.pop()))
            .await
    }

    /// Remove letters for good. Says how many.
    ///
    /// # Errors
    /// When there is no such sink, or its files can't be written. Some may be gone then.
    pub async fn purge_dead_letters(
        &self,
        sink: &str,
        which: DeadLetterSelection,
    ) -> Result<u64, DeadLetterError> {
        let purged = self.with_shelf(sink, move |shelf| match which {
            DeadLetterSelection::All => shelf.clear(),
            DeadLetterSelection::Ids(ids) => shelf.remove(&ids, &ALL_FILES),
            DeadLetterSelection::Before(_) => {
                let old: Vec<_> =
                    shelf.index()?.into_iter().filter(|entry| which.has(entry)).collect();
                if old.is_empty() { Ok(0) } else { shelf.remove(&ids_of(&old), &files_of(&old)) }
            }
        });
        let purged = purged.await?;
        if purged > 0 {
            tracing::info!(sink, count = purged, "dead letters were purged");
        }
        Ok(purged)
    }

    /// Send letters again, straight to their sink and to no other, in the order of the events, and
    /// between its other batches. A letter goes away once the sink has made its event durable;
    /// should the observer end before that, it stays, and the sink may get the event twice, under
    /// one id.
    ///
    /// With `edited`, that goes in place of the one event that is selected; identity and time of
    /// receipt stay.
    ///
    /// When this is dropped, what is on its way is delivered, and the rest stays.
    ///
    /// # Errors
    /// When nothing was sent. What the far side refuses is no error.
    pub async fn redeliver_dead_letters(
        &self,
        sink: &str,
        which: DeadLetterSelection,
        mut edited: Option<Event>,
    ) -> Result<Redelivery, DeadLetterError> {
        if edited.is_some() && !matches!(&which, DeadLetterSelection::Ids(ids) if ids.len() == 1) {
            return Err(DeadLetterError::EditNeedsOneId);
        }
        let selected = which.clone();
        let index = self.with_shelf(sink, move |shelf| {
            Ok(shelf.index()?.into_iter().filter(|entry| selected.has(entry)).collect::<Vec<_>>())
        });
        let entries = index.await?;
        let desk = self
            .desk(sink)
            .ok_or_else(|| DeadLetterError::SinkNotRunning { name: sink.to_owned() })?;
        let mut result =
            Redelivery { missing: which.missing_from(&entries), ..Redelivery::default() };
        for page in entries.chunks(desk.at_once.max(1)) {
            let (answer, answered) = oneshot::channel();
            let order = LettersOrder {
                ids: ids_of(page),
                files: files_of(page),
                edited: edited.take(),
                answer,
            };
            let sent = desk.orders.send(Order::Redeliver(order)).await.is_ok();
            let outcome = if sent { answered.await.ok() } else { None };
            let Some(Outcome { replayed, refused, stopped }) = outcome else {
                if result.redelivered == 0 && result.rejected.is_empty() {
                    return Err(DeadLetterError::SinkNotRunning { name: sink.to_owned() });
                }
                result.stopped = Some("the sink has ended".to_owned());
                break;
            };
            result.redelivered += replayed;
            result.rejected.extend(refused);
            match stopped {
                None => {}
                Some(Stopped::Never(reason)) => {
                    return Err(DeadLetterError::InOrderOnly { name: sink.to_owned(), reason });
                }
                Some(Stopped::NotNow(reason))
                    if result.redelivered == 0 && result.rejected.is_empty() =>
                {
                    return Err(DeadLetterError::Unavailable { reason });
                }
                Some(Stopped::NotNow(reason)) => {
                    result.stopped = Some(reason);
                    break;
                }
            }
        }
        Ok(result)
    }

    /// Do something with a sink's letters, where blocking work is done.
    async fn with_shelf<T: Send + 'static>(
        &self,
        sink: &str,
        work: impl FnOnce(&mut DeadLetterStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DeadLetterError> {
        if !sink_name::is_valid(sink) || !self.knows_sink(sink) {
            return Err(DeadLetterError::UnknownSink { name: sink.to_owned() });
        }
        let shelf: Shelf = self.shelf(sink);
        let done = self.blocking().run(move || work(&mut lock(&shelf))).await;
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

/// It is none that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none that was given out")]
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
