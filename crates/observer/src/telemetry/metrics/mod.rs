//! Export of metrics over OTLP, for back-ends that can't scrape.

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

use self::bridge::{Bounds, Bridge, NewSeries};

/// Interval of the reader of the SDK, which never elapses: this module gathers the metrics first
/// and then flushes the reader.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Export of metrics that has not started.
pub(crate) struct Export<E> {
    exporter: E,
    resource: Resource,
    registry: Registry,
    interval: Duration,
    baselines: Vec<Vec<MetricFamily>>,
}

/// Running export of metrics.
#[derive(Debug)]
pub(crate) struct Exporting {
    commands: Sender<LastGather>,
    thread: JoinHandle<()>,
}

/// Command to gather for the last time. The thread replies when that is done, and exports once the
/// sender of the commands is dropped.
type LastGather = SyncSender<()>;

/// State of the export thread.
struct Worker {
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
        Self { exporter, resource, registry, interval, baselines: Vec::new() }
    }

    /// Records the current totals as the baseline of new series: they were restored and are not
    /// exported. Series of an earlier baseline keep it. Call this before the totals can increase.
    pub(crate) fn record_baseline(&mut self) {
        self.baselines.push(self.registry.gather());
    }

    /// Starts the export on a separate thread, since gathering blocks.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub(crate) fn start(self) -> io::Result<Exporting> {
        let (commands, received) = mpsc::channel();
        let worker = self.worker();
        let thread = thread::Builder::new()
            .name("observer-metrics".to_owned())
            .spawn(move || worker.run(&received))?;
        Ok(Exporting { commands, thread })
    }

    fn worker(self) -> Worker {
        let Self { exporter, resource, registry, interval, baselines } = self;
        let bounds = Bounds::default();
        let views = bounds.clone();
        let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
        let provider = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader)
            .with_view(move |instrument: &_| views.view(instrument))
            .build();
        let mut bridge = Bridge::new(provider.meter("observer"), bounds);
        baselines.iter().for_each(|families| bridge.update(families, NewSeries::Restored));
        Worker { registry, interval, bridge, provider }
    }
}

impl Worker {
    fn run(mut self, commands: &Receiver<LastGather>) {
        let mut due = Instant::now() + self.interval;
        loop {
            match commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {
                    self.gather();
                    // The exporter records a failure; totals make the next export complete.
                    let _ = self.provider.force_flush();
                    due = (due + self.interval).max(Instant::now());
                }
                Ok(gathered) => {
                    self.gather();
                    // The receiver may have timed out.
                    let _ = gathered.send(());
                    let _ = commands.recv();
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let _ = self.provider.shutdown();
    }

    fn gather(&mut self) {
        self.bridge.update(&self.registry.gather(), NewSeries::Counted);
    }
}

impl Exporting {
    /// Gathers the metrics for the last time. Later changes are not exported.
    pub(crate) fn gather(self) -> Self {
        let (reply, gathered) = mpsc::sync_channel(1);
        if self.commands.send(reply).is_ok() {
            // An error means that the thread has panicked, which the panic hook reported.
            let _ = gathered.recv();
        }
        self
    }

    /// Exports the gathered metrics and waits for the end of the export.
    pub(crate) fn finish(self) {
        drop(self.commands);
        // The panic hook has reported a panic of the thread.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
