//! Observer whose responses, memory and archive are checked throughout a test.

use std::fmt::Write;
use std::path::Path;

use super::raw::{RawConnection, Received, post};
use crate::support::{Observer, Response, event_of, wait_until};

/// Limit of the resident memory, in bytes.
const MAX_MEMORY: u64 = 200 << 20;

/// Observer, and everything that the test expects of it.
pub(super) struct MonitoredObserver {
    pub(super) process: Observer,
    /// Accepted events, in order.
    accepted: Vec<String>,
    /// Description and result of each attack.
    pub(super) transcript: String,
    /// Measurements beyond the memory limit.
    memory_violations: Vec<String>,
}

impl MonitoredObserver {
    pub(super) async fn start(dir: &Path, config: &str) -> Self {
        let mut observer = Self {
            process: Observer::start(dir, config),
            accepted: Vec::new(),
            transcript: String::new(),
            memory_violations: Vec::new(),
        };
        observer.assert_healthy("the start").await;
        observer
    }

    pub(super) async fn connect(&self) -> RawConnection {
        RawConnection::connect(&self.process).await
    }

    /// Posts one body to `/event` on a new connection.
    pub(super) async fn post(&self, body: impl AsRef<[u8]>) -> Response {
        let mut connection = self.connect().await;
        connection.send(post("/event", "", body)).await;
        connection.response().await
    }

    /// Asserts that a request was rejected with a status, and records the response.
    pub(super) async fn assert_rejected(&mut self, what: &str, status: u16, response: Response) {
        assert_eq!(response.status, status, "{what}: {}", response.text);
        self.record(what, Received::Response(response)).await;
    }

    /// Adds the result of an attack to the transcript, and asserts that the observer is healthy.
    pub(super) async fn record(&mut self, what: &str, received: Received) {
        let summary = received.summary();
        assert!(summary.len() < 400, "{what}: a response of {} bytes is too long", summary.len());
        writeln!(self.transcript, "({what})\n{summary}\n").unwrap();
        self.assert_healthy(what).await;
    }

    /// Asserts that an unusual but valid event is accepted.
    pub(super) async fn assert_kept(&mut self, event: &str) {
        let response = self.post(event).await;
        assert_eq!(response.status, 200, "{event:.200}: {}", response.text);
        self.expect_in_archive(event);
        self.assert_healthy(&format!("{event:.100}")).await;
    }

    /// Expects an event in the archive.
    pub(super) fn expect_in_archive(&mut self, event: impl Into<String>) {
        self.accepted.push(event.into());
    }

    /// Returns the number of accepted events.
    pub(super) fn accepted_count(&self) -> usize {
        self.accepted.len()
    }

    /// Terminates the process gracefully and starts it again.
    pub(super) async fn restart(self, dir: &Path, config: &str) -> Self {
        let Self { process, accepted, transcript, memory_violations } = self;
        let (status, log) = process.terminate();
        assert!(status.success(), "{log:#?}");
        Self { process: Observer::start(dir, config), accepted, transcript, memory_violations }
    }

    /// Asserts that the next valid event is accepted, and measures memory.
    pub(super) async fn assert_healthy(&mut self, after: &str) {
        let mut connection = self.connect().await;
        self.assert_healthy_on(&mut connection, after).await;
    }

    /// Asserts the same on an existing connection.
    pub(super) async fn assert_healthy_on(&mut self, connection: &mut RawConnection, after: &str) {
        let event = self.valid_event();
        connection.send(post("/event", "", &event)).await;
        let response = connection.response().await;
        assert_eq!(response.status, 200, "after {after}: {}", response.text);
        assert_eq!(response.json()["status"], "accepted", "after {after}");
        self.expect_in_archive(event);
        self.record_memory(after);
    }

    pub(super) fn valid_event(&self) -> String {
        let number = self.accepted.len();
        format!(
            "{{\"source\":\"bot\",\"cycle_id\":\"good-{number}\",\"sig_hash\":\"s\",\
             \"event_kind\":\"ok\",\"ok\":true}}"
        )
    }

    /// Measures memory. [`finish`](Self::finish) fails if it exceeded the limit.
    fn record_memory(&mut self, after: &str) {
        let Some(memory) = self.process.memory() else { return };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let measurement = format!(
            "{:.1} MiB, at most {:.1} MiB, after {after}",
            mebibytes(memory.now),
            mebibytes(memory.peak)
        );
        eprintln!("{measurement}");
        if memory.peak > MAX_MEMORY {
            self.memory_violations.push(measurement);
        }
    }

    /// Asserts the final state: every sink is running and has caught up, the archive has the
    /// accepted events once, in order and nothing else, and memory stayed within its limit.
    pub(super) async fn finish(mut self) {
        self.process.wait_until_caught_up().await;
        // A sink that has caught up may still be starting.
        wait_until("every sink has started", async || {
            let status = self.process.get("/v1/sinks").await.json();
            status["sinks"].as_array().unwrap().iter().all(|sink| sink["state"] != "starting")
        })
        .await;
        self.record_memory("the end");
        let status = self.process.get("/v1/sinks").await.json();
        for sink in status["sinks"].as_array().unwrap() {
            assert_eq!(
                (&sink["state"], &sink["dead"], &sink["refused"]),
                (&"running".into(), &0.into(), &0.into())
            );
        }
        let archive = self.process.archive();
        let archived: Vec<_> = archive.iter().map(|line| event_of(line)).collect();
        let differs =
            archived.iter().zip(&self.accepted).find(|(archived, accepted)| *archived != accepted);
        assert_eq!(differs, None);
        assert_eq!(archived.len(), self.accepted.len());
        assert!(self.memory_violations.is_empty(), "{:#?}", self.memory_violations);
    }
}
