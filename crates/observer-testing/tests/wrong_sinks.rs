//! The suite can fail: each way to be wrong is caught, under its own clause.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use observer_core::{Batch, Envelope, EventSink, Position, Receipt, SinkError};
use observer_testing::{
    Clause, Contents, Destination, Outage, Report, SinkContract, StoredEvent, Violations,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    LosesOnCancel,
    Reorders,
    FlushLies,
    RefusesRepeats,
    PassesOverSomeOfManyEvents,
    HangsOnManyEvents,
    DropsControlCharacters,
    RoundsNumbers,
    ChecksNothing,
    ChecksWithoutAWord,
    CheckHangs,
    CheckWrites,
    PositionTooFar,
    PositionForgetsTheEpoch,
    WritesTwiceWhatIsPastThePosition,
    CloseHangs,
    CloseFails,
}

/// What outlives a crash.
#[derive(Default)]
struct Disk {
    events: Vec<StoredEvent>,
    position: Option<Position>,
    breakage: bool,
}

struct Memory {
    disk: Arc<Mutex<Disk>>,
    fault: Fault,
}

/// Without a fault it keeps its position with its data, and each event once.
struct MemorySink {
    disk: Arc<Mutex<Disk>>,
    fault: Fault,
    delivered: Mutex<Delivered>,
}

/// What a crash takes.
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
        let forgets = self.fault == Fault::PositionForgetsTheEpoch;
        (known.epoch < epoch && !forgets) || known.seq < envelope.seq
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
        let fresh = batch.events().iter().filter(|envelope| self.is_new(epoch, envelope));
        let mut fresh: Vec<_> = fresh.map(|envelope| self.encode(envelope)).collect();
        match self.fault {
            Fault::LosesOnCancel => lock(&self.delivered).position = Some(batch.position()),
            Fault::Reorders => fresh.reverse(),
            Fault::RefusesRepeats if fresh.is_empty() => {
                return Err(SinkError::permanent("unique key violated"));
            }
            Fault::PassesOverSomeOfManyEvents => fresh.truncate(500),
            Fault::HangsOnManyEvents if fresh.len() > 500 => pending().await,
            Fault::WritesTwiceWhatIsPastThePosition => {
                lock(&self.disk).events.append(&mut fresh);
            }
            _ => {}
        }
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let mut delivered = lock(&self.delivered);
        delivered.unflushed.append(&mut fresh);
        delivered.position = Some(batch.position()).max(delivered.position);
        if self.fault == Fault::PositionTooFar {
            lock(&self.disk).position = delivered.position;
        }
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let mut delivered = lock(&self.delivered);
        if self.fault == Fault::FlushLies && delivered.unflushed.len() < 10 {
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
        let is_broken = lock(&self.disk).breakage;
        match self.fault {
            Fault::ChecksNothing => Ok(()),
            Fault::ChecksWithoutAWord if is_broken => Err(SinkError::blocked("")),
            Fault::CheckHangs if is_broken => pending().await,
            Fault::CheckWrites => {
                let id = observer_core::Uuid::from_u128(1);
                lock(&self.disk)
                    .events
                    .push(StoredEvent { id, raw: Some(r#"{"ping":true}"#.to_owned()) });
                Ok(())
            }
            _ if is_broken => Err(SinkError::blocked("no such folder")),
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<(), SinkError> {
        match self.fault {
            Fault::CloseHangs => pending().await,
            Fault::CloseFails => Err(SinkError::transient("the other side hung up")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Destination for Memory {
    fn sink(&self) -> Arc<dyn EventSink> {
        let position = lock(&self.disk).position;
        let delivered = Mutex::new(Delivered { unflushed: Vec::new(), position });
        Arc::new(MemorySink { disk: Arc::clone(&self.disk), fault: self.fault, delivered })
    }

    async fn contents(&self) -> Contents {
        Contents::Events(lock(&self.disk).events.clone())
    }

    async fn make_unavailable(&self) -> Outage {
        lock(&self.disk).breakage = true;
        Outage::Simulated
    }

    async fn make_available(&self) {
        lock(&self.disk).breakage = false;
    }
}

async fn verify(fault: Fault) -> Result<Report, Violations> {
    SinkContract::new(move || Memory { disk: Arc::default(), fault }).try_verify().await
}

/// The clauses that a fault breaks: its own, and those that can't hold either.
async fn caught(fault: Fault, expected: &[Clause]) {
    let violations = verify(fault).await.expect_err("the suite did not notice");
    let clauses: Vec<_> = violations.0.iter().map(|violation| violation.clause).collect();
    assert_eq!(clauses, expected, "{fault:?}: {violations}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_a_fault_passes_and_nothing_is_left_out() {
    assert_eq!(verify(Fault::Nothing).await, Ok(Report { skipped: vec![] }));
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_does_to_events_is_caught() {
    use Clause::*;
    caught(Fault::LosesOnCancel, &[Cancelled]).await;
    caught(
        Fault::Reorders,
        &[Order, Durable, Cancelled, Repeated, Sizes, Fields, Check, Position, Close],
    )
    .await;
    caught(Fault::FlushLies, &[Order, Durable, Cancelled, Check, Close]).await;
    caught(Fault::RefusesRepeats, &[Cancelled, Repeated]).await;
    caught(Fault::PassesOverSomeOfManyEvents, &[Sizes]).await;
    caught(Fault::HangsOnManyEvents, &[Sizes]).await;
    caught(Fault::DropsControlCharacters, &[Fields]).await;
    caught(Fault::RoundsNumbers, &[Fields]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_says_of_itself_is_caught() {
    use Clause::*;
    caught(Fault::ChecksNothing, &[Check]).await;
    caught(Fault::ChecksWithoutAWord, &[Check]).await;
    caught(Fault::CheckHangs, &[Check]).await;
    caught(Fault::CheckWrites, &[Check]).await;
    caught(Fault::PositionTooFar, &[Position]).await;
    caught(Fault::PositionForgetsTheEpoch, &[Position]).await;
    caught(Fault::WritesTwiceWhatIsPastThePosition, &[Position]).await;
    caught(Fault::CloseHangs, &[Close]).await;
    caught(Fault::CloseFails, &[Close]).await;
}

#[tokio::test(start_paused = true)]
async fn a_breach_says_what_was_done_and_expected_and_found() {
    let check = async |fault: Fault, expected: &str| {
        let found = verify(fault).await.unwrap_err().to_string();
        assert_eq!(found, format!("the sink breaks its contract in 1 of 9 clauses\n{expected}"));
    };
    let lost = "  cancelled: a delivery was dropped after 3 polls, and repeated
    expected: at least events 1-18
    found:    events 1-6 16-18; missing: 7-15";
    check(Fault::LosesOnCancel, lost).await;
    let too_far = "  position: a crash after a batch that was not flushed; the position says 10
    expected: at least events 1-10
    found:    events 1-5; missing: 6-10";
    check(Fault::PositionTooFar, too_far).await;
    let blind = "  check: a far side that can't be reached
    expected: `check` fails, and says why
    found:    it succeeded";
    check(Fault::ChecksNothing, blind).await;
    let hangs = "  close: a sink that was never used
    expected: `close` ends within 20s
    found:    it was still at it";
    check(Fault::CloseHangs, hangs).await;
    let start = r#"{"source":"contract","event_kind":"ok","ok":true,"duration_ms":5e-324,"extra":{"n":[-0,0.1e-400,"#;
    let rounded = format!(
        "  fields: events with the smallest and the largest fields
    expected: event 8 as it was sent: {start}123456789012345678901234567890,-9223372036854775808]}}}}
    found:    {start}1.2345678901234568e29,-9223372036854775808]}}}}"
    );
    check(Fault::RoundsNumbers, &rounded).await;
}
