use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use observer_journal::AppendError;

use super::*;

/// Waker that runs a function synchronously when it is woken.
struct CallOnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for CallOnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Returns the head and the registration of an event, as they are when its request is woken.
fn state_at_wake_up(commit: impl FnOnce(&CommitState, Record, ReplyTo)) -> (u64, Registration) {
    let commit_state = Arc::new(CommitState::new(DedupWindow::default()));
    let record = Record::new(1, [7; 16], r#"{"source":"s","event_kind":"k","ok":true}"#);
    let checksum = record.checksum;
    assert!(matches!(
        commit_state.window().register([7; 16], None, checksum, 1),
        Registration::New
    ));
    let (reply_to, mut result) = oneshot::channel();
    let (sender, found) = std::sync::mpsc::channel();
    let observed = commit_state.clone();
    let waker = Waker::from(Arc::new(CallOnWake(move || {
        sender
            .send((
                observed.tail.head().get(),
                observed.window().register([7; 16], None, checksum, 1),
            ))
            .unwrap();
    })));
    assert!(matches!(Pin::new(&mut result).poll(&mut Context::from_waker(&waker)), Poll::Pending));
    commit(&commit_state, record, reply_to);
    found.try_recv().unwrap()
}

#[test]
fn acknowledged_event_is_in_the_tail_and_the_window() {
    let (head, registration) = state_at_wake_up(|commit_state, record, reply_to| {
        commit_state
            .on_commit(Group { appends: vec![Append::new(vec![record], reply_to)], result: Ok(1) });
    });
    assert!(
        head == 1 && matches!(registration, Registration::Committed { .. }),
        "{head}, {registration:?}"
    );
}

#[test]
fn rejected_event_is_new_again_at_once() {
    let (head, registration) = state_at_wake_up(|commit_state, record, reply_to| {
        let appends = vec![Append::new(vec![record], reply_to)];
        commit_state.on_commit(Group { appends, result: Err(AppendError::Closed) });
    });
    assert!(head == 0 && matches!(registration, Registration::New), "{head}, {registration:?}");
}

#[tokio::test]
async fn duplicate_of_a_pending_event_gets_its_result() {
    let line = r#"{"source":"job","cycle_id":"c1","event_kind":"ok","ok":true}"#;
    let submission = || Submission::parse(line).unwrap();
    for (is_committed, in_batch) in [(true, false), (true, true), (false, false), (false, true)] {
        let commit_state = Arc::new(CommitState::new(DedupWindow::default()));
        let memory = observer_journal::fs::Memory::default();
        let options = observer_journal::Options::new("j").file_system(memory);
        let options = options.runner(observer_journal::Runner::Caller);
        let (journal, _) = Journal::open(options, |_| {}).unwrap();
        let ingest = Ingest::open(
            Arc::new(journal),
            commit_state.clone(),
            IngestOptions::default(),
            0,
            Arc::new(|| 1),
        )
        .unwrap();
        let principal = Principal::anonymous();
        let id = Identity::of(&principal, &submission(), None).id.into_bytes();
        let record = Record::new(1, id, line);
        assert!(matches!(
            commit_state.window().register(id, None, record.checksum, 1),
            Registration::New
        ));
        let second = async {
            if in_batch {
                ingest.ingest_batch(&principal, vec![submission()]).await.remove(0)
            } else {
                ingest.ingest(&principal, submission(), None).await
            }
        };
        let first = async {
            let (reply_to, _result) = oneshot::channel();
            let result = if is_committed { Ok(1) } else { Err(AppendError::Closed) };
            commit_state
                .on_commit(Group { appends: vec![Append::new(vec![record], reply_to)], result });
        };
        let (second, ()) = tokio::join!(second, first);
        match second {
            Ok(ack) => {
                assert!(is_committed && ack.status == AckStatus::Duplicate);
                let counts = ingest.counters().principals.snapshot()["anonymous"];
                let counts = (counts.duplicates, counts.changed);
                assert_eq!(counts, (1, 0), "the duplicate counts once, as unchanged");
            }
            Err(error) => assert!(!is_committed && matches!(error, IngestError::Unavailable(_))),
        }
    }
}
