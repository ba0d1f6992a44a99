//! Destinations of the simulation, which outlive crashes of the observer.

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
    /// Accepts everything. A crash loses what was not flushed, and a flush fails occasionally.
    Archive,
    /// Fails occasionally, also after it accepted a batch. In some scenarios it has an outage.
    Webhook,
    /// Rejects some events permanently.
    Strict,
}

pub(super) struct Destination {
    kind: Kind,
    disk: Faulty,
    state: Mutex<State>,
}

pub(super) struct State {
    random: fastrand::Rng,
    /// Durable events, in the order of their arrival.
    pub(super) kept: Vec<(u64, Uuid)>,
    /// Events that a crash loses.
    buffered: Vec<(u64, Uuid)>,
    /// Last event that was accepted since the last start of the observer.
    last: u64,
    /// Last event of the second to last flush, and of the last one.
    flushed: [u64; 2],
    pub(super) repeats: usize,
    outage_until: Option<Instant>,
    transcript: Arc<Mutex<Vec<String>>>,
}

impl Destination {
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
            outage_until: None,
            transcript,
        };
        Arc::new(Self { kind, disk: disk.clone(), state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Resets the state for an observer that continues after `position`.
    pub(super) fn begin(&self, position: u64, outage: Duration) {
        let mut state = self.lock();
        state.last = position;
        state.flushed = [position; 2];
        state.outage_until =
            (self.kind == Kind::Webhook && !outage.is_zero()).then(|| Instant::now() + outage);
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.lock().buffered.is_empty()
    }

    /// Simulates a power cut: an arbitrary part of the buffered events becomes durable.
    pub(super) fn crash(&self) {
        let mut state = self.lock();
        let buffered = state.buffered.len();
        let count = state.random.usize(..=buffered);
        let written: Vec<_> = state.buffered.drain(..).take(count).collect();
        state.kept.extend(written);
    }
}

impl State {
    fn record(&self, kind: Kind, action: &str, seqs: &[u64]) {
        self.transcript.lock().unwrap().push(format!("{kind:?} {action} {seqs:?}"));
    }

    fn accept(&mut self, kind: Kind, had_fault: bool, seq: u64, id: Uuid) {
        // When dead letters can't be made durable, the worker goes back to the last flush, without
        // a call of the sink.
        let is_rewind = kind == Kind::Strict && had_fault && seq > self.flushed[0];
        assert!(
            seq > self.last || is_rewind,
            "{kind:?} gets {seq} again, after {} and the flushes {:?}",
            self.last,
            self.flushed
        );
        self.last = seq;
        self.store(kind, seq, id);
    }

    fn store(&mut self, kind: Kind, seq: u64, id: Uuid) {
        let known = (seq, id);
        self.repeats +=
            usize::from(self.kept.iter().chain(&self.buffered).any(|kept| *kept == known));
        if kind == Kind::Archive { self.buffered.push(known) } else { self.kept.push(known) }
    }
}

/// Checks that a batch has events as they were sent, in order. Returns their sequence numbers.
fn check_batch(kind: Kind, batch: &Batch) -> Vec<u64> {
    let seqs: Vec<_> = batch.events().iter().map(|envelope| envelope.seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{kind:?} gets {seqs:?} in one batch");
    for envelope in batch.events() {
        let sent = event(number_of(&envelope.event));
        let seq = envelope.seq;
        assert_eq!(envelope.event.raw(), sent.raw(), "{kind:?} gets another event as {seq}");
    }
    seqs
}

#[async_trait]
impl EventSink for Destination {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        let kind = self.kind;
        let seqs = check_batch(kind, batch);
        let mut state = self.lock();
        let poisons: Vec<_> =
            batch.events().iter().map(|envelope| poison(number_of(&envelope.event))).collect();
        let mut rejected = Vec::new();
        match kind {
            Kind::Archive => {}
            Kind::Webhook => {
                if state.outage_until.is_some_and(|until| Instant::now() < until) {
                    state.record(kind, "has an outage for", &seqs);
                    return Err(SinkError::transient("outage"));
                }
                match state.random.u8(..6) {
                    0 => {
                        state.record(kind, "fails for", &seqs);
                        return Err(SinkError::transient("temporary failure"));
                    }
                    1 => {
                        state.record(kind, "accepts without a response", &seqs);
                        batch
                            .events()
                            .iter()
                            .for_each(|envelope| state.store(kind, envelope.seq, envelope.id));
                        return Err(SinkError::transient("no response"));
                    }
                    _ => {}
                }
            }
            Kind::Strict => {
                if poisons.contains(&Some(Poison::Batch)) {
                    state.record(kind, "rejects", &seqs);
                    return Err(SinkError::permanent("a poison event"));
                }
                let named = poisons.iter().enumerate().filter(|(_, poison)| poison.is_some());
                rejected.extend(
                    named.map(|(index, _)| Rejected { index, reason: "a poison event".into() }),
                );
            }
        }
        state.record(kind, "accepts", &seqs);
        for (index, envelope) in batch.events().iter().enumerate() {
            if rejected.iter().all(|rejected| rejected.index != index) {
                state.accept(kind, self.disk.fault_count() > 0, envelope.seq, envelope.id);
            }
        }
        Ok(Receipt { rejected, ..Receipt::accepted() })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        if self.kind == Kind::Archive {
            // Longer than half the interval of maintenance, so that positions are stored meanwhile.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        let mut state = self.lock();
        if self.kind == Kind::Archive {
            if state.random.u8(..5) == 0 {
                state.record(self.kind, "fails to flush", &[]);
                state.buffered.clear();
                state.last = state.flushed[1];
                return Err(SinkError::transient(io::Error::other("flush failed")));
            }
            let flushed = std::mem::take(&mut state.buffered);
            state.kept.extend(flushed);
        }
        state.record(self.kind, "flushes", &[]);
        state.flushed = [state.flushed[1], state.last];
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}
