//! Batches of events over HTTP: how many a second are acknowledged, and how many reach the archive
//! and the metrics, beside a no-op handler that is sent the same batches.

use std::time::{Duration, Instant};

use crate::client::{EVENT, Load, pending, rate, sinks};
use crate::server::{Server, mebibytes};
use crate::{Arguments, folder};

pub(crate) const BATCH: u64 = 1_000;
/// With so many connections the disk has a large group to sync while the next one is read.
pub(crate) const LOAD: Load =
    Load { connections: 16, batch: BATCH, every: Duration::ZERO, first: 0 };

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let length = Duration::from_secs(arguments.number("--seconds", 10)?);
    println!(
        "\nEvents of {} bytes, {BATCH} a batch, {} connections\n",
        EVENT.len(),
        LOAD.connections
    );

    let burst = |address: &str| {
        let until = Instant::now() + length;
        LOAD.send(address, || Instant::now() < until)
    };
    let nothing = Server::nothing()?;
    let (events, time) = burst(&nothing.address)?;
    let no_op = rate(events, time);
    println!(
        "{:<38} {no_op:>9.0} events/s, {:.2} µs of CPU each",
        "no-op handler",
        nothing.cpu_per(events)?
    );
    drop(nothing);

    let folder = folder()?;
    let observer = Server::observer(folder.path(), "")?;
    let begun = Instant::now();
    let (events, time) = burst(&observer.address)?;
    println!(
        "{:<38} {:>9.0} events/s, {:.2} of the no-op, {:.2} µs of CPU each",
        format!("acknowledged (fsync), {:.1} s", time.as_secs_f64()),
        rate(events, time),
        rate(events, time) / no_op,
        observer.cpu_per(events)?,
    );
    while sinks(&observer.address)?.iter().any(|sink| pending(sink) > 0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let caught_up = begun.elapsed();
    println!(
        "{:<38} {:>9.0} events/s, {:.2} µs of CPU each",
        format!("archive and metrics too, {:.1} s", caught_up.as_secs_f64()),
        rate(events, caught_up),
        observer.cpu_per(events)?,
    );
    let (now, peak) = (mebibytes(observer.resident()?), mebibytes(observer.peak()?));
    println!("resident: {now:.0} MiB at the end, {peak:.0} MiB at most");
    Ok(())
}
