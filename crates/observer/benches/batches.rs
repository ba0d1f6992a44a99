//! Batches of events over HTTP: how many a second are acknowledged, and how many reach the archive and the metrics.
//! `cargo bench -p observer --bench batches`

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const BATCH: u64 = 1_000;
const CONNECTIONS: usize = 4;
const BURST: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let observer = Observer::start(folder.path())?;
    let (numbers, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| produce(&observer.address, &numbers, &acknowledged, begun + BURST)))
            .collect();
        producers.into_iter().try_for_each(|producer| producer.join().expect("a producer doesn't panic"))
    })?;
    let burst = begun.elapsed();
    let events = acknowledged.load(Ordering::SeqCst);
    while get(&observer.address, "/v1/sinks")?.matches("\"pending\":0,").count() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let caught_up = begun.elapsed();
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    println!("{events} events of about 300 bytes, {BATCH} a batch, {CONNECTIONS} connections, fsync");
    println!("acknowledged in {:>5.1} s: {:>9.0} events/s", burst.as_secs_f64(), rate(burst));
    println!("caught up in    {:>5.1} s: {:>9.0} events/s", caught_up.as_secs_f64(), rate(caught_up));
    println!("resident at the end: {}", observer.resident()?);
    Ok(())
}

fn produce(address: &str, numbers: &AtomicU64, acknowledged: &AtomicU64, until: Instant) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut body = Vec::new();
    while Instant::now() < until {
        body.clear();
        let first = numbers.fetch_add(BATCH, Ordering::Relaxed);
        for number in first..first + BATCH {
            writeln!(
                body,
                r#"{{"source":"bench","cycle_id":"cycle-{number}","sig_hash":"03f203cc93b17365","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-oss:120b","turns":83,"duration_ms":49081.172,"extra":{{"repo":"example/repository","usage":{{"prompt_tokens":3975829,"completion_tokens":1478,"cost_usd":2.99}},"patch_tokens":15984}}}}"#
            )?;
        }
        write!(stream, "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)?;
        let answer = read_answer(&mut answers)?;
        if !answer.contains(&format!("\"accepted\":{BATCH},")) {
            bail!("a batch was not accepted: {answer}");
        }
        acknowledged.fetch_add(BATCH, Ordering::Relaxed);
    }
    Ok(())
}

fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n")?;
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

/// A process that goes when this does.
struct Observer {
    process: Child,
    address: String,
}

impl Observer {
    fn start(folder: &std::path::Path) -> anyhow::Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_observer"))
            .args(["--log-format", "json", "serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stderr.take().context("its log is piped")?).lines();
        let address = loop {
            let line = lines.next().context("the observer ended before it listened")??;
            if let Some((_, rest)) = line.split_once(r#""listen":"http://"#) {
                break rest.split('"').next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    fn resident(&self) -> anyhow::Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.context("the system tells no resident memory")?.trim().to_owned())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
