//! Process of the observer, its configuration, and its interface.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::destination::Kind;
use super::spells::scaled;
use crate::deployment::availability::Availability;
use crate::deployment::process::{Process, free_port};

/// Limit for a start.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Observer {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) availability: Availability,
    dir: PathBuf,
    process: Mutex<Option<Process>>,
}

/// Status of a sink, as in `/v1/sinks`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SinkStatus {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) pending: u64,
    pub(crate) undecided: u64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
    pub(crate) filtered: u64,
    pub(crate) dead_letters: u64,
}

/// Dead letter, as in the list of a sink.
#[derive(Debug, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    pub(crate) reason: String,
}

impl Observer {
    /// Starts an observer with sinks for these destinations.
    pub(crate) async fn start(
        dir: &Path,
        urls: &[(Kind, String)],
        run: Duration,
    ) -> Result<Self, String> {
        let port = free_port()?;
        let config = configuration(dir, port, urls, run);
        std::fs::write(dir.join("observer.toml"), config).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().no_proxy().build();
        let this = Self {
            url: format!("http://127.0.0.1:{port}"),
            client: client.map_err(|error| error.to_string())?,
            availability: Availability::new(),
            dir: dir.to_owned(),
            process: Mutex::default(),
        };
        this.restart().await?;
        Ok(this)
    }

    /// Kills the observer (kill -9), and starts it again.
    pub(crate) async fn kill(&self) -> Result<(), String> {
        self.availability.interrupt();
        if let Some(process) = &mut *self.process.lock().await {
            process.kill();
        }
        self.restart().await
    }

    async fn restart(&self) -> Result<(), String> {
        let config = self.dir.join("observer.toml");
        let arguments = ["observe", "--log-format", "json", "--config", &config.to_string_lossy()];
        let mut process = self.process.lock().await;
        let started = Process::start(&arguments, &self.log())?;
        let process = process.insert(started);
        let begun = Instant::now();
        loop {
            if let Some(status) = process.ended() {
                return Err(format!("the observer ended with {status}; see its log"));
            }
            let live = self.client.get(format!("{}/livez", self.url));
            let live = live.timeout(Duration::from_secs(1)).send().await;
            if live.is_ok_and(|response| response.status() == 200) {
                self.availability.set_up();
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                return Err("the observer does not respond after its start".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Returns the path of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("observer.log")
    }

    /// Returns the folder of the archive.
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.join("data/events")
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.timeout(Duration::from_secs(10)).send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        let response = response.map_err(|error| format!("{path}: {error:?}"))?;
        response.json().await.map_err(|error| format!("{path}: {error:?}"))
    }

    /// Returns the status of each sink.
    pub(crate) async fn sinks(&self) -> Result<Vec<SinkStatus>, String> {
        #[derive(Deserialize)]
        struct Sinks {
            sinks: Vec<SinkStatus>,
        }
        Ok(self.get::<Sinks>("/v1/sinks").await?.sinks)
    }

    /// Returns all dead letters of a sink.
    pub(crate) async fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>, String> {
        #[derive(Deserialize)]
        struct Page {
            dead_letters: Vec<DeadLetter>,
            next: Option<String>,
        }
        let path = format!("/v1/sinks/{}/dead-letters?limit=1000", sink.replace('/', "%2F"));
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page: Page = self.get(&format!("{path}{cursor}")).await?;
            all.extend(page.dead_letters);
            let Some(next) = page.next else { return Ok(all) };
            cursor = format!("&cursor={next}");
        }
    }
}

/// Returns the configuration. In a run of an hour every retry setting is the default; shorter runs
/// scale them down with their spells.
fn configuration(dir: &Path, port: u16, urls: &[(Kind, String)], run: Duration) -> String {
    let data = dir.join("data");
    let data = data.display();
    let seconds = |number| scaled(Duration::from_secs(number), run);
    let millis = |duration: Duration, least: u128| duration.as_millis().max(least);
    let mut text = format!(
        r#"data_dir = "{data}"
[server]
listen = "127.0.0.1:{port}"
[sinks.archive]
type = "file"
path = "{data}/events/archive.jsonl"
required = true
start = "earliest"
[sinks.prometheus]
type = "prometheus"
start = "earliest"
"#
    );
    for (kind, url) in urls {
        let destination = match kind {
            Kind::Webhook => format!("type = \"http\"\nbody = \"ndjson\"\nurl = \"{url}\""),
            Kind::Collector => {
                format!("type = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"{url}\"")
            }
        };
        text.push_str(&format!(
            r#"[sinks.{}]
{destination}
required = true
start = "earliest"
timeout = "{}ms"
batch = {{ linger = "{}ms" }}
[sinks.{0}.retry]
initial = "{}ms"
max = "{}ms"
denied = {{ rounds = 3, over = "{}ms" }}
failed = {{ rounds = 8, over = "{}ms" }}
"#,
            kind.as_str(),
            millis(seconds(30), 500),
            millis(seconds(1), 50),
            millis(scaled(Duration::from_millis(500), run), 50),
            millis(seconds(30), 200),
            millis(seconds(60), 100),
            millis(seconds(600), 300),
        ));
    }
    text
}
