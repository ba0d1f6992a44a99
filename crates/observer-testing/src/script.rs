//! What a receiver was told to answer, and what it was asked.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for requests before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answers `A` to come and the requests `R` so far: what a receiver and its connections have in
/// common.
pub(crate) struct Script<A, R> {
    told: Mutex<Told<A, R>>,
    arrived: watch::Sender<usize>,
}

struct Told<A, R> {
    answers: VecDeque<A>,
    otherwise: A,
    requests: Vec<R>,
}

impl<A: Clone, R: Clone + Debug> Script<A, R> {
    pub(crate) fn new(answers: impl IntoIterator<Item = A>, otherwise: A) -> Self {
        let told = Told { answers: answers.into_iter().collect(), otherwise, requests: Vec::new() };
        Self { told: Mutex::new(told), arrived: watch::Sender::new(0) }
    }

    fn told(&self) -> MutexGuard<'_, Told<A, R>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enqueue(&self, answer: A) {
        self.told().answers.push_back(answer);
    }

    pub(crate) fn set_default_reply(&self, answer: A) {
        self.told().otherwise = answer;
    }

    /// The answer for the request that is here now.
    pub(crate) fn next(&self) -> A {
        let mut told = self.told();
        told.answers.pop_front().unwrap_or_else(|| told.otherwise.clone())
    }

    pub(crate) fn keep(&self, request: R) {
        self.told().requests.push(request);
        self.arrived.send_modify(|arrived| *arrived += 1);
    }

    pub(crate) fn requests(&self) -> Vec<R> {
        self.told().requests.clone()
    }

    /// What each request has of what is looked for, in order.
    pub(crate) fn collect<T, I: IntoIterator<Item = T>>(
        &self,
        found: impl FnMut(&R) -> I,
    ) -> Vec<T> {
        self.told().requests.iter().flat_map(found).collect()
    }

    /// All requests, once there are so many.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<R> {
        let mut arrived = self.arrived.subscribe();
        let outcome = timeout(PATIENCE, arrived.wait_for(|arrived| *arrived >= count))
            .await
            .map(|seen| seen.is_ok());
        let requests = self.requests();
        assert!(
            outcome == Ok(true),
            "{count} requests were expected, and {} came: {requests:#?}",
            requests.len()
        );
        requests
    }
}
