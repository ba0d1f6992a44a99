//! Batches of events over HTTP: how many a second are acknowledged, and how many reach the archive and the metrics, beside a no-op handler that is
//! sent the same batches in the same run. `cargo bench -p observer --bench batches [-- --seconds 10]`
//!
//! Bodies are made once; only the numbers that make each event unique are written into them, so that the driver, which shares the machine, costs little.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const BATCH: u64 = 1_000;
/// Enough that the disk has a large group to sync while the next one is read.
const CONNECTIONS: usize = 16;
/// What stands in an event where its number goes.
const PLACE: &str = "cycle-0000000000";
const DIGITS: usize = 10;
const EVENT: &str = r#"{"source":"bench","cycle_id":"cycle-0000000000","sig_hash":"03f203cc93b17365","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-oss:120b","turns":83,"duration_ms":49081.172,"extra":{"repo":"example/repository","usage":{"prompt_tokens":3975829,"completion_tokens":1478,"cost_usd":2.99},"patch_tokens":15984}}"#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == "serve-nothing") {
        return serve_nothing();
    }
    let seconds = match arguments.iter().position(|argument| argument == "--seconds") {
        Some(at) => arguments.get(at + 1).context("--seconds needs a number")?.parse()?,
        None => 10,
    };
    let length = Duration::from_secs(seconds);
    println!(
        "events of {} bytes, {BATCH} a batch, {CONNECTIONS} connections; the driver on the same machine",
        EVENT.len()
    );

    let nothing = Server::start(Command::new(std::env::current_exe()?).arg("serve-nothing"), Output::Stdout)?;
    let (events, time) = burst(&nothing.address, length)?;
    println!(
        "{:<38} {:>9.0} events/s, {:.2} µs of CPU each",
        "no-op handler",
        rate(events, time),
        nothing.cpu_per(events)?
    );
    let no_op = rate(events, time);
    drop(nothing);

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.args(["--log-format", "json", "serve", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let observer = Server::start(&mut command, Output::Stderr)?;
    let begun = Instant::now();
    let (events, time) = burst(&observer.address, length)?;
    println!(
        "{:<38} {:>9.0} events/s, {:.2} of the no-op, {:.2} µs of CPU each",
        format!("acknowledged (fsync), {:.1} s", time.as_secs_f64()),
        rate(events, time),
        rate(events, time) / no_op,
        observer.cpu_per(events)?,
    );
    while get(&observer.address, "/v1/sinks")?.matches("\"pending\":0,").count() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let caught_up = begun.elapsed();
    println!(
        "{:<38} {:>9.0} events/s, {:.2} µs of CPU each",
        format!("archive and metrics too, {:.1} s", caught_up.as_secs_f64()),
        rate(events, caught_up),
        observer.cpu_per(events)?,
    );
    let [peak, now] = [observer.status("VmHWM:")?, observer.status("VmRSS:")?];
    println!("resident (/proc/PID/status): VmRSS {now} at the end, VmHWM {peak}");
    Ok(())
}

fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// How many events were acknowledged, and in what time.
fn burst(address: &str, length: Duration) -> anyhow::Result<(u64, Duration)> {
    let (numbers, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| produce(address, &numbers, &acknowledged, begun + length)))
            .collect();
        producers.into_iter().try_for_each(|producer| producer.join().expect("a producer doesn't panic"))
    })?;
    Ok((acknowledged.into_inner(), begun.elapsed()))
}

fn produce(address: &str, numbers: &AtomicU64, acknowledged: &AtomicU64, until: Instant) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let body = format!("{EVENT}\n").repeat(usize::try_from(BATCH)?);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let place = EVENT.find(PLACE).context("the event has a place for its number")? + PLACE.len();
    let mut request = [head.as_bytes(), body.as_bytes()].concat();
    let accepted = format!("\"accepted\":{BATCH},");
    while Instant::now() < until {
        let first = numbers.fetch_add(BATCH, Ordering::Relaxed);
        for (event, number) in request[head.len()..].chunks_exact_mut(EVENT.len() + 1).zip(first..) {
            write_number(&mut event[place - DIGITS..place], number);
        }
        stream.write_all(&request)?;
        let answer = read_answer(&mut answers)?;
        if !answer.contains(&accepted) {
            bail!("a batch was not accepted: {answer}");
        }
        acknowledged.fetch_add(BATCH, Ordering::Relaxed);
    }
    Ok(())
}

fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    read_answer(&mut BufReader::new(stream))
}

fn read_answer(answers: &mut impl BufRead) -> anyhow::Result<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// A handler that reads the batch and does nothing with it.
fn serve_nothing() -> anyhow::Result<()> {
    use axum::http::header::CONTENT_TYPE;

    let answer = format!(r#"{{"accepted":{BATCH},"duplicates":0,"rejected":0,"durability":"none","errors":[]}}"#);
    tokio::runtime::Runtime::new()?.block_on(async {
        let handler = move |_body: bytes::Bytes| async move { ([(CONTENT_TYPE, "application/json")], answer) };
        let app = axum::Router::new().route("/v1/events", axum::routing::post(handler));
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("\"listen\":\"http://{}\"", listener.local_addr()?);
        axum::serve(listener, app).await?;
        Ok(())
    })
}

/// Where a server says its address.
#[derive(Clone, Copy)]
enum Output {
    Stdout,
    Stderr,
}

/// A process that goes when this does.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(command: &mut Command, output: Output) -> anyhow::Result<Self> {
        match output {
            Output::Stdout => command.stdout(Stdio::piped()),
            Output::Stderr => command.stderr(Stdio::piped()),
        };
        let mut process = command.spawn()?;
        let output: Box<dyn Read + Send> = match (process.stdout.take(), process.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (None, Some(errors)) => Box::new(errors),
            (None, None) => bail!("the server's output is not piped"),
        };
        let mut lines = BufReader::new(output).lines();
        let address = loop {
            let line = lines.next().context("the server ended before it listened")??;
            if let Some((_, rest)) = line.split_once(r#""listen":"http://"#) {
                break rest.split('"').next().unwrap_or_default().to_owned();
            }
        };
        // Keep the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    /// Microseconds of CPU that the process has used, by number of events. The system counts them in hundredths of a second.
    fn cpu_per(&self, events: u64) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("the name stands in parentheses")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 * 1e4 / events as f64)
    }

    fn status(&self, field: &str) -> anyhow::Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        Ok(line.context("the system tells no resident memory")?.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
