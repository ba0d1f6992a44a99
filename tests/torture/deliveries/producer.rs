//! Producers that post events at a steady rate, whatever the latency of earlier ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use observer_core::Uuid;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::event::{Fate, event};
use super::latency::Latencies;
use super::observer::Observer;
use super::oracle::Oracle;
use crate::sync::lock;

/// Time after which the client in the field gives a request up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time after which an event that is not acknowledged is a violation.
const DEADLINE: Duration = Duration::from_secs(120);

/// Producers of one phase.
pub(crate) struct Phase {
    pub(crate) observer: Arc<Observer>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    /// Determines which events are bad; `None` if all are good.
    pub(crate) seed: Option<u64>,
    pub(crate) latencies: Mutex<Latencies>,
    /// Requests that were sent again since the observer was killed meanwhile.
    pub(crate) interrupted: AtomicU64,
    /// Requests without a response in time although the observer was available.
    pub(crate) timeouts: AtomicU64,
}

impl Phase {
    pub(crate) fn new(
        observer: &Arc<Observer>,
        oracle: &Arc<Mutex<Oracle>>,
        seed: Option<u64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            observer: Arc::clone(observer),
            oracle: Arc::clone(oracle),
            seed,
            latencies: Mutex::default(),
            interrupted: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        })
    }

    /// Posts `rate` events a second until `until`, and waits for the responses.
    pub(crate) async fn produce(self: Arc<Self>, rate: u32, until: Instant) -> Result<(), String> {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        while Instant::now() < until {
            ticks.tick().await;
            requests.spawn(Arc::clone(&self).send());
            while let Some(done) = requests.try_join_next() {
                done.map_err(|error| error.to_string())??;
            }
        }
        while let Some(done) = requests.join_next().await {
            done.map_err(|error| error.to_string())??;
        }
        Ok(())
    }

    /// Posts one event until it is acknowledged.
    async fn send(self: Arc<Self>) -> Result<(), String> {
        let (n, fate) = lock(&self.oracle).next(self.seed);
        let body = event(n, fate);
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if let Some(id) = self.attempt(n, &body).await? {
                lock(&self.oracle).acknowledge(n, id);
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(format!("event {n} was not acknowledged within {} s", DEADLINE.as_secs()))
    }

    /// Posts an event once. Returns its id, or `None` if there was no response.
    async fn attempt(&self, n: u64, body: &str) -> Result<Option<Uuid>, String> {
        #[derive(Deserialize)]
        struct Acknowledgement {
            id: Uuid,
        }
        let start = self.observer.availability.begin();
        let request = self.observer.client.post(format!("{}/event", self.observer.url));
        let exchange = async {
            let response = request.timeout(PATIENCE).body(body.to_owned()).send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
        };
        match exchange.await {
            Ok((200, text)) => {
                lock(&self.latencies).record(start.at.elapsed());
                let acknowledgement: Acknowledgement =
                    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
                Ok(Some(acknowledgement.id))
            }
            Ok((status, text)) => Err(format!("response {status} to the event {n}: {text}")),
            Err(error) if !self.observer.availability.was_available(start) => {
                let _ = error;
                self.interrupted.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) if error.is_timeout() => {
                lock(&self.latencies).record(start.at.elapsed());
                self.timeouts.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(format!("no response to the event {n}: {error:?}")),
        }
    }
}

/// Returns the fate of an event: without a seed all are good.
pub(crate) fn fate(seed: Option<u64>, n: u64) -> Fate {
    seed.map_or(Fate::Accepted, |seed| Fate::of(seed, n))
}
