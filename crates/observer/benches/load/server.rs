//! Server processes under measurement.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::batches::BATCH;

/// Argument with which this program runs the no-op handler.
pub(crate) const NO_OP: &str = "serve-no-op";

/// Server process, which is killed when this handle is dropped.
pub(crate) struct Server {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Server {
    /// Starts the no-op handler.
    pub(crate) fn no_op() -> anyhow::Result<Self> {
        Self::of_this_program(&[NO_OP])
    }

    /// Starts this program again with these arguments.
    pub(crate) fn of_this_program(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// Starts the observer with its data in this folder and this additional configuration, on a
    /// free port.
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

    /// Starts a server and reads its address from its standard error.
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
        // A full pipe would block the server.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    /// Returns the CPU time of the process per event in microseconds. The system counts in
    /// hundredths of a second.
    pub(crate) fn cpu_per(&self, events: u64) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("the name is not in parentheses")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 * 1e4 / events as f64)
    }

    /// Returns the present resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Returns the peak of the resident memory in bytes.
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
        Ok(line
            .with_context(|| format!("the process status has no field {field}"))?
            .parse::<u64>()?
            << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a handler that reads bodies and ignores them.
pub(crate) fn serve_no_op() -> anyhow::Result<()> {
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
