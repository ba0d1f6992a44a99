//! The processes that are measured.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::batches::BATCH;

/// The argument that makes this program a server that does nothing.
pub(crate) const NOTHING: &str = "serve-nothing";

/// A process that listens, and goes when this does.
pub(crate) struct Server {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Server {
    /// A handler that reads bodies and does nothing with them.
    pub(crate) fn nothing() -> anyhow::Result<Self> {
        Self::of_this_program(&[NOTHING])
    }

    /// This program again, to serve what its arguments say.
    pub(crate) fn of_this_program(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// The observer, with its data in this folder and this configuration; it listens on a port of
    /// its own.
    pub(crate) fn observer(folder: &Path, more: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("observer.toml");
        let data = folder.join("data");
        std::fs::write(
            &config,
            format!("data_dir = {data:?}\nserver.listen = \"127.0.0.1:0\"\n{more}"),
        )?;
        Self::start(
            Command::new(env!("CARGO_BIN_EXE_observer"))
                .args(["--log-format", "json", "--config"])
                .arg(config),
        )
    }

    /// The first line of its output that names an address.
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let mut lines =
            BufReader::new(process.stderr.take().context("the server's output is piped")?).lines();
        let address = loop {
            let line = lines.next().context("the server ended before it listened")??;
            if let Some((_, rest)) = line.split_once("http://") {
                let end =
                    rest.find(|next: char| !(next.is_ascii_digit() || next == '.' || next == ':'));
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
        };
        // Keep the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    /// Microseconds of CPU that the process has used, by number of events. The system counts them
    /// in hundredths of a second.
    pub(crate) fn cpu_per(&self, events: u64) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("the name stands in parentheses")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 * 1e4 / events as f64)
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most resident memory that there was, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    pub(crate) fn threads(&self) -> anyhow::Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{}/task", self.process.id()))?.count() as u64)
    }

    pub(crate) fn descriptors(&self) -> anyhow::Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count() as u64)
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        Ok(line.context("the system tells no resident memory")?.parse::<u64>()? << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A handler that reads bodies and does nothing with them.
pub(crate) fn serve_nothing() -> anyhow::Result<()> {
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::post;

    const JSON: [(axum::http::HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
    let single =
        r#"{"id":"00000000-0000-0000-0000-000000000000","status":"accepted","durability":"none"}"#;
    let batch = format!(
        r#"{{"accepted":{BATCH},"duplicates":0,"rejected":0,"durability":"none","errors":[]}}"#
    );
    tokio::runtime::Runtime::new()?.block_on(async {
        let app = axum::Router::new()
            .route("/event", post(move |_body: bytes::Bytes| async move { (JSON, single) }))
            .route("/v1/events", post(move |_body: bytes::Bytes| async move { (JSON, batch) }))
            .layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("http://{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        Ok(())
    })
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
