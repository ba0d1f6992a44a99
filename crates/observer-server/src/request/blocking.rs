//! Work that takes longer than a request may hold up the others.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// How much of it is done at once. What is unpacked or gathered takes many times the memory of the
/// request, and each thread keeps some for itself afterwards; the runtime alone would have hundreds
/// of them.
const AT_ONCE: usize = 2;

/// Threads for it, few of them.
#[derive(Debug, Clone)]
pub(crate) struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Aside {
    /// Do it when it is its turn.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = self.0.clone().acquire_owned().await.expect("it is never closed");
        // The turn ends with the work, which goes on when nobody waits for it any more.
        spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_is_done_at_once_also_when_those_who_asked_are_gone() {
        let (aside, running, most) =
            (Aside::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut asking = tokio::task::JoinSet::new();
        for round in 0..200 {
            let (aside, running, most) = (aside.clone(), running.clone(), most.clone());
            let asked = asking.spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                aside.run(work).await.unwrap();
            });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
                asked.abort();
            }
        }
        while let Some(ended) = asking.join_next().await {
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
        }
        assert!(most.load(Ordering::SeqCst) <= AT_ONCE, "{most:?}");
        assert_ne!(most.load(Ordering::SeqCst), 0);
    }
}
