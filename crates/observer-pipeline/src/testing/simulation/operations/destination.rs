//! Destinations that refuse some events always, and everything for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{
    Batch, Envelope, EventSink, Position, Receipt, Rejected, SinkError, Timestamp, Uuid,
};
use observer_journal::fs::Faulty;

use super::super::clock::WallClock;
use super::super::scenario::{event, number_of};
use super::history::History;
use super::script::{Bad, Mode, Script, Target};

pub(super) type Transcript = Arc<Mutex<Vec<String>>>;

pub(super) struct Destination {
    pub(super) target: Target,
    script: Arc<Script>,
    disk: Faulty,
    clock: Arc<WallClock>,
    transcript: Transcript,
    state: Mutex<State>,
}

pub(super) struct State {
    random: fastrand::Rng,
    pub(super) mode: Mode,
    /// Events below this number are accepted, even if they were bad.
    pub(super) mended_below: u64,
    pub(super) history: History,
    /// Time of receipt of each event.
    pub(super) received: BTreeMap<u64, Timestamp>,
    /// Accepted events that a crash or a failed flush loses.
    buffered: Vec<(u64, Uuid, u64)>,
    /// Position with the buffered events, and the durable one, with its epoch.
    last: u64,
    /// Epoch of the last delivery.
    epoch: u64,
    durable: Position,
    faults: u64,
}

impl Destination {
    pub(super) fn new(
        target: Target,
        script: &Arc<Script>,
        disk: &Faulty,
        clock: &Arc<WallClock>,
        transcript: &Transcript,
    ) -> Arc<Self> {
        let state = State {
            random: fastrand::Rng::with_seed(script.seed ^ (target as u64) << 40),
            mode: Mode::Healthy,
            mended_below: 0,
            history: History::default(),
            received: BTreeMap::new(),
            buffered: Vec::new(),
            last: 0,
            epoch: 0,
            durable: Position { epoch: 0, seq: 0 },
            faults: 0,
        };
        Arc::new(Self {
            target,
            script: script.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            transcript: transcript.clone(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Simulates the end of the observer. All transactions in progress are rolled back, and an
    /// arbitrary part of the other buffered events becomes durable.
    pub(super) fn crash(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.history.incidents.push(now);
        let buffered = std::mem::take(&mut state.buffered);
        let kept = match self.target {
            Target::Ledger => 0,
            _ => state.random.usize(..=buffered.len()),
        };
        for (seq, id, at) in buffered.into_iter().take(kept) {
            state.history.keep(seq, id, at);
        }
        state.last = state.durable.seq;
    }

    /// Begins a new run of the observer, after a crash or a shutdown.
    pub(super) fn begin(&self, epoch: u64) {
        let mut state = self.lock();
        if state.durable.seq == 0 {
            state.durable.epoch = epoch;
        }
        state.last = state.durable.seq;
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.lock().buffered.is_empty()
    }

    /// Returns how the destination refuses an event at the moment.
    fn bad(&self, state: &State, number: u64) -> Option<Bad> {
        self.script.bad(self.target, number).filter(|_| number >= state.mended_below)
    }

    fn record(&self, action: &str, events: &[Arc<Envelope>]) {
        let seqs: Vec<_> = events.iter().map(|envelope| envelope.seq).collect();
        let (target, now) = (self.target, self.clock.now());
        self.transcript.lock().unwrap().push(format!("{now} {target:?} {action} {seqs:?}"));
    }

    fn note_faults(&self, state: &mut State) {
        let faults = self.disk.fault_count();
        if std::mem::replace(&mut state.faults, faults) != faults {
            state.history.incidents.push(self.clock.now());
        }
    }

    fn accept<'a>(&self, state: &mut State, events: impl Iterator<Item = &'a Arc<Envelope>>) {
        let now = self.clock.now();
        let events: Vec<_> = events.collect();
        if !events.is_empty() {
            state.history.accept(now);
        }
        for envelope in events {
            state.received.insert(envelope.seq, envelope.received_at);
            match self.target {
                Target::Witness | Target::Webhook => {
                    state.history.keep(envelope.seq, envelope.id, now);
                }
                Target::Archive | Target::Ledger => {
                    state.buffered.push((envelope.seq, envelope.id, now));
                }
            }
        }
    }

    /// Notes a failure that says nothing of the events.
    fn fail(&self, state: &mut State, events: &[Arc<Envelope>]) {
        let now = self.clock.now();
        events.iter().for_each(|envelope| state.history.fail(envelope.seq, now));
    }

    /// Refuses all events.
    fn refuse(
        &self,
        state: &mut State,
        events: &[Arc<Envelope>],
        class: Bad,
        reason: &str,
    ) -> SinkError {
        self.record(&format!("refuses ({reason})"), events);
        let now = self.clock.now();
        events.iter().for_each(|envelope| state.history.refuse(envelope.seq, class, now));
        let reason = reason.to_owned();
        match class {
            Bad::Named | Bad::Permanent => SinkError::permanent(reason),
            Bad::Denied => SinkError::denied(reason),
            Bad::Failed => SinkError::failed(reason),
        }
    }

    /// Returns the error of a destination that treats every delivery alike.
    fn outage(&self, state: &mut State, events: &[Arc<Envelope>]) -> Option<SinkError> {
        match state.mode {
            Mode::Healthy | Mode::Silent => None,
            Mode::Denying => Some(self.refuse(state, events, Bad::Denied, "401: expired token")),
            Mode::Failing => Some(self.refuse(state, events, Bad::Failed, "500: outage")),
            Mode::Unavailable => {
                self.record("is unavailable for", events);
                self.fail(state, events);
                let error = SinkError::transient("503: outage");
                let delay = Duration::from_secs(state.random.u64(1..20));
                Some(if state.random.bool() { error } else { error.with_retry_after(delay) })
            }
            Mode::Blocked => {
                self.record("is blocked for", events);
                Some(SinkError::blocked("blocked"))
            }
            Mode::Flaky => self.flaky(state, events),
        }
    }

    fn flaky(&self, state: &mut State, events: &[Arc<Envelope>]) -> Option<SinkError> {
        let is_good = |state: &State, envelope: &&Arc<Envelope>| {
            self.bad(state, number_of(&envelope.event)).is_none()
        };
        let good: Vec<_> = events.iter().filter(|event| is_good(state, event)).collect();
        match state.random.u8(..7) {
            0 => {
                self.record("fails for", events);
                self.fail(state, events);
                Some(SinkError::transient("503: temporary failure"))
            }
            1 if self.target != Target::Ledger => {
                self.record("accepts without a response", events);
                self.fail(state, events);
                self.accept(state, good.into_iter());
                let now = self.clock.now();
                state.history.incidents.push(now);
                Some(SinkError::transient("no response"))
            }
            2 if self.target != Target::Ledger => {
                self.record("accepts the good half of", events);
                let count = good.len().div_ceil(2);
                let good: Vec<_> = good.into_iter().take(count).collect();
                let position = |seq| events.iter().position(|envelope| envelope.seq == seq);
                let accepted: Vec<_> =
                    good.iter().filter_map(|envelope| position(envelope.seq)).collect();
                self.accept(state, good.into_iter());
                self.fail(state, events);
                Some(SinkError::transient("503: overload").with_accepted(accepted))
            }
            _ => None,
        }
    }

    fn respond(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let mut state = self.lock();
        let state = &mut *state;
        self.note_faults(state);
        if let Some(error) = self.outage(state, batch.events()) {
            return Err(error);
        }
        let is_known =
            |envelope: &Envelope, last| self.target == Target::Ledger && envelope.seq <= last;
        // A sink with a position has these events, or knows that they are dead letters.
        let last = state.last;
        let new: Vec<_> =
            batch.events().iter().filter(|envelope| !is_known(envelope, last)).collect();
        let bad = |envelope: &Envelope| {
            let number = number_of(&envelope.event);
            self.bad(state, number).map(|bad| (bad, number))
        };
        let whole =
            new.iter().filter_map(|envelope| bad(envelope)).find(|(bad, _)| *bad != Bad::Named);
        if let Some((class, number)) = whole {
            let status = match class {
                Bad::Failed => 500,
                Bad::Denied => 403,
                Bad::Permanent | Bad::Named => 422,
            };
            let reason = format!("{status}: event {number}");
            return Err(self.refuse(state, batch.events(), class, &reason));
        }
        let named: Vec<_> = batch
            .events()
            .iter()
            .enumerate()
            .filter(|(_, envelope)| !is_known(envelope, last) && bad(envelope).is_some())
            .map(|(index, envelope)| (index, envelope.seq, number_of(&envelope.event)))
            .collect();
        let is_named = |seq| named.iter().any(|(_, named, _)| *named == seq);
        self.record("accepts", batch.events());
        self.accept(state, new.into_iter().filter(|envelope| !is_named(envelope.seq)));
        let now = self.clock.now();
        named.iter().for_each(|(_, seq, _)| state.history.refuse(*seq, Bad::Named, now));
        state.last = state.last.max(batch.position().seq);
        state.epoch = batch.position().epoch;
        let rejected = named.iter().map(|(index, _, number)| Rejected {
            index: *index,
            reason: format!("named: event {number}"),
        });
        Ok(Receipt { rejected: rejected.collect(), ..Receipt::accepted() })
    }
}

#[async_trait]
impl EventSink for Destination {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        if self.disk.is_off() || self.lock().mode == Mode::Silent {
            self.fail(&mut self.lock(), batch.events());
            return std::future::pending().await;
        }
        let seqs: Vec<_> = batch.events().iter().map(|envelope| envelope.seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{:?} gets {seqs:?} in one batch", self.target);
        for envelope in batch.events() {
            let sent = event(number_of(&envelope.event));
            assert_eq!(envelope.event.raw(), sent.raw(), "{} is another event", envelope.seq);
        }
        self.respond(batch)
    }

    async fn flush(&self) -> Result<(), SinkError> {
        if self.target == Target::Archive {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if self.disk.is_off() {
            return std::future::pending().await;
        }
        let mut state = self.lock();
        self.note_faults(&mut state);
        if matches!(self.target, Target::Witness | Target::Webhook) {
            return Ok(());
        }
        let fails = match state.mode {
            Mode::Healthy => false,
            Mode::Flaky => state.random.u8(..3) == 0,
            _ => state.random.bool(),
        };
        if fails {
            self.record("fails to flush", &[]);
            let now = self.clock.now();
            state.history.incidents.push(now);
            state.buffered.clear();
            state.last = state.durable.seq;
            return Err(SinkError::transient("flush failed"));
        }
        for (seq, id, at) in std::mem::take(&mut state.buffered) {
            state.history.keep(seq, id, at);
        }
        state.durable = Position { epoch: state.epoch, seq: state.last };
        self.record("flushes", &[]);
        Ok(())
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        let state = self.lock();
        Ok((self.target == Target::Ledger).then_some(state.durable))
    }

    async fn check(&self) -> Result<(), SinkError> {
        let mut state = self.lock();
        let mode = state.mode;
        match mode {
            Mode::Blocked => Err(SinkError::blocked("blocked")),
            Mode::Denying if state.random.bool() => Err(SinkError::denied("401: expired token")),
            Mode::Unavailable if state.random.bool() => Err(SinkError::transient("503: outage")),
            _ => Ok(()),
        }
    }
}
