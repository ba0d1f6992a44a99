use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// Does this when it is woken, before whoever woke it goes on.
struct AtOnce<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for AtOnce<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// What an answer finds that comes to someone who looks at once: the head, and what is known of the event.
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
        shared.commits.push(Decided { commit: Commit { first_seq: 1, records: vec![record] }, answer });
        shared.tell();
    });
    assert!(head == 1 && matches!(known, Known::Committed { .. }), "{head}, {known:?}");
}

#[test]
fn whoever_is_refused_may_try_again_at_once() {
    let (head, known) = found_by_an_answer(|shared, record, answer| {
        shared.refuse(&[record.key()], &Unavailable::ShuttingDown, answer);
    });
    assert!(head == 0 && matches!(known, Known::New), "{head}, {known:?}");
}
