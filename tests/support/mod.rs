//! An observer in a folder of its own, and ways to ask it things.

pub(crate) mod run_totals;
pub(crate) mod small_disks;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const OBSERVER: &str = env!("CARGO_BIN_EXE_observer");

/// A configuration without sinks: archive and metrics.
pub(crate) const DEFAULTS: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";

/// A running observer; killed when it is dropped.
pub(crate) struct Observer {
    process: Child,
    pub(crate) url: String,
    /// All that it listens on, as URLs.
    pub(crate) urls: Vec<String>,
    dir: PathBuf,
    client: reqwest::Client,
    log: mpsc::Receiver<String>,
    /// What it had logged when it began to listen.
    beginning: Vec<String>,
}

/// An response to a request.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A problem as a producer sees it.
    pub(crate) fn summary(&self) -> String {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], self.status);
        format!(
            "{} {}\n{}",
            self.status,
            problem["title"].as_str().unwrap(),
            problem["detail"].as_str().unwrap()
        )
    }
}

/// What a process has in memory, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most that it ever had.
    pub(crate) peak: u64,
}

impl Observer {
    /// Start in this folder, with this configuration, and wait until it listens.
    pub(crate) fn start(dir: &Path, config: &str) -> Self {
        Self::start_with(dir, config, &[], &[])
    }

    /// The same with more arguments and environment variables.
    pub(crate) fn start_with(
        dir: &Path,
        config: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(OBSERVER);
        command.current_dir(dir).envs(environment.iter().copied());
        Self::launch(dir, config, command, arguments)
    }

    /// Start by a command that wants the observer's arguments, in this folder.
    pub(crate) fn launch(
        dir: &Path,
        config: &str,
        mut command: Command,
        arguments: &[&str],
    ) -> Self {
        let client = client();
        std::fs::write(dir.join("observer.toml"), config).unwrap();
        let mut process = command
            .args(["--log-format", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let errors = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // No one may be interested any more.
                let _ = sender.send(line);
            }
        });
        let mut beginning = Vec::new();
        let urls: Vec<_> = loop {
            let Ok(line) = log.recv_timeout(TIMEOUT) else {
                panic!("it doesn't listen: {beginning:#?}")
            };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            beginning.push(line);
            if let Some(listen) = entry["listen"].as_str() {
                break listen.split(' ').map(str::to_owned).collect();
            }
        };
        Self { process, url: urls[0].clone(), urls, dir: dir.to_owned(), client, log, beginning }
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> Response {
        self.send(self.client.post(format!("{}/event", self.url)).body(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Response { status, headers, text: response.text().await.unwrap() }
    }

    /// What it has in memory, where the system says so.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
        };
        Some(Memory { now: of("VmRSS:"), peak: of("VmHWM:") })
    }

    /// Until no sink has anything pending, and what was delivered shows.
    pub(crate) async fn wait_until_caught_up(&self) {
        wait_until("every sink has everything", async || {
            let status = self.get("/v1/sinks").await.json();
            let head = status["head"].clone();
            status["sinks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|sink| sink["position"] == head && sink["pending"] == 0)
        })
        .await;
    }

    /// Until the metrics say so.
    pub(crate) async fn wait_for_metrics(
        &self,
        what: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> BTreeMap<String, f64> {
        let begun = Instant::now();
        loop {
            let metrics = parse_metrics(&self.get("/metrics").await.text);
            if what(&metrics) {
                return metrics;
            }
            assert!(begun.elapsed() < TIMEOUT, "the metrics don't come to say so: {metrics:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The lines of the archive, oldest first.
    pub(crate) fn archive(&self) -> Vec<String> {
        archive(&self.dir)
    }

    /// Have something else stand in its configuration file.
    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.dir.join("observer.toml"), config).unwrap();
    }

    /// Have it read the file again.
    pub(crate) async fn reload(&self) -> Response {
        self.send(self.client.post(format!("{}/-/reload", self.url))).await
    }

    /// SIGHUP.
    pub(crate) fn send_sighup(&self) {
        self.signal("-HUP");
    }

    /// The next entry of the log with this message.
    pub(crate) fn wait_for_log(&mut self, message: &str) -> Value {
        loop {
            let line = self
                .log
                .recv_timeout(TIMEOUT)
                .unwrap_or_else(|_| panic!("the log never says {message:?}"));
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == message {
                return entry;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// kill -9. Gives all of its log that nobody has looked at.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.rest_of_log()
    }

    /// SIGTERM, and how it ended, with all of its log that nobody has looked at.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("-TERM");
        let status = self.process.wait().unwrap();
        (status, self.rest_of_log())
    }

    fn rest_of_log(&mut self) -> Vec<String> {
        let mut log = std::mem::take(&mut self.beginning);
        log.extend(self.log.iter());
        log
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client; the crypto provider that its TLS needs is this process's choice.
pub(crate) fn client() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The lines of the archive in a folder, oldest first.
pub(crate) fn archive(dir: &Path) -> Vec<String> {
    read_lines(&dir.join("observer-data/events"))
}

/// The lines of all files in a folder, in the order of their names.
pub(crate) fn read_lines(dir: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    paths.iter().flat_map(read).collect()
}

/// The producer's own bytes inside an envelope.
pub(crate) fn event_of(envelope: &str) -> &str {
    let at = envelope.find(r#","event":"#).unwrap() + r#","event":"#.len();
    &envelope[at..envelope.len() - 1]
}

/// Each series with its value.
pub(crate) fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// What another process does can only be asked for, again and again.
pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < TIMEOUT, "it does not come to be so that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Outcomes of real runs, one a line: the fixture, or a larger file that `OBSERVER_TEST_RUNS`
/// names.
pub(crate) fn agent_runs() -> Vec<String> {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agent-runs.ndjson");
    let path = std::env::var_os("OBSERVER_TEST_RUNS").map_or(fixture, PathBuf::from);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Whether a program that a test needs is there. Where it isn't, the test is skipped, which it says
/// past the capture of tests' output; where `OBSERVER_TEST_TOOLS=required`, it has to be there.
pub(crate) fn is_installed(name: &str) -> bool {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var_os("OBSERVER_TEST_TOOLS").is_none(),
            "{name} is needed here and is not installed"
        );
        let test = std::thread::current();
        let test = test.name().unwrap_or("a test");
        // In one piece, since other tests say so at the same time.
        let line = format!("SKIPPED: {test}: {name} is not installed; .ci/run says how it is\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

/// promtool, where it is installed, has nothing to say about these metrics.
pub(crate) fn assert_promtool_accepts(metrics: &str) {
    if !is_installed("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
