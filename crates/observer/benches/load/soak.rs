//! Detection of leaks: mixed load for a long time, with a sample of memory, descriptors and threads
//! each second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Load, get, pending, sinks};
use crate::server::{Server, mebibytes};
use crate::{Arguments, folder, median};

/// Segments and archives are deleted during the run. One sink can never write, so that its events
/// expire, and one filters all events.
const CONFIG: &str = r#"
[journal]
max_size = "256MiB"
[sinks.archive]
type = "file"
path = "archive/{date}.jsonl"
rotate = { max_size = "16MiB" }
compression = "zstd"
retain = { max_total_size = "256MiB" }
[sinks.successes]
type = "file"
path = "successes/{date}.jsonl"
filter = { ok = true }
[sinks.dead]
type = "file"
path = "/dev/null/{date}.jsonl"
[sinks.prometheus]
type = "prometheus"
"#;
const SINGLES: Load = Load { connections: 16, batch: 1, every: Duration::from_millis(5), first: 0 };
const BATCHES: Load =
    Load { connections: 4, batch: 200, every: Duration::from_millis(80), first: 5_000_000_000 };
/// Number of parts of the run in the output.
const PARTS: usize = 6;
/// Requests that are invalid or incomplete.
const BAD: [&str; 5] = [
    "POST /event HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
     content-length: 9\r\nconnection: close\r\n\r\n{\"source\"",
    "POST /event HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
     content-length: 90000000\r\nconnection: close\r\n\r\n",
    "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
     content-length: 4\r\nconnection: close\r\n\r\n[1,2",
    "GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "POST /event HTTP/1.1\r\nhost: elsewhere.example\r\ncontent-length: 0\r\n\
     connection: close\r\n\r\n",
];

#[derive(Debug, Clone, Copy)]
struct Sample {
    resident: u64,
    descriptors: u64,
    threads: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let minutes = arguments.number("--minutes", 60)?;
    let folder = folder()?;
    let config = CONFIG.replace("path = \"a", &format!("path = \"{}/a", folder.path().display()));
    let config = config.replace("path = \"s", &format!("path = \"{}/s", folder.path().display()));
    let observer = Server::observer(folder.path(), &config)?;
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let more = || Instant::now() < until;
    let (bad, queries) = (AtomicU64::new(0), AtomicU64::new(0));
    let address = observer.address.as_str();

    let (singles, batches, samples) = std::thread::scope(|scope| {
        let singles = scope.spawn(|| SINGLES.send(address, more));
        let batches = scope.spawn(|| BATCHES.send(address, more));
        scope.spawn(|| {
            while more() {
                send_bad(address, BAD[bad.fetch_add(1, Ordering::Relaxed) as usize % BAD.len()]);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut samples = Vec::new();
        while more() {
            for path in ["/metrics", "/v1/sinks", "/readyz"] {
                get(address, path)?;
                queries.fetch_add(1, Ordering::Relaxed);
            }
            let (resident, descriptors) = (observer.resident()?, observer.descriptors()?);
            samples.push(Sample { resident, descriptors, threads: observer.threads()? });
            std::thread::sleep(Duration::from_secs(1));
        }
        let sent = |producers: std::thread::ScopedJoinHandle<
            '_,
            anyhow::Result<(u64, Duration)>,
        >| { producers.join().expect("producers do not panic") };
        anyhow::Ok((sent(singles)?.0, sent(batches)?.0, samples))
    })?;
    println!(
        "\n{minutes} min: {singles} single events, {batches} events in batches, {} bad requests, \
         {} queries\n",
        bad.into_inner(),
        queries.into_inner()
    );
    println!(
        "{:>10} {:>24} {:>20} {:>10}",
        "", "resident, MiB (max)", "descriptors (max)", "threads"
    );
    for (part, these) in samples.chunks(samples.len().div_ceil(PARTS)).enumerate() {
        let of = |field: fn(&Sample) -> u64| {
            let most = these.iter().map(field).max().unwrap_or(0);
            (median(these.iter().map(|sample| field(sample) as f64).collect()), most)
        };
        let ((resident, most), (descriptors, most_open)) =
            (of(|at| at.resident), of(|at| at.descriptors));
        println!(
            "{:>10} {:>24} {:>20} {:>10}",
            format!("part {}", part + 1),
            format!("{:.0} ({:.0})", mebibytes(resident as u64), mebibytes(most)),
            format!("{descriptors:.0} ({most_open})"),
            of(|at| at.threads).1
        );
    }
    println!();
    for sink in sinks(address)? {
        let count = |field: &str| sink[field].as_u64().unwrap_or(0);
        let (delivered, expired, filtered) =
            (count("delivered"), count("expired"), count("filtered"));
        println!(
            "{:>10}: {delivered} delivered, {expired} expired, {filtered} filtered, {} pending",
            sink["name"].as_str().unwrap_or_default(),
            pending(&sink)
        );
    }
    Ok(())
}

/// Sends a request and ignores the response.
fn send_bad(address: &str, request: &str) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
}
