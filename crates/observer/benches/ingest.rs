//! Single events over HTTP against a no-op handler, in one run: `cargo bench -p observer --bench ingest`.
//!
//! `wrk` sends unique events of about 300 bytes; rounds of the no-op and of the observer alternate, each against a fresh process on the same machine. Beside
//! the ratio stands how long the disk under the journal takes for an `fdatasync`, since one group of answers waits for each.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

struct Settings {
    seconds: u64,
    rounds: usize,
    connections: Vec<usize>,
    durabilities: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == "serve-nothing") {
        return serve_nothing();
    }
    let settings = Settings {
        seconds: number(&arguments, "--seconds", 5)?,
        rounds: usize::try_from(number(&arguments, "--rounds", 3)?)?,
        connections: vec![64, 256],
        durabilities: vec!["fsync".into(), "write".into()],
    };
    if Command::new("wrk").arg("-v").output().is_err() {
        bail!("this benchmark needs `wrk`: apt install wrk");
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("fdatasync of 4 KiB under the journal: p50 {:.3} ms\n", sync_p50(folder.path())?.as_secs_f64() * 1e3);
    println!("{:>11} {:>10} {:>12} {:>12} {:>7}", "connections", "durability", "no-op /s", "observer /s", "ratio");
    for connections in &settings.connections {
        for durability in &settings.durabilities {
            let (mut nothing, mut observer) = (Vec::new(), Vec::new());
            for round in 0..settings.rounds {
                let server = Server::nothing()?;
                nothing.push(wrk(&server, *connections, &settings, round)?);
                drop(server);
                let server = Server::observer(folder.path(), durability, round)?;
                observer.push(wrk(&server, *connections, &settings, round)?);
            }
            let (nothing, observer) = (median(nothing), median(observer));
            let ratio = observer / nothing;
            println!("{connections:>11} {durability:>10} {nothing:>12.0} {observer:>12.0} {ratio:>7.2}");
        }
    }
    Ok(())
}

fn number(arguments: &[String], name: &str, default: u64) -> anyhow::Result<u64> {
    match arguments.iter().position(|argument| argument == name) {
        None => Ok(default),
        Some(at) => Ok(arguments.get(at + 1).with_context(|| format!("{name} needs a number"))?.parse()?),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A process that listens, and goes when this does.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn nothing() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        Self::start(Command::new(program).arg("serve-nothing").stdout(Stdio::piped()), "http://")
    }

    fn observer(folder: &Path, durability: &str, round: usize) -> anyhow::Result<Self> {
        let data = folder.join(format!("{durability}-{round}"));
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        let config = folder.join("observer.toml");
        std::fs::write(
            &config,
            format!(
                "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[journal]\ndurability = {durability:?}\n",
                data.display().to_string()
            ),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.args(["--log-format", "json", "--config"]).arg(config).stderr(Stdio::piped());
        Self::start(&mut command, "http://")
    }

    /// The first output that names an address.
    fn start(command: &mut Command, prefix: &str) -> anyhow::Result<Self> {
        let mut process = command.spawn()?;
        let output: Box<dyn std::io::Read + Send> = match (process.stdout.take(), process.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (None, Some(errors)) => Box::new(errors),
            (None, None) => bail!("the server's output is not piped"),
        };
        let mut lines = BufReader::new(output).lines();
        let url = loop {
            let line = lines.next().context("the server ended before it listened")??;
            if let Some(at) = line.find(prefix) {
                let rest = &line[at..];
                let end = rest[prefix.len()..]
                    .find(|next: char| !(next.is_ascii_digit() || next == '.' || next == ':'))
                    .map_or(rest.len(), |end| end + prefix.len());
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

/// Requests per second. Anything but 200 is an error.
fn wrk(server: &Server, connections: usize, settings: &Settings, round: usize) -> anyhow::Result<f64> {
    let mut script = tempfile::NamedTempFile::new()?;
    let run = format!("{round}-{}", std::process::id());
    write!(script, "wrk.run = {run:?}\n{SCRIPT}")?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{}s", settings.seconds), "-s"])
        .arg(script.path())
        .arg(format!("{}/event", server.url))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("some requests failed:\n{text}");
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk printed no rate")?;
    Ok(rate.trim().parse()?)
}

/// A handler that reads the body and does nothing with it.
fn serve_nothing() -> anyhow::Result<()> {
    use axum::http::header::CONTENT_TYPE;

    let answer = r#"{"id":"00000000-0000-0000-0000-000000000000","status":"accepted","durability":"none"}"#;
    tokio::runtime::Runtime::new()?.block_on(async {
        let handler = move |_body: bytes::Bytes| async move { ([(CONTENT_TYPE, "application/json")], answer) };
        let app = axum::Router::new().route("/event", axum::routing::post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        Ok(())
    })
}

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
