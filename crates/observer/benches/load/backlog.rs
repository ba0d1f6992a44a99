//! What a backlog costs: memory while it grows and while it stands, and how soon an observer takes
//! events that was killed with it.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::batches::LOAD;
use crate::client::{Load, get, pending, rate, sinks};
use crate::server::{Server, mebibytes};
use crate::{Arguments, folder};

/// A sink that can never write anything, beside one that is well.
const CONFIG: &str = "[journal]\nmax_size = \"200GiB\"\n[sinks.dead]\ntype = \"file\"\npath = \"/dev/null/{date}.jsonl\"\n\
                      start = \"earliest\"\n[sinks.prometheus]\ntype = \"prometheus\"\nstart = \"earliest\"\n";
/// Long enough for what is only cached to go.
const REST: Duration = Duration::from_secs(3);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let gb = arguments.number("--gb", 5)?;
    let folder = folder()?;
    let observer = Server::observer(folder.path(), CONFIG)?;
    let journal = folder.path().join("data/journal");
    let enough = || size(&journal) >= gb * 1_000_000_000;
    let (events, time) = LOAD.send(&observer.address, || !enough())?;
    println!(
        "\n{:.1} GB, {events} events, written in {:.0} s ({:.0} events/s): {:.0} MiB resident at most",
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
        "once the other sink has had all of it: {:.0} MiB resident",
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
        "killed and started again: answers after {:.2} s; {:.0} MiB resident, {:.0} MiB at most",
        opened.as_secs_f64(),
        mebibytes(observer.resident()?),
        mebibytes(observer.peak()?),
    );
    let dead = sinks(&observer.address)?
        .into_iter()
        .find(|sink| sink["name"] == "dead")
        .unwrap_or_default();
    ensure!(pending(&dead) >= events, "the backlog is not what it should be: {dead}");
    Ok(())
}

/// Of the files in a folder, in bytes. One that goes meanwhile counts nothing.
fn size(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
