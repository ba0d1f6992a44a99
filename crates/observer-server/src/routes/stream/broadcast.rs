//! Broadcast: one read of the journal for all readers that keep up.
//!
//! A task follows the journal while there is a reader. It encodes each event once, into blocks in a
//! ring of limited size.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use observer_pipeline::{Follower, Pipeline};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::block::{Block, BlockBuilder};

/// Limit of the memory of the ring, in bytes.
const MAX_RING: usize = 16 << 20;
/// Size of frames at which a block is complete, in bytes.
const MAX_BLOCK: usize = 64 << 10;
/// Time between two blocks that are not full. Events that are committed meanwhile share a block, so
/// that a reader writes once for many events. After a pause the first event is sent at once.
const SPACING: Duration = Duration::from_millis(20);
/// Time after which a failed read is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// Broadcast to the present readers. The task ends with the last one.
#[derive(Debug)]
pub(super) struct Broadcast {
    ring: Arc<Ring>,
    task: AbortHandle,
}

/// Broadcast that exists while there are readers.
#[derive(Debug, Default)]
pub(super) struct CurrentBroadcast(Mutex<Weak<Broadcast>>);

/// Ring of the last blocks.
#[derive(Debug)]
struct Ring {
    blocks: Mutex<Blocks>,
    /// Sequence number of the last event in the ring.
    last_seq: watch::Sender<u64>,
}

#[derive(Debug)]
struct Blocks {
    blocks: VecDeque<Arc<Block>>,
    /// Sequence number of the first event of the ring, or of the next one while it is empty.
    first_seq: u64,
    bytes: usize,
}

/// Result of a lookup in the ring.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Blocks with at least one event.
    Found(Vec<Arc<Block>>),
    /// The event is not committed, or not yet in the ring.
    NotYet,
    /// The ring has only later events.
    Evicted {
        /// First sequence number of the ring.
        first_seq: u64,
    },
}

impl CurrentBroadcast {
    /// Returns the broadcast, and starts it for the first reader.
    pub(super) fn join(&self, pipeline: &Pipeline) -> Arc<Broadcast> {
        let mut current = self.0.lock().expect("no thread panics while it holds this lock");
        current.upgrade().unwrap_or_else(|| {
            let broadcast = Arc::new(Broadcast::start(pipeline.clone()));
            *current = Arc::downgrade(&broadcast);
            broadcast
        })
    }
}

impl Broadcast {
    fn start(pipeline: Pipeline) -> Self {
        let follower = pipeline.follow_from_head();
        let ring = Arc::new(Ring::new(follower.next_seq()));
        let task = tokio::spawn(run(pipeline, follower, ring.clone())).abort_handle();
        Self { ring, task }
    }

    /// Returns the sequence number of the last event in the ring, as it changes.
    pub(super) fn last_seq(&self) -> watch::Receiver<u64> {
        self.ring.last_seq.subscribe()
    }

    /// Looks up the blocks from `next` on, up to the one with which they exceed `max_bytes`.
    pub(super) fn read_from(&self, next: u64, max_bytes: usize) -> Lookup {
        self.ring.read_from(next, max_bytes)
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(pipeline: Pipeline, mut follower: Follower, ring: Arc<Ring>) {
    loop {
        let mut builder = BlockBuilder::new(pipeline.head().epoch);
        let filled = fill(&mut follower, &mut builder).await;
        let is_full = builder.len() >= MAX_BLOCK;
        if let Some(block) = builder.build() {
            ring.push(block);
        }
        match filled {
            Ok(()) if is_full => tokio::task::yield_now().await,
            Ok(()) => tokio::time::sleep(SPACING).await,
            Err(error) => {
                tracing::warn!(%error, "the journal could not be read for streams; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits for an event, and adds it with those that are there as well.
async fn fill(follower: &mut Follower, builder: &mut BlockBuilder) -> io::Result<()> {
    let first = follower.next().await?;
    builder.push(first, follower.next_seq() - 1);
    add_present(follower, builder, MAX_BLOCK).await
}

/// Adds items up to the head of the journal, or until the block is full.
pub(super) async fn add_present(
    follower: &mut Follower,
    builder: &mut BlockBuilder,
    max_bytes: usize,
) -> io::Result<()> {
    while builder.len() < max_bytes
        && let Some(item) = follower.try_next().await?
    {
        builder.push(item, follower.next_seq() - 1);
    }
    Ok(())
}

impl Ring {
    fn new(first_seq: u64) -> Self {
        let blocks = Blocks { blocks: VecDeque::new(), first_seq, bytes: 0 };
        Self { blocks: Mutex::new(blocks), last_seq: watch::Sender::new(first_seq - 1) }
    }

    fn push(&self, block: Block) {
        let last_seq = block.last_seq();
        let mut blocks = self.blocks();
        blocks.bytes += block.size();
        blocks.blocks.push_back(Arc::new(block));
        // A single block of large events may exceed the limit.
        while blocks.bytes > MAX_RING
            && blocks.blocks.len() > 1
            && let Some(oldest) = blocks.blocks.pop_front()
        {
            blocks.bytes -= oldest.size();
            blocks.first_seq = oldest.last_seq() + 1;
        }
        drop(blocks);
        self.last_seq.send_replace(last_seq);
    }

    fn read_from(&self, next: u64, max_bytes: usize) -> Lookup {
        let blocks = self.blocks();
        if next < blocks.first_seq {
            return Lookup::Evicted { first_seq: blocks.first_seq };
        }
        let first = blocks.blocks.partition_point(|block| block.last_seq() < next);
        let mut bytes = 0;
        let found = blocks.blocks.range(first..).take_while(|block| {
            let is_first = bytes == 0;
            bytes += block.len();
            is_first || bytes <= max_bytes
        });
        let found: Vec<_> = found.cloned().collect();
        if found.is_empty() { Lookup::NotYet } else { Lookup::Found(found) }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().expect("no thread panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use observer_core::{Envelope, Event, Timestamp, Uuid};
    use observer_pipeline::Followed;

    use super::*;

    fn block(seqs: std::ops::RangeInclusive<u64>, bytes: usize) -> Block {
        let mut builder = BlockBuilder::new(1);
        for seq in seqs {
            let raw = format!(
                r#"{{"source":"s","event_kind":"k","ok":true,"x":"{}"}}"#,
                "x".repeat(bytes)
            );
            let event = Event::parse(raw).unwrap();
            let received_at = Timestamp::UNIX_EPOCH;
            let envelope = Envelope { id: Uuid::nil(), seq, received_at, event };
            builder.push(Followed::Event(Arc::new(envelope)), seq);
        }
        builder.build().unwrap()
    }

    fn last_seqs(lookup: Lookup) -> Vec<u64> {
        let Lookup::Found(blocks) = lookup else { panic!("{lookup:?}") };
        blocks.iter().map(|block| block.last_seq()).collect()
    }

    #[test]
    fn lookup_returns_blocks_from_an_event_on() {
        let ring = Ring::new(5);
        assert!(matches!(ring.read_from(5, 1), Lookup::NotYet));
        assert!(matches!(ring.read_from(4, 1), Lookup::Evicted { first_seq: 5 }));
        ring.push(block(5..=6, 10));
        ring.push(block(7..=7, 10));
        ring.push(block(8..=9, 10));
        assert_eq!(last_seqs(ring.read_from(5, usize::MAX)), [6, 7, 9]);
        assert_eq!(last_seqs(ring.read_from(6, usize::MAX)), [6, 7, 9]);
        assert_eq!(last_seqs(ring.read_from(7, usize::MAX)), [7, 9]);
        assert_eq!(last_seqs(ring.read_from(5, 1)), [6], "at least one block");
        assert!(matches!(ring.read_from(10, 1), Lookup::NotYet));
        assert_eq!(*ring.last_seq.borrow(), 9);
    }

    #[test]
    fn ring_evicts_the_oldest_blocks_beyond_its_limit() {
        let ring = Ring::new(1);
        for seq in 1..=40 {
            ring.push(block(seq..=seq, 1 << 20));
            assert!(ring.blocks().bytes <= MAX_RING);
        }
        let Lookup::Evicted { first_seq } = ring.read_from(1, 1) else { panic!("1 is evicted") };
        assert_eq!(last_seqs(ring.read_from(first_seq, 1)), [first_seq]);
        assert!((33..=40).contains(&first_seq), "{first_seq}");
        ring.push(block(41..=41, MAX_RING));
        assert_eq!(last_seqs(ring.read_from(41, 1)), [41], "a block beyond the limit is kept");
        assert!(matches!(ring.read_from(40, 1), Lookup::Evicted { first_seq: 41 }));
    }
}
