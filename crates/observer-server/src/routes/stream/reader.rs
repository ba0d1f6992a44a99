//! Reader of a stream: selects what its client receives, from the broadcast or, while it is behind,
//! from the journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use observer_core::Position;
use observer_pipeline::{Follower, Pipeline};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::block::{Block, BlockBuilder, Selection, position_frame, slow_gap, unknown_gap};
use super::broadcast::{Broadcast, Lookup, add_present};
use super::streams::StreamPermit;
use crate::request::access::Scope;
use crate::settings::Settings;
use crate::state::ServerState;

/// Time without bytes after which a comment keeps the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Bytes of frames that are looked at in one turn.
const MAX_TURN: usize = 128 << 10;
/// Least time between two turns while events keep coming.
const MIN_INTERVAL: u64 = 64;
/// Range by which the intervals of readers differ, in milliseconds, so that their turns are spread
/// over time rather than taken all at once.
const INTERVALS: u64 = 64;
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Credentials of a client, which are checked again when the settings change.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Headers of the request that identify the caller.
    pub(super) headers: HeaderMap,
    /// True if the caller has all scopes without a token.
    pub(super) is_admin: bool,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Head,
    After(Position),
}

/// Reader of a stream.
pub(super) struct Reader {
    state: Arc<ServerState>,
    /// Settings by which the credentials were checked.
    settings: Arc<Settings>,
    credentials: Credentials,
    selection: Selection,
    broadcast: Arc<Broadcast>,
    published: watch::Receiver<u64>,
    source: Source,
    /// Sequence number of the event that is read next.
    next: u64,
    /// Last sequence number that the client received as an id.
    sent_seq: u64,
    ready: VecDeque<Bytes>,
    last_sent: Instant,
    next_turn: Instant,
    interval: Duration,
    _permit: StreamPermit,
}

/// Where a reader reads.
enum Source {
    Broadcast,
    /// The journal, from the start of a stream until it has reached the broadcast.
    Journal(Follower),
    /// The journal, since the reader fell behind the broadcast.
    Lagging(Follower, #[expect(dead_code, reason = "held while lagging")] OwnedSemaphorePermit),
}

/// Progress of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is nothing new.
    Nothing,
    /// All that is there was read.
    Read,
    /// There is more.
    Full,
    /// The stream ends.
    Over,
}

impl Reader {
    /// Creates a reader. It joins the broadcast before it determines the head, so that the
    /// broadcast has every later event.
    pub(super) fn new(
        state: Arc<ServerState>,
        settings: Arc<Settings>,
        credentials: Credentials,
        selection: Selection,
        start: Start,
        permit: StreamPermit,
    ) -> Self {
        let broadcast = state.streams.join(&state.pipeline);
        let (source, next, first) = begin(&state.pipeline, start);
        let interval = MIN_INTERVAL + permit.number().wrapping_mul(37) % INTERVALS;
        let now = Instant::now();
        Self {
            published: broadcast.last_seq(),
            state,
            settings,
            credentials,
            selection,
            broadcast,
            source,
            next,
            sent_seq: next - 1,
            ready: VecDeque::from([first]),
            last_sent: now,
            next_turn: now,
            interval: Duration::from_millis(interval),
            _permit: permit,
        }
    }

    /// Returns the next bytes that are ready.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Waits until bytes are ready. Returns false when the stream ends.
    pub(super) async fn turn(&mut self) -> bool {
        loop {
            if !self.wait(self.next_turn, None).await {
                return false;
            }
            let progress = self.read().await;
            let now = Instant::now();
            match progress {
                Progress::Over => return false,
                Progress::Read => self.next_turn = now + self.interval,
                Progress::Full | Progress::Nothing => {}
            }
            if self.ready.is_empty() && now >= self.last_sent + KEEP_ALIVE {
                self.keep_alive();
            }
            if !self.ready.is_empty() {
                self.last_sent = now;
                return true;
            }
            let deadline = self.last_sent + KEEP_ALIVE;
            if progress == Progress::Nothing && !self.wait(deadline, Some(self.next)).await {
                return false;
            }
        }
    }

    /// Waits until a time, or until the broadcast has an event. Returns false when the stream ends.
    async fn wait(&mut self, until: Instant, event: Option<u64>) -> bool {
        let settings = self.settings.clone();
        let published = &mut self.published;
        let reached = async {
            match event {
                Some(next) => drop(published.wait_for(|last| *last >= next).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.state.drain.cancelled() => return false,
            () = settings.superseded.cancelled() => {}
            () = reached => return true,
            () = sleep_until(until) => return true,
        }
        self.check_credentials()
    }

    /// Checks the credentials by the present settings. Returns false if they are no longer valid.
    fn check_credentials(&mut self) -> bool {
        self.settings = self.state.settings.load_full();
        if self.credentials.is_admin {
            return true;
        }
        let caller = self.settings.gate.authorize(&self.credentials.headers, Scope::Read);
        let Ok(caller) = caller else { return false };
        self.selection.sources = caller.sources().map(<[String]>::to_vec);
        true
    }

    /// Adds the frames of a turn.
    async fn read(&mut self) -> Progress {
        if matches!(self.source, Source::Broadcast) {
            match self.broadcast.read_from(self.next, MAX_TURN) {
                Lookup::Found(blocks) => return self.add_all(&blocks),
                Lookup::NotYet => return Progress::Nothing,
                Lookup::Evicted { first_seq } => {
                    if !self.begin_lagging() {
                        self.skip_to(first_seq);
                        return Progress::Full;
                    }
                }
            }
        }
        self.read_journal().await
    }

    fn add_all(&mut self, blocks: &[Arc<Block>]) -> Progress {
        for block in blocks {
            self.add(block);
        }
        let is_last = self.next > *self.published.borrow();
        if is_last { Progress::Read } else { Progress::Full }
    }

    fn add(&mut self, block: &Block) {
        let selected = block.select(self.next, &self.selection, &mut self.ready);
        self.sent_seq = selected.last_seq.unwrap_or(self.sent_seq);
        self.state.metrics.stream_missed_events.inc_by(selected.missed);
        self.next = block.last_seq() + 1;
    }

    /// Continues in the journal, if not too many readers do. Returns false if they do.
    fn begin_lagging(&mut self) -> bool {
        let Some(permit) = self.state.streams.lag() else { return false };
        let Ok(follower) = self.state.pipeline.follow(self.position(self.next - 1)) else {
            return false;
        };
        self.source = Source::Lagging(follower, permit);
        true
    }

    /// Continues with the first event of the broadcast.
    fn skip_to(&mut self, first_seq: u64) {
        let missing = self.next..=first_seq - 1;
        self.state.metrics.stream_missed_events.inc_by(first_seq - self.next);
        self.ready.push_back(slow_gap(self.state.pipeline.head().epoch, missing));
        self.sent_seq = first_seq - 1;
        self.next = first_seq;
    }

    async fn read_journal(&mut self) -> Progress {
        let (Source::Journal(follower) | Source::Lagging(follower, _)) = &mut self.source else {
            return Progress::Nothing;
        };
        let mut builder = BlockBuilder::new(self.state.pipeline.head().epoch);
        let added = {
            let _permit = self.state.streams.journal_read().await;
            add_present(follower, &mut builder, MAX_TURN).await
        };
        let next = follower.next_seq();
        if let Some(block) = builder.build() {
            // The events of an older epoch that the journal lost have no place in this one.
            self.next = 0;
            self.add(&block);
        }
        self.next = next;
        if let Err(error) = added {
            tracing::warn!(%error, "the journal could not be read for a stream, which ends");
            return Progress::Over;
        }
        if !matches!(self.broadcast.read_from(self.next, 1), Lookup::Evicted { .. }) {
            self.source = Source::Broadcast;
        }
        Progress::Full
    }

    /// Adds a comment, or the position of the client if events were left out since.
    fn keep_alive(&mut self) {
        let seq = self.next - 1;
        let frame = match seq == self.sent_seq {
            true => COMMENT,
            false => position_frame(self.position(seq)),
        };
        self.sent_seq = seq;
        self.ready.push_back(frame);
    }

    fn position(&self, seq: u64) -> Position {
        Position { seq, ..self.state.pipeline.head() }
    }
}

/// Returns the source of a new reader, the sequence number that it reads first, and its first
/// frame, which gives the client a position.
fn begin(pipeline: &Pipeline, start: Start) -> (Source, u64, Bytes) {
    let resumed = match start {
        Start::Head => None,
        Start::After(position) => Some(pipeline.follow(position)),
    };
    match resumed {
        Some(Ok(follower)) => {
            let next = follower.next_seq();
            (Source::Journal(follower), next, COMMENT)
        }
        other => {
            let follower = pipeline.follow_from_head();
            let next = follower.next_seq();
            let id = Position { seq: next - 1, ..pipeline.head() };
            let first = if other.is_some() { unknown_gap(id) } else { position_frame(id) };
            (Source::Journal(follower), next, first)
        }
    }
}
