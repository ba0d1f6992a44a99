//! What benchmarks of single events share: the processes, and the load that `wrk` makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

const SCRIPT: &str = r#"
local n = 0
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function request()
  n = n + 1
  return wrk.format("POST", "/event", { ["Content-Type"] = "application/json" }, string.format(
    '{"source":"bench","cycle_id":"%s-%d-%d","sig_hash":"03f203cc93b17365","event_kind":"tests_failed","ok":false,' ..
    '"staffer_id":"gpt-oss:120b","turns":83,"duration_ms":49081.172,"extra":{"repo":"example/repository",' ..
    '"usage":{"prompt_tokens":3975829,"completion_tokens":1478,"cost_usd":2.99},"patch_tokens":15984}}', wrk.run, id, n))
end
"#;

/// What `wrk` saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) requests_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

pub(crate) fn number(arguments: &[String], name: &str, default: u64) -> anyhow::Result<u64> {
    match arguments.iter().position(|argument| argument == name) {
        None => Ok(default),
        Some(at) => Ok(arguments.get(at + 1).with_context(|| format!("{name} needs a number"))?.parse()?),
    }
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Stop where the program that makes the load is missing.
pub(crate) fn need_wrk() -> anyhow::Result<()> {
    match Command::new("wrk").arg("-v").output() {
        Ok(_) => Ok(()),
        Err(_) => bail!("this benchmark needs `wrk`: apt install wrk"),
    }
}

/// A process that listens, and goes when this does.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    /// This program again, to serve what its arguments say; its first output is its address.
    pub(crate) fn of_this_program(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()))
    }

    /// The first output that names an address.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        const PREFIX: &str = "http://";
        let mut process = command.spawn()?;
        let output: Box<dyn Read + Send> = match (process.stdout.take(), process.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (None, Some(errors)) => Box::new(errors),
            (None, None) => bail!("the server's output is not piped"),
        };
        let mut lines = BufReader::new(output).lines();
        let url = loop {
            let line = lines.next().context("the server ended before it listened")??;
            if let Some(at) = line.find(PREFIX) {
                let rest = &line[at..];
                let end = rest[PREFIX.len()..]
                    .find(|next: char| !(next.is_ascii_digit() || next == '.' || next == ':'))
                    .map_or(rest.len(), |end| end + PREFIX.len());
                break rest[..end].to_owned();
            }
        };
        // Keep the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Unique events from that many connections. Anything but 200 is an error.
pub(crate) fn wrk(server: &Server, connections: usize, seconds: u64, run: &str) -> anyhow::Result<Run> {
    let mut script = tempfile::NamedTempFile::new()?;
    write!(script, "wrk.run = {run:?}\n{SCRIPT}")?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(script.path())
        .arg(format!("{}/event", server.url))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("some requests failed:\n{text}");
    }
    let after = |label: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        found.with_context(|| format!("wrk printed no {label}"))
    };
    Ok(Run {
        requests_per_second: after("Requests/sec:")?.parse()?,
        p50: duration(after("50%")?)?,
        p99: duration(after("99%")?)?,
    })
}

/// As `wrk` writes it: `85.00us`, `1.20ms`, `1.03s`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()].parse()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => bail!("{text:?} is no time"),
    };
    Ok(Duration::from_secs_f64(seconds))
}
