use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use observer_journal::AppendError;

use super::*;

/// Does this when it is woken, before whoever woke it goes on.
struct AtOnce<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for AtOnce<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// What an answer finds that comes to someone who looks at once: the head, and what is known of the
/// event.
fn found_by_an_answer(answered: impl FnOnce(&Shared, Record, Answer)) -> (u64, Known) {
    let shared = Arc::new(Shared::new(DedupWindow::default()));
    let record = Record::new(1, [7; 16], r#"{"source":"s","event_kind":"k","ok":true}"#);
    let checksum = record.checksum;
    assert!(matches!(shared.window().claim([7; 16], checksum, 1), Known::New));
    let (answer, mut decided) = oneshot::channel();
    let (sender, found) = std::sync::mpsc::channel();
    let asked = shared.clone();
    let waker = Waker::from(Arc::new(AtOnce(move || {
        sender.send((asked.tail.head().get(), asked.window().claim([7; 16], checksum, 1))).unwrap();
    })));
    assert!(matches!(Pin::new(&mut decided).poll(&mut Context::from_waker(&waker)), Poll::Pending));
    answered(&shared, record, answer);
    found.try_recv().unwrap()
}

#[test]
fn whoever_is_answered_finds_the_event_where_it_belongs() {
    let (head, known) = found_by_an_answer(|shared, record, answer| {
        shared.finish(Group { appends: vec![Append::new(vec![record], answer)], result: Ok(1) });
    });
    assert!(head == 1 && matches!(known, Known::Committed { .. }), "{head}, {known:?}");
}

#[test]
fn whoever_is_refused_may_try_again_at_once() {
    let (head, known) = found_by_an_answer(|shared, record, answer| {
        let appends = vec![Append::new(vec![record], answer)];
        shared.finish(Group { appends, result: Err(AppendError::Closed) });
    });
    assert!(head == 0 && matches!(known, Known::New), "{head}, {known:?}");
}

#[tokio::test]
async fn a_duplicate_of_an_event_that_is_being_committed_hears_how_that_went() {
    let line = r#"{"source":"job","cycle_id":"c1","event_kind":"ok","ok":true}"#;
    let submission = || Submission::parse(line).unwrap();
    for (is_committed, in_batch) in [(true, false), (true, true), (false, false), (false, true)] {
        let shared = Arc::new(Shared::new(DedupWindow::default()));
        let memory = observer_journal::fs::Memory::default();
        let options = observer_journal::Options::new("j").file_system(memory);
        let options = options.runner(observer_journal::Runner::Caller);
        let (journal, _) = Journal::open(options, |_| {}).unwrap();
        let ingest = Ingest::open(
            Arc::new(journal),
            shared.clone(),
            IngestOptions::default(),
            Arc::new(|| 1),
        )
        .unwrap();
        let id = Identity::of(&submission().event, None, None).id.into_bytes();
        let record = Record::new(1, id, line);
        assert!(matches!(shared.window().claim(id, record.checksum, 1), Known::New));
        let second = async {
            if in_batch {
                ingest.ingest_batch(vec![submission()]).await.remove(0)
            } else {
                ingest.ingest(submission(), None).await
            }
        };
        let first = async {
            let (answer, _decided) = oneshot::channel();
            let result = if is_committed { Ok(1) } else { Err(AppendError::Closed) };
            shared.finish(Group { appends: vec![Append::new(vec![record], answer)], result });
        };
        let (second, ()) = tokio::join!(second, first);
        match second {
            Ok(ack) => {
                assert!(is_committed && ack.status == AckStatus::Duplicate);
                let counters = ingest.counters();
                let counts = (
                    counters.duplicates.load(Ordering::Relaxed),
                    counters.changed.load(Ordering::Relaxed),
                );
                assert_eq!(counts, (1, 0), "it is the same event");
            }
            Err(error) => assert!(!is_committed && matches!(error, IngestError::Unavailable(_))),
        }
    }
}
