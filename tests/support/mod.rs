//! An observer process in its own folder, and helpers that query it.

pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod hanging_sink;
pub(crate) mod knowledge_base;
pub(crate) mod run_totals;
pub(crate) mod small_disks;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time limit for every condition that a test waits for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Path of the program under test.
pub(crate) const OBSERVER: &str = env!("CARGO_BIN_EXE_observer");

/// Configuration that names no sinks, so that the default archive and metrics apply.
pub(crate) const DEFAULTS: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";

/// Running observer, which is killed on drop.
pub(crate) struct Observer {
    process: Child,
    /// URL of the first listener.
    pub(crate) url: String,
    /// URLs of all listeners.
    pub(crate) urls: Vec<String>,
    /// Path of the admin socket, if there is one.
    pub(crate) admin_socket: Option<PathBuf>,
    dir: PathBuf,
    client: reqwest::Client,
    log: mpsc::Receiver<String>,
    /// Lines that were logged until the observer listened.
    startup_log: Vec<String>,
}

/// Response to a request, with its complete body.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns the status, title and detail of a problem document.
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

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,

    pub(crate) peak: u64,
}

impl Observer {
    /// Starts an observer in a folder with a configuration, and waits until it listens.
    pub(crate) fn start(dir: &Path, config: &str) -> Self {
        Self::start_with(dir, config, &[], &[])
    }

    /// Starts an observer with additional arguments and environment variables.
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

    /// Starts an observer by a command that takes the observer's arguments.
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
                // The test may have dropped the receiver.
                let _ = sender.send(line);
            }
        });
        let mut startup_log = Vec::new();
        let ready = loop {
            let Ok(line) = log.recv_timeout(TIMEOUT) else {
                panic!("the observer doesn't listen: {startup_log:#?}")
            };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            startup_log.push(line);
            if entry["listen"].is_string() {
                break entry;
            }
        };
        let urls: Vec<_> =
            ready["listen"].as_str().unwrap().split(' ').map(str::to_owned).collect();
        Self {
            process,
            url: urls[0].clone(),
            urls,
            admin_socket: ready["admin_socket"].as_str().map(|path| dir.join(path)),
            dir: dir.to_owned(),
            client,
            log,
            startup_log,
        }
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

    /// Sends an administrative request over the admin socket.
    pub(crate) async fn administer(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &'static str,
    ) -> Response {
        let socket = self.admin_socket.as_deref().expect("the observer has an admin socket");
        let client = reqwest::Client::builder().unix_socket(socket).build().unwrap();
        self.send(client.request(method, format!("http://localhost{path}")).body(body)).await
    }

    /// Runs a command of the program in the observer's folder, so that it connects to the admin
    /// socket. Returns the exit code, and standard output followed by standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(OBSERVER);
        command.args(arguments).current_dir(&self.dir).env_remove("LH_OBSERVER_URL");
        let output = command.output().unwrap();
        (output.status.code(), text_of(&output))
    }

    /// Returns the memory of the process, or `None` on systems without `/proc`.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
        };
        Some(Memory { now: of("VmRSS:"), peak: of("VmHWM:") })
    }

    /// Waits until no sink has pending events and every position is the head of the journal.
    pub(crate) async fn wait_until_caught_up(&self) {
        wait_until("every sink has caught up", async || {
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

    /// Waits until `/metrics` meets a condition, and returns the series.
    pub(crate) async fn wait_for_metrics(
        &self,
        condition: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> BTreeMap<String, f64> {
        let begun = Instant::now();
        loop {
            let metrics = parse_metrics(&self.get("/metrics").await.text);
            if condition(&metrics) {
                return metrics;
            }
            assert!(begun.elapsed() < TIMEOUT, "timed out waiting for metrics: {metrics:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the lines of the archive, oldest first.
    pub(crate) fn archive(&self) -> Vec<String> {
        archive(&self.dir)
    }

    /// Replaces the contents of the configuration file.
    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.dir.join("observer.toml"), config).unwrap();
    }

    /// Requests a reload of the configuration.
    pub(crate) async fn reload(&self) -> Response {
        self.administer(reqwest::Method::POST, "/-/reload", "").await
    }

    /// Sends SIGHUP.
    pub(crate) fn send_sighup(&self) {
        self.signal("-HUP");
    }

    /// Waits for the next log entry with a message.
    pub(crate) fn wait_for_log(&mut self, message: &str) -> Value {
        loop {
            let line = self
                .log
                .recv_timeout(TIMEOUT)
                .unwrap_or_else(|_| panic!("the log has no entry {message:?}"));
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == message {
                return entry;
            }
        }
    }

    /// Sends a signal, such as `-USR1`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills the process with SIGKILL. Returns the log, except entries that were waited for.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.rest_of_log()
    }

    /// Sends SIGTERM and waits for the exit. Returns the exit status and the log, except entries
    /// that were waited for.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("-TERM");
        let status = self.process.wait().unwrap();
        (status, self.rest_of_log())
    }

    fn rest_of_log(&mut self) -> Vec<String> {
        let mut log = std::mem::take(&mut self.startup_log);
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

/// Runs a command of the program against an observer. Returns the exit code, and standard output
/// followed by standard error.
pub(crate) fn run_command(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(OBSERVER).args(arguments).env("LH_OBSERVER_URL", url).output().unwrap();
    (output.status.code(), text_of(&output))
}

/// Returns standard output followed by standard error.
pub(crate) fn text_of(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes);
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Returns an HTTP client. Its TLS needs a crypto provider for the whole process.
pub(crate) fn client() -> reqwest::Client {
    // Another test of the same process may have installed one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Returns the lines of the archive in a folder, oldest first.
pub(crate) fn archive(dir: &Path) -> Vec<String> {
    read_lines(&dir.join("observer-data/events"))
}

/// Returns the lines of all files in a folder, in the order of the file names.
pub(crate) fn read_lines(dir: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    paths.iter().flat_map(read).collect()
}

/// Returns the event inside an envelope, byte for byte as the producer sent it.
pub(crate) fn event_of(envelope: &str) -> &str {
    let at = envelope.find(r#","event":"#).unwrap() + r#","event":"#.len();
    &envelope[at..envelope.len() - 1]
}

/// Returns each series of a text exposition with its value.
pub(crate) fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Polls a condition until it holds. The description is a clause: "every sink has caught up".
pub(crate) async fn wait_until(description: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < TIMEOUT, "timed out waiting until {description}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the outcomes of real agent runs, one event a line: the fixture, or the larger file that
/// `OBSERVER_TEST_RUNS` names.
pub(crate) fn agent_runs() -> Vec<String> {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agent-runs.ndjson");
    let path = std::env::var_os("OBSERVER_TEST_RUNS").map_or(fixture, PathBuf::from);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Returns whether a program that a test needs is installed.
///
/// If it is not, this reports the test as skipped on standard error, which the test harness doesn't
/// capture there.
///
/// # Panics
///
/// If the program is missing and `OBSERVER_TEST_TOOLS` is set.
pub(crate) fn is_installed(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("--version");
    is_available(name, command, |status| status.is_ok())
}

/// Returns whether Python packages that a test needs are installed; see [`is_installed`].
pub(crate) fn has_packages(modules: &str) -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", &format!("import {modules}")]);
    is_available(modules, command, |status| status.is_ok_and(|status| status.success()))
}

/// Returns whether a module for Node.js that a test needs is installed; see [`is_installed`].
pub(crate) fn has_node_package(module: &str) -> bool {
    let mut command = Command::new("node");
    command.args(["-e", &format!("require.resolve({module:?})")]);
    is_available(module, command, |status| status.is_ok_and(|status| status.success()))
}

fn is_available(
    name: &str,
    mut command: Command,
    succeeded: fn(std::io::Result<ExitStatus>) -> bool,
) -> bool {
    let found = succeeded(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    if !found {
        assert!(
            std::env::var_os("OBSERVER_TEST_TOOLS").is_none(),
            "{name} is required here and is not installed"
        );
        let test = std::thread::current();
        let test = test.name().unwrap_or("a test");
        // One write, so that lines of concurrent tests don't mix.
        let line = format!("SKIPPED: {test}: {name} is not installed; see .ci/run\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

/// Asserts that promtool, where it is installed, accepts the metrics without a warning.
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
