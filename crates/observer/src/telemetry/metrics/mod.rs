//! Metrics over OTLP, for those whose back-end can't scrape.

mod bridge;
mod spread;

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::Registry;
use prometheus::proto::MetricFamily;

use self::bridge::{Bounds, Bridge, Unknown};

/// The SDK's own clock never strikes: it would not know to gather first.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Metrics that are yet to go out.
pub(crate) struct Export<E> {
    exporter: E,
    resource: Resource,
    registry: Registry,
    interval: Duration,
    restored: Vec<Vec<MetricFamily>>,
}

/// Metrics that go out.
#[derive(Debug)]
pub(crate) struct Exporting {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// Look at the registry for the last time, and answer when that is done. Once nobody is there to
/// give orders, what was seen goes out.
type Order = SyncSender<()>;

/// What the thread has.
struct Gathering {
    registry: Registry,
    interval: Duration,
    bridge: Bridge,
    provider: SdkMeterProvider,
}

impl<E: PushMetricExporter> Export<E> {
    pub(super) fn new(
        exporter: E,
        resource: Resource,
        registry: Registry,
        interval: Duration,
    ) -> Self {
        Self { exporter, resource, registry, interval, restored: Vec::new() }
    }

    /// What is in the registry now was there before, and is not counted, unless it has been looked
    /// at before and has become more. To be called before what is there can become more.
    pub(crate) fn restored(&mut self) {
        self.restored.push(self.registry.gather());
    }

    /// From now on, on a thread of its own: gathering takes its time.
    pub(crate) fn start(self) -> io::Result<Exporting> {
        let (orders, ordered) = mpsc::channel();
        let gathering = self.gathering();
        let thread = thread::Builder::new()
            .name("observer-metrics".to_owned())
            .spawn(move || gathering.run(&ordered))?;
        Ok(Exporting { orders, thread })
    }

    fn gathering(self) -> Gathering {
        let Self { exporter, resource, registry, interval, restored } = self;
        let bounds = Bounds::default();
        let views = bounds.clone();
        let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
        let provider = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader)
            .with_view(move |instrument: &_| views.view(instrument))
            .build();
        let mut bridge = Bridge::new(provider.meter("observer"), bounds);
        restored.iter().for_each(|families| bridge.take(families, Unknown::Restored));
        Gathering { registry, interval, bridge, provider }
    }
}

impl Gathering {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut due = Instant::now() + self.interval;
        loop {
            match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {
                    self.gather();
                    // A failure is in the account, and the next time brings all that is missing.
                    let _ = self.provider.force_flush();
                    due = (due + self.interval).max(Instant::now());
                }
                Ok(looked) => {
                    self.gather();
                    // Whoever waited may have gone.
                    let _ = looked.send(());
                    let _ = orders.recv();
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let _ = self.provider.shutdown();
    }

    fn gather(&mut self) {
        self.bridge.take(&self.registry.gather(), Unknown::New);
    }
}

impl Exporting {
    /// Take a last look at the registry. What comes to be there later doesn't count.
    pub(crate) fn look(self) -> Self {
        let (look, looked) = mpsc::sync_channel(1);
        if self.orders.send(look).is_ok() {
            // An error says that the thread has panicked, which was told.
            let _ = looked.recv();
        }
        self
    }

    /// What was seen goes out; this waits for it.
    pub(crate) fn finish(self) {
        drop(self.orders);
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
