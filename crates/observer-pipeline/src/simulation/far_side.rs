//! Sinks whose far sides live on when the observer doesn't.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, EventSink, Receipt, Rejected, SinkError, Uuid};
use observer_journal::fs::Faulty;
use tokio::time::Instant;

use super::scenario::{Poison, event, number_of, poison};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes everything; what was not flushed goes with the power. A flush fails now and then.
    Archive,
    /// Fails now and then, also after it took a batch; away for a while in some scenarios.
    Webhook,
    /// Refuses some events for good.
    Picky,
}

pub(super) struct FarSide {
    kind: Kind,
    disk: Faulty,
    state: Mutex<State>,
}

pub(super) struct State {
    random: fastrand::Rng,
    /// What is there for good, in the order it came.
    pub(super) kept: Vec<(u64, Uuid)>,
    /// What goes with the power.
    buffered: Vec<(u64, Uuid)>,
    /// The last event of this life that was taken with an answer.
    last: u64,
    /// That of the last flush, and of the one before.
    flushed: [u64; 2],
    pub(super) repeats: usize,
    away_until: Option<Instant>,
    transcript: Arc<Mutex<Vec<String>>>,
}

impl FarSide {
    pub(super) fn new(
        kind: Kind,
        disk: &Faulty,
        seed: u64,
        transcript: Arc<Mutex<Vec<String>>>,
    ) -> Arc<Self> {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            kept: Vec::new(),
            buffered: Vec::new(),
            last: 0,
            flushed: [0; 2],
            repeats: 0,
            away_until: None,
            transcript,
        };
        Arc::new(Self { kind, disk: disk.clone(), state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The observer is there again, and goes on after `position`.
    pub(super) fn begin(&self, position: u64, outage: Duration) {
        let mut state = self.lock();
        state.last = position;
        state.flushed = [position; 2];
        state.away_until =
            (self.kind == Kind::Webhook && !outage.is_zero()).then(|| Instant::now() + outage);
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.lock().buffered.is_empty()
    }

    /// The power is gone.
    pub(super) fn crash(&self) {
        let mut state = self.lock();
        let most = state.buffered.len();
        // As much as happened to be written.
        let count = state.random.usize(..=most);
        let written: Vec<_> = state.buffered.drain(..).take(count).collect();
        state.kept.extend(written);
    }
}

impl State {
    fn tell(&self, kind: Kind, what: &str, seqs: &[u64]) {
        self.transcript.lock().unwrap().push(format!("{kind:?} {what} {seqs:?}"));
    }

    fn take(&mut self, kind: Kind, had_fault: bool, seq: u64, id: Uuid) {
        // Dead letters that can't be made durable take the worker back to the last flush, which the
        // sink doesn't see.
        let goes_back = kind == Kind::Picky && had_fault && seq > self.flushed[0];
        assert!(
            seq > self.last || goes_back,
            "{kind:?} gets {seq} again, after {} and flush {:?}",
            self.last,
            self.flushed
        );
        self.last = seq;
        self.keep(kind, seq, id);
    }

    fn keep(&mut self, kind: Kind, seq: u64, id: Uuid) {
        let known = (seq, id);
        self.repeats +=
            usize::from(self.kept.iter().chain(&self.buffered).any(|kept| *kept == known));
        if kind == Kind::Archive { self.buffered.push(known) } else { self.kept.push(known) }
    }
}

#[async_trait]
impl EventSink for FarSide {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        let kind = self.kind;
        let seqs: Vec<_> = batch.events().iter().map(|envelope| envelope.seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{kind:?} gets {seqs:?} in one batch");
        for envelope in batch.events() {
            let sent = event(number_of(&envelope.event));
            assert_eq!(
                envelope.event.raw(),
                sent.raw(),
                "{kind:?} gets another event as {}",
                envelope.seq
            );
        }
        let mut state = self.lock();
        let poisons: Vec<_> =
            batch.events().iter().map(|envelope| poison(number_of(&envelope.event))).collect();
        let mut rejected = Vec::new();
        match kind {
            Kind::Archive => {}
            Kind::Webhook => {
                if state.away_until.is_some_and(|until| Instant::now() < until) {
                    state.tell(kind, "is away for", &seqs);
                    return Err(SinkError::transient("away"));
                }
                match state.random.u8(..6) {
                    0 => {
                        state.tell(kind, "refuses for now", &seqs);
                        return Err(SinkError::transient("later"));
                    }
                    1 => {
                        state.tell(kind, "takes, and doesn't say so,", &seqs);
                        batch
                            .events()
                            .iter()
                            .for_each(|envelope| state.keep(kind, envelope.seq, envelope.id));
                        return Err(SinkError::transient("who knows"));
                    }
                    _ => {}
                }
            }
            Kind::Picky => {
                if poisons.contains(&Some(Poison::Batch)) {
                    state.tell(kind, "refuses for good", &seqs);
                    return Err(SinkError::permanent("one of them is bad"));
                }
                let named = poisons.iter().enumerate().filter(|(_, poison)| poison.is_some());
                rejected
                    .extend(named.map(|(index, _)| Rejected { index, reason: "this one".into() }));
            }
        }
        state.tell(kind, "takes", &seqs);
        for (index, envelope) in batch.events().iter().enumerate() {
            if rejected.iter().all(|rejected| rejected.index != index) {
                state.take(kind, self.disk.fault_count() > 0, envelope.seq, envelope.id);
            }
        }
        Ok(Receipt { rejected, ..Receipt::accepted() })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        if self.kind == Kind::Archive {
            // Long enough that positions are stored meanwhile.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        let mut state = self.lock();
        if self.kind == Kind::Archive {
            if state.random.u8(..5) == 0 {
                state.tell(self.kind, "can't flush", &[]);
                state.buffered.clear();
                state.last = state.flushed[1];
                return Err(SinkError::transient(io::Error::other("no")));
            }
            let flushed = std::mem::take(&mut state.buffered);
            state.kept.extend(flushed);
        }
        state.tell(self.kind, "flushes", &[]);
        state.flushed = [state.flushed[1], state.last];
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}
