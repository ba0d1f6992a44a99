//! Bounded pool for blocking work.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Number of tasks that a pool runs at the same time.
///
/// Decompressed batches and gathered metrics take many times the memory of their requests, and each
/// thread keeps some of it afterwards. Without this limit the runtime would start hundreds of
/// threads.
const MAX_RUNNING: usize = 2;

/// Pool of a few threads for work that would block the requests on a runtime's thread.
#[derive(Debug, Clone)]
pub(crate) struct BlockingPool(Arc<Semaphore>);

impl Default for BlockingPool {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_RUNNING)))
    }
}

impl BlockingPool {
    /// Runs the work once a thread of the pool is free.
    ///
    /// Dropping the future before the work has started cancels it. Work that has started continues
    /// and occupies its thread until it ends.
    ///
    /// # Errors
    /// If the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let permit = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        spawn_blocking(move || {
            // Held by the work rather than by its caller, who may disconnect first.
            let _permit = permit;
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
    async fn pool_keeps_its_limit_when_callers_disconnect() {
        let (pool, running, most) =
            (BlockingPool::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut callers = tokio::task::JoinSet::new();
        for round in 0..200 {
            let (pool, running, most) = (pool.clone(), running.clone(), most.clone());
            let caller = callers.spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                pool.run(work).await.unwrap();
            });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
                caller.abort();
            }
        }
        while let Some(ended) = callers.join_next().await {
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
        }
        assert!(most.load(Ordering::SeqCst) <= MAX_RUNNING, "{most:?}");
        assert_ne!(most.load(Ordering::SeqCst), 0);
    }
}
