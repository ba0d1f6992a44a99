//! The suite detects each fault of a sink, as a violation of the clause that it concerns.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use observer_core::{Batch, Envelope, EventSink, Position, Receipt, Rejected, SinkError, Uuid};
use observer_testing::{
    Clause, Contents, Destination, Outage, Report, SinkContract, StoredEvent, Violations,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    LosesCancelledDeliveries,
    ReordersEvents,
    SkipsSmallFlushes,
    RejectsRedelivery,
    NamesTheNextEventAsRejected,
    NamesAnEventBeyondTheBatch,
    HidesTheRejectedEvent,
    ReportsRejectionsAsTransient,
    NamesAnEventThatIsNotStored,
    NamesAnEventTwice,
    SkipsEventsOfLargeBatches,
    HangsOnLargeBatches,
    DropsControlCharacters,
    RoundsNumbers,
    CheckAlwaysSucceeds,
    CheckFailsWithoutReason,
    CheckHangs,
    CheckWrites,
    PositionAheadOfEvents,
    PositionIgnoresTheEpoch,
    DuplicatesEventsBeyondThePosition,
    CloseHangs,
    CloseFails,
}

/// State that survives a crash.
#[derive(Default)]
struct Disk {
    events: Vec<StoredEvent>,
    position: Option<Position>,
    is_unavailable: bool,
    /// Id of the event that is rejected.
    rejected: Option<Uuid>,
    /// Number of events of the next delivery after which it fails.
    fails_after: Option<usize>,
}

struct MemoryDisk {
    disk: Arc<Mutex<Disk>>,
    fault: Fault,
}

/// Sink that stores each event once, and its position with the events, unless it has a fault.
struct MemorySink {
    disk: Arc<Mutex<Disk>>,
    fault: Fault,
    delivered: Mutex<Delivered>,
}

/// State that is lost in a crash.
struct Delivered {
    unflushed: Vec<StoredEvent>,
    position: Option<Position>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl MemorySink {
    fn is_new(&self, epoch: u64, envelope: &Envelope) -> bool {
        let Some(known) = lock(&self.delivered).position else { return true };
        let ignores_epoch = self.fault == Fault::PositionIgnoresTheEpoch;
        (known.epoch < epoch && !ignores_epoch) || known.seq < envelope.seq
    }

    /// Returns the event of a batch that the destination rejects, as the sink names it.
    fn rejected(&self, batch: &Batch) -> Option<Rejected> {
        let rejected = lock(&self.disk).rejected?;
        let index = batch.events().iter().position(|envelope| envelope.id == rejected)?;
        let index = match self.fault {
            Fault::NamesTheNextEventAsRejected => index + 1,
            Fault::NamesAnEventBeyondTheBatch => batch.len(),
            Fault::HidesTheRejectedEvent => return None,
            _ => index,
        };
        Some(Rejected { index, reason: "422".to_owned() })
    }

    /// Stores the first `count` events of a batch, and fails.
    fn fail_after(&self, count: usize, batch: &Batch) -> SinkError {
        let stored = &batch.events()[..count];
        let mut delivered = lock(&self.delivered);
        delivered.unflushed.extend(stored.iter().map(|envelope| self.encode(envelope)));
        let seq = stored.last().map_or(0, |envelope| envelope.seq);
        delivered.position = Some(Position { epoch: batch.position().epoch, seq });
        let accepted = match self.fault {
            Fault::NamesAnEventThatIsNotStored => (0..=count).collect(),
            Fault::NamesAnEventTwice => vec![0, 0],
            _ => (0..count).collect::<Vec<_>>(),
        };
        SinkError::transient("503").with_accepted(accepted)
    }

    fn encode(&self, envelope: &Envelope) -> StoredEvent {
        let raw = String::from_utf8(envelope.event.raw().to_vec()).unwrap();
        let raw = match self.fault {
            Fault::DropsControlCharacters => raw.replace(r"\u0001", ""),
            Fault::RoundsNumbers => {
                raw.replace("123456789012345678901234567890", "1.2345678901234568e29")
            }
            _ => raw,
        };
        StoredEvent { id: envelope.id, raw: Some(raw) }
    }
}

#[async_trait]
impl EventSink for MemorySink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let epoch = batch.position().epoch;
        let fails_after = lock(&self.disk).fails_after.take();
        if let Some(count) = fails_after {
            return Err(self.fail_after(count, batch));
        }
        let rejected = self.rejected(batch);
        let fresh = batch.events().iter().filter(|envelope| {
            self.is_new(epoch, envelope) && lock(&self.disk).rejected != Some(envelope.id)
        });
        let mut fresh: Vec<_> = fresh.map(|envelope| self.encode(envelope)).collect();
        match self.fault {
            Fault::LosesCancelledDeliveries => {
                lock(&self.delivered).position = Some(batch.position());
            }
            Fault::ReordersEvents => fresh.reverse(),
            Fault::RejectsRedelivery if fresh.is_empty() => {
                return Err(SinkError::permanent("unique key violated"));
            }
            Fault::SkipsEventsOfLargeBatches => fresh.truncate(500),
            Fault::HangsOnLargeBatches if fresh.len() > 500 => pending().await,
            Fault::DuplicatesEventsBeyondThePosition => {
                lock(&self.disk).events.append(&mut fresh);
            }
            _ => {}
        }
        if rejected.is_some() && self.fault == Fault::ReportsRejectionsAsTransient {
            return Err(SinkError::transient("422"));
        }
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let mut delivered = lock(&self.delivered);
        delivered.unflushed.append(&mut fresh);
        delivered.position = Some(batch.position()).max(delivered.position);
        if self.fault == Fault::PositionAheadOfEvents {
            lock(&self.disk).position = delivered.position;
        }
        Ok(Receipt { rejected: rejected.into_iter().collect(), refused: None })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let mut delivered = lock(&self.delivered);
        if self.fault == Fault::SkipsSmallFlushes && delivered.unflushed.len() < 10 {
            return Ok(());
        }
        let mut disk = lock(&self.disk);
        disk.events.append(&mut delivered.unflushed);
        disk.position = delivered.position;
        Ok(())
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(lock(&self.disk).position)
    }

    async fn check(&self) -> Result<(), SinkError> {
        let is_unavailable = lock(&self.disk).is_unavailable;
        match self.fault {
            Fault::CheckAlwaysSucceeds => Ok(()),
            Fault::CheckFailsWithoutReason if is_unavailable => Err(SinkError::blocked("")),
            Fault::CheckHangs if is_unavailable => pending().await,
            Fault::CheckWrites => {
                let id = observer_core::Uuid::from_u128(1);
                lock(&self.disk)
                    .events
                    .push(StoredEvent { id, raw: Some(r#"{"ping":true}"#.to_owned()) });
                Ok(())
            }
            _ if is_unavailable => Err(SinkError::blocked("no such folder")),
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<(), SinkError> {
        match self.fault {
            Fault::CloseHangs => pending().await,
            Fault::CloseFails => Err(SinkError::transient("connection reset")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Destination for MemoryDisk {
    fn sink(&self) -> Arc<dyn EventSink> {
        let position = lock(&self.disk).position;
        let delivered = Mutex::new(Delivered { unflushed: Vec::new(), position });
        Arc::new(MemorySink { disk: Arc::clone(&self.disk), fault: self.fault, delivered })
    }

    async fn contents(&self) -> Contents {
        Contents::Events(lock(&self.disk).events.clone())
    }

    async fn reject(&self, event: &Envelope) -> Outage {
        lock(&self.disk).rejected = Some(event.id);
        Outage::Simulated
    }

    async fn fail_after(&self, count: usize) -> Outage {
        lock(&self.disk).fails_after = Some(count);
        Outage::Simulated
    }

    async fn make_unavailable(&self) -> Outage {
        lock(&self.disk).is_unavailable = true;
        Outage::Simulated
    }

    async fn make_available(&self) {
        lock(&self.disk).is_unavailable = false;
    }
}

async fn try_verify(fault: Fault) -> Result<Report, Violations> {
    SinkContract::new(move || MemoryDisk { disk: Arc::default(), fault }).try_verify().await
}

/// Requires that the suite reports exactly these clauses for the fault.
async fn violates(fault: Fault, expected: &[Clause]) {
    let violations = try_verify(fault).await.expect_err("the suite reports no violation");
    let clauses: Vec<_> = violations.0.iter().map(|violation| violation.clause).collect();
    assert_eq!(clauses, expected, "{fault:?}: {violations}");
}

#[tokio::test(start_paused = true)]
async fn sink_without_a_fault_passes_every_clause() {
    assert_eq!(try_verify(Fault::Nothing).await, Ok(Report { skipped: vec![] }));
}

#[tokio::test(start_paused = true)]
async fn faults_in_delivery_violate_their_clauses() {
    use Clause::*;
    violates(Fault::LosesCancelledDeliveries, &[Cancellation]).await;
    violates(
        Fault::ReordersEvents,
        &[
            Order,
            Durability,
            Cancellation,
            Redelivery,
            Rejection,
            PartialAcceptance,
            BatchSizes,
            FieldValues,
            Check,
            Position,
            Close,
        ],
    )
    .await;
    violates(Fault::SkipsSmallFlushes, &[Order, Durability, Cancellation, Check, Close]).await;
    violates(Fault::NamesTheNextEventAsRejected, &[Rejection]).await;
    violates(Fault::NamesAnEventBeyondTheBatch, &[Rejection]).await;
    violates(Fault::HidesTheRejectedEvent, &[Rejection]).await;
    violates(Fault::ReportsRejectionsAsTransient, &[Rejection]).await;
    violates(Fault::NamesAnEventThatIsNotStored, &[PartialAcceptance]).await;
    violates(Fault::NamesAnEventTwice, &[PartialAcceptance]).await;
    violates(Fault::RejectsRedelivery, &[Cancellation, Redelivery]).await;
    violates(Fault::SkipsEventsOfLargeBatches, &[BatchSizes]).await;
    violates(Fault::HangsOnLargeBatches, &[BatchSizes]).await;
    violates(Fault::DropsControlCharacters, &[FieldValues]).await;
    violates(Fault::RoundsNumbers, &[FieldValues]).await;
}

#[tokio::test(start_paused = true)]
async fn faults_in_check_position_and_close_violate_their_clauses() {
    use Clause::*;
    violates(Fault::CheckAlwaysSucceeds, &[Check]).await;
    violates(Fault::CheckFailsWithoutReason, &[Check]).await;
    violates(Fault::CheckHangs, &[Check]).await;
    violates(Fault::CheckWrites, &[Check]).await;
    violates(Fault::PositionAheadOfEvents, &[Position]).await;
    violates(Fault::PositionIgnoresTheEpoch, &[Position]).await;
    violates(Fault::DuplicatesEventsBeyondThePosition, &[PartialAcceptance, Position]).await;
    violates(Fault::CloseHangs, &[Close]).await;
    violates(Fault::CloseFails, &[Close]).await;
}

#[tokio::test(start_paused = true)]
async fn violation_reports_scenario_expected_and_found() {
    let check = async |fault: Fault, expected: &str| {
        let found = try_verify(fault).await.unwrap_err().to_string();
        assert_eq!(found, format!("the sink violates 1 of 11 clauses of its contract\n{expected}"));
    };
    let lost = "  cancellation: a delivery cancelled after 3 polls, and repeated
    expected: at least events 1-18
    found:    events 1-6 16-18; missing: 7-15";
    check(Fault::LosesCancelledDeliveries, lost).await;
    let ahead = "  position: a crash after a batch that was not flushed; the position is 10
    expected: at least events 1-10
    found:    events 1-5; missing: 6-10";
    check(Fault::PositionAheadOfEvents, ahead).await;
    let silent = "  check: an unavailable destination
    expected: `check` fails with a reason
    found:    it succeeded";
    check(Fault::CheckAlwaysSucceeds, silent).await;
    let hanging = "  close: a sink without a delivery
    expected: `close` returns within 20s
    found:    it did not return";
    check(Fault::CloseHangs, hanging).await;
    let start = concat!(
        r#"{"source":"contract","event_kind":"ok","ok":true,"#,
        r#""duration_ms":5e-324,"extra":{"n":[-0,0.1e-400,"#,
    );
    let end = "-9223372036854775808]}}";
    let rounded = format!(
        "  field values: events with the smallest and the largest field values
    expected: event 8 as it was sent: {start}123456789012345678901234567890,{end}
    found:    {start}1.2345678901234568e29,{end}"
    );
    check(Fault::RoundsNumbers, &rounded).await;
}
