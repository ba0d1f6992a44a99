//! Effect of readers of `GET /v1/stream` on producers.
//!
//! Producers send 5,000 events/s, alone, beside a loop that does nothing, and beside readers. The
//! rounds alternate, each with a new process. Readers share the processors with the observer, which
//! in practice they don't: the loop shows how much of the effect any other process has. At the end
//! all readers must have got every event.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Load, get, rate};
use crate::server::Server;
use crate::{Arguments, folder, median};

/// Argument with which this program reads streams.
pub(crate) const READ: &str = "read-streams";
/// Argument with which this program runs a loop that does nothing.
pub(crate) const LOOP: &str = "loop";
/// Events per second.
const RATE: u64 = 5_000;
/// Number of producers of single events.
const CONNECTIONS: u64 = 50;
/// Time in which readers must have read what was sent.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time after the last event in which every stream has sent it, unless it is behind.
const SETTLED: Duration = Duration::from_millis(500);

/// Result of one round.
struct Measured {
    /// Events per second.
    rate: f64,
    /// In milliseconds.
    p50: f64,
    /// In milliseconds.
    p99: f64,
    /// CPU time of the observer per event in microseconds.
    cpu: f64,
}

/// Load beside the producers.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nothing,
    Loop,
    Readers(u64),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (seconds, rounds) = (arguments.number("--seconds", 8)?, arguments.number("--rounds", 5)?);
    let (readers, batch) = (arguments.number("--readers", 500)?, arguments.number("--batch", 1)?);
    let all = [Beside::Nothing, Beside::Loop, Beside::Readers(readers)];
    let mut measured = all.map(|_| Vec::new());
    for _ in 0..rounds {
        for (beside, measured) in all.into_iter().zip(&mut measured) {
            measured.push(round(beside, batch, seconds)?);
        }
    }
    println!("\n{:>14} {:>10} {:>10} {:>18} {:>12}", "", "events/s", "p50", "p99", "CPU/event");
    for (beside, rounds) in all.iter().zip(&measured) {
        let of = |field: fn(&Measured) -> f64| median(rounds.iter().map(field).collect());
        let ratios = rounds.iter().zip(&measured[0]).map(|(this, alone)| this.p99 / alone.p99);
        println!(
            "{:>14} {:>10.0} {:>7.2} ms {:>8.2} ms ({:.2}) {:>9.1} µs",
            format!("{beside:?}"),
            of(|one| one.rate),
            of(|one| one.p50),
            of(|one| one.p99),
            median(ratios.collect()),
            of(|one| one.cpu)
        );
    }
    Ok(())
}

fn round(beside: Beside, batch: u64, seconds: u64) -> anyhow::Result<Measured> {
    let folder = folder()?;
    let observer = Server::observer(folder.path(), "")?;
    let address = observer.address.as_str();
    let readers = match beside {
        Beside::Readers(count) => Some(Readers::open(count, address)?),
        _ => None,
    };
    let idle_loop = match beside {
        Beside::Loop => Some(Background::start(&[LOOP])?),
        _ => None,
    };
    let connections = (CONNECTIONS / batch).max(1);
    let every = Duration::from_secs(connections * batch) / u32::try_from(RATE)?;
    let load = Load { connections, batch, every, first: 0 };
    let latencies = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    let (events, time) = load.send_timed(
        address,
        || Instant::now() < until,
        |latency| latencies.lock().expect("producers do not panic").push(latency),
    )?;
    let cpu = observer.cpu_per(events)?;
    drop(idle_loop);
    if let Some(readers) = readers {
        readers.finish(address)?;
    }
    let mut latencies = latencies.into_inner().expect("producers do not panic");
    latencies.sort_unstable();
    let quantile =
        |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    Ok(Measured { rate: rate(events, time), p50: quantile(0.5), p99: quantile(0.99), cpu })
}

/// This program as another process, which is killed when the handle is dropped.
struct Background(Child);

impl Background {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(process))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs until the process is killed.
pub(crate) fn run_loop() -> anyhow::Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

/// Process with readers.
struct Readers {
    process: Background,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Readers {
    /// Opens streams and waits until each has sent its position.
    fn open(count: u64, address: &str) -> anyhow::Result<Self> {
        let mut process = Background::start(&[READ, address, &count.to_string()])?;
        let stdout = process.0.stdout.take().context("the output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        lines.next().context("a stream was not opened")??;
        Ok(Self { process, lines })
    }

    /// Checks that no reader missed an event, and that all read the same.
    fn finish(mut self, address: &str) -> anyhow::Result<()> {
        let metrics = get(address, "/metrics")?;
        let missed = metrics
            .lines()
            .find_map(|line| line.strip_prefix("observer_stream_missed_events_total "))
            .context("there is no metric of missed events")?;
        ensure!(missed == "0", "readers missed {missed} events");
        drop(self.process.0.stdin.take());
        self.lines.next().context("readers got different numbers of bytes")??;
        Ok(())
    }
}

/// Reads streams, and prints a line when all are open. After the end of standard input it waits
/// until all have read the same number of bytes, and prints a second line.
pub(crate) fn read_all(address: &str, count: &str) -> anyhow::Result<()> {
    let bytes: Vec<_> = (0..count.parse()?).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    let (opened, all_opened) = mpsc::channel();
    for bytes in &bytes {
        runtime.spawn(read(address.to_owned(), bytes.clone(), opened.clone()));
    }
    let opened = all_opened.iter().take(bytes.len()).count();
    ensure!(opened == bytes.len(), "{opened} of {} streams were opened", bytes.len());
    println!("open");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        std::thread::sleep(SETTLED);
        let mut read: Vec<_> = bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect();
        read.dedup();
        if read.len() <= 1 {
            println!("read");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "readers got different numbers of bytes");
    }
}

async fn read(
    address: String,
    bytes: Arc<AtomicU64>,
    opened: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!("GET /v1/stream HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 64 << 10];
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\n\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "a stream ended");
        head.extend_from_slice(&buffer[..read]);
    }
    opened.send(())?;
    loop {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "a stream ended");
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
