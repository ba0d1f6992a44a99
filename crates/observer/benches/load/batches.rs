//! Batches of events over HTTP: rates of acknowledgement and of delivery to the archive and the
//! metrics, compared with a no-op handler.

use std::time::{Duration, Instant};

use crate::client::{EVENT, Load, pending, rate, sinks};
use crate::server::{Server, mebibytes};
use crate::{Arguments, folder};

pub(crate) const BATCH: u64 = 1_000;
/// With 16 connections, the next group commit is large while the disk syncs the present one.
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
    let no_op = Server::no_op()?;
    let (events, time) = burst(&no_op.address)?;
    let no_op_rate = rate(events, time);
    println!(
        "{:<38} {no_op_rate:>9.0} events/s, {:.2} µs of CPU per event",
        "no-op handler",
        no_op.cpu_per(events)?
    );
    drop(no_op);

    let folder = folder()?;
    let observer = Server::observer(folder.path(), "")?;
    let begun = Instant::now();
    let (events, time) = burst(&observer.address)?;
    println!(
        "{:<38} {:>9.0} events/s, {:.2} of no-op, {:.2} µs of CPU per event",
        format!("acknowledged (fsync), {:.1} s", time.as_secs_f64()),
        rate(events, time),
        rate(events, time) / no_op_rate,
        observer.cpu_per(events)?,
    );
    while sinks(&observer.address)?.iter().any(|sink| pending(sink) > 0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let caught_up = begun.elapsed();
    println!(
        "{:<38} {:>9.0} events/s, {:.2} µs of CPU per event",
        format!("delivered to both sinks, {:.1} s", caught_up.as_secs_f64()),
        rate(events, caught_up),
        observer.cpu_per(events)?,
    );
    let (now, peak) = (mebibytes(observer.resident()?), mebibytes(observer.peak()?));
    println!("resident memory: {now:.0} MiB at the end, {peak:.0} MiB at most");
    Ok(())
}
