//! Script of a receiver: the replies to come, and the requests so far.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Time that a test waits for requests before it fails.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Replies `A` to come and requests `R` so far, shared by a receiver and its connections.
pub(crate) struct Script<A, R> {
    state: Mutex<State<A, R>>,
    /// Number of requests so far.
    arrived: watch::Sender<usize>,
}

struct State<A, R> {
    replies: VecDeque<A>,
    default_reply: A,
    requests: Vec<R>,
}

impl<A: Clone, R: Clone + Debug> Script<A, R> {
    pub(crate) fn new(replies: impl IntoIterator<Item = A>, default_reply: A) -> Self {
        let state =
            State { replies: replies.into_iter().collect(), default_reply, requests: Vec::new() };
        Self { state: Mutex::new(state), arrived: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State<A, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enqueue(&self, reply: A) {
        self.state().replies.push_back(reply);
    }

    pub(crate) fn set_default_reply(&self, reply: A) {
        self.state().default_reply = reply;
    }

    /// Takes the reply to the next request.
    pub(crate) fn next(&self) -> A {
        let mut state = self.state();
        state.replies.pop_front().unwrap_or_else(|| state.default_reply.clone())
    }

    pub(crate) fn record(&self, request: R) {
        self.state().requests.push(request);
        self.arrived.send_modify(|arrived| *arrived += 1);
    }

    pub(crate) fn requests(&self) -> Vec<R> {
        self.state().requests.clone()
    }

    /// Returns all requests, and forgets them.
    pub(crate) fn take_requests(&self) -> Vec<R> {
        std::mem::take(&mut self.state().requests)
    }

    /// Collects items of all requests, in order.
    pub(crate) fn collect<T, I: IntoIterator<Item = T>>(
        &self,
        items: impl FnMut(&R) -> I,
    ) -> Vec<T> {
        self.state().requests.iter().flat_map(items).collect()
    }

    /// Waits for this number of requests, and returns all.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<R> {
        let mut arrived = self.arrived.subscribe();
        let outcome = timeout(REQUEST_TIMEOUT, arrived.wait_for(|arrived| *arrived >= count))
            .await
            .map(|seen| seen.is_ok());
        let requests = self.requests();
        assert!(
            outcome == Ok(true),
            "expected {count} requests, received {}: {requests:#?}",
            requests.len()
        );
        requests
    }
}
