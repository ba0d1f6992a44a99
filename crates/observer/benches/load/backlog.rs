//! Cost of a backlog: resident memory, and the time until a killed observer responds again.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::batches::LOAD;
use crate::client::{Load, get, pending, rate, sinks};
use crate::server::{Server, mebibytes};
use crate::{Arguments, folder};

/// A sink that can never write, and a healthy one.
const CONFIG: &str = r#"
[journal]
max_size = "200GiB"
[sinks.dead]
type = "file"
path = "/dev/null/{date}.jsonl"
start = "earliest"
[sinks.prometheus]
type = "prometheus"
start = "earliest"
"#;
/// Time in which the observer releases its caches.
const REST: Duration = Duration::from_secs(3);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let gb = arguments.number("--gb", 5)?;
    let folder = folder()?;
    let observer = Server::observer(folder.path(), CONFIG)?;
    let journal = folder.path().join("data/journal");
    let enough = || size(&journal) >= gb * 1_000_000_000;
    let (events, time) = LOAD.send(&observer.address, || !enough())?;
    println!(
        "\nwrote {:.1} GB, {events} events, in {:.0} s ({:.0} events/s): {:.0} MiB resident at most",
        size(&journal) as f64 / 1e9,
        time.as_secs_f64(),
        rate(events, time),
        mebibytes(observer.peak()?),
    );
    while sinks(&observer.address)?.iter().any(|sink| sink["name"] != "dead" && pending(sink) > 0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(REST);
    println!(
        "after the healthy sink has caught up: {:.0} MiB resident",
        mebibytes(observer.resident()?)
    );
    drop(observer);

    let begun = Instant::now();
    let observer = Server::observer(folder.path(), CONFIG)?;
    get(&observer.address, "/readyz")?;
    let opened = begun.elapsed();
    let one = Load { connections: 1, batch: 1, every: Duration::ZERO, first: events };
    let until = Instant::now() + REST;
    one.send(&observer.address, || Instant::now() < until)?;
    println!(
        "after a kill and a start: first response after {:.2} s; {:.0} MiB resident, \
         {:.0} MiB at most",
        opened.as_secs_f64(),
        mebibytes(observer.resident()?),
        mebibytes(observer.peak()?),
    );
    let dead = sinks(&observer.address)?
        .into_iter()
        .find(|sink| sink["name"] == "dead")
        .unwrap_or_default();
    ensure!(pending(&dead) >= events, "the backlog is smaller than {events} events: {dead}");
    Ok(())
}

/// Returns the size of the files in a folder in bytes. Files that disappear meanwhile are ignored.
fn size(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
