//! Single events over HTTP, compared with a no-op handler.
//!
//! `wrk` sends unique events of about 300 bytes. Rounds of the no-op handler and of the observer
//! alternate, each with a new process. The output includes the time of an `fdatasync` on the
//! journal's disk, since each group of responses waits for one.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::wrk::{self, Run, wrk};
use crate::{Arguments, folder, median};

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (seconds, rounds) = (arguments.number("--seconds", 5)?, arguments.number("--rounds", 3)?);
    wrk::check_installed()?;
    let folder = folder()?;
    println!("\nSingle events, medians of {rounds} alternating rounds of {seconds} s");
    println!(
        "fdatasync of 4 KiB on the journal's disk: p50 {:.3} ms\n",
        sync_p50(folder.path())?.as_secs_f64() * 1e3
    );
    println!(
        "{:>11} {:>10} {:>12} {:>12} {:>7} {:>9} {:>9}",
        "connections", "durability", "no-op /s", "observer /s", "ratio", "p50, ms", "p99, ms"
    );
    for connections in [64, 256] {
        for durability in ["fsync", "write"] {
            let (mut no_op, mut observer) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let load = |server: &Server| wrk(server, connections, seconds, &round.to_string());
                no_op.push(load(&Server::no_op()?)?);
                let data = folder.path().join("observer");
                observer.push(load(&Server::observer(
                    &data,
                    &format!("journal.durability = {durability:?}\n"),
                )?)?);
                std::fs::remove_dir_all(&data)?;
            }
            let of =
                |runs: &[Run], field: fn(&Run) -> f64| median(runs.iter().map(field).collect());
            let rate = |runs: &[Run]| of(runs, |run| run.requests_per_second);
            println!(
                "{connections:>11} {durability:>10} {:>12.0} {:>12.0} {:>7.2} {:>9.3} {:>9.3}",
                rate(&no_op),
                rate(&observer),
                rate(&observer) / rate(&no_op),
                of(&observer, |run| run.p50),
                of(&observer, |run| run.p99),
            );
        }
    }
    Ok(())
}

/// Returns the median time of an `fdatasync` after a write of 4 KiB.
fn sync_p50(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..300 {
        file.write_all(&[7; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}
