//! An observer that is observer while something is done to it.

use std::fmt::Write;
use std::path::Path;

use super::raw::{RawConnection, Received, post};
use crate::support::{Observer, Response, event_of, wait_until};

/// What it may have in memory at any time, in bytes.
const MOST_MEMORY: u64 = 100 << 20;

pub(super) struct MonitoredObserver {
    pub(super) process: Observer,
    /// What was accepted, in order.
    accepted: Vec<String>,
    /// What was done, and what was said to it.
    pub(super) transcript: String,
    /// When memory was past its bounds.
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

    /// One body to `/event`, on a connection of its own.
    pub(super) async fn post(&self, body: impl AsRef<[u8]>) -> Response {
        let mut connection = self.connect().await;
        connection.send(post("/event", "", body)).await;
        connection.response().await
    }

    /// It was refused with this status, which was transcript in words; and the next event is taken.
    pub(super) async fn assert_rejected(&mut self, what: &str, status: u16, response: Response) {
        assert_eq!(response.status, status, "{what}: {}", response.text);
        self.record(what, Received::Response(response)).await;
    }

    /// This is how it ended; and the next event is taken.
    pub(super) async fn record(&mut self, what: &str, received: Received) {
        let seen = received.summary();
        assert!(seen.len() < 400, "{what}: who is to read {} bytes?", seen.len());
        writeln!(self.transcript, "({what})\n{seen}\n").unwrap();
        self.assert_healthy(what).await;
    }

    /// An event that is strange, and still an event.
    pub(super) async fn assert_kept(&mut self, event: &str) {
        let response = self.post(event).await;
        assert_eq!(response.status, 200, "{event:.200}: {}", response.text);
        self.expect_in_archive(event);
        self.assert_healthy(&format!("{event:.100}")).await;
    }

    /// It is going to be in the archive.
    pub(super) fn expect_in_archive(&mut self, event: impl Into<String>) {
        self.accepted.push(event.into());
    }

    /// How many events were accepted.
    pub(super) fn accepted_count(&self) -> usize {
        self.accepted.len()
    }

    /// The same, ended in good order and started again.
    pub(super) async fn restart(self, dir: &Path, config: &str) -> Self {
        let Self { process, accepted, transcript, memory_violations } = self;
        let (status, log) = process.terminate();
        assert!(status.success(), "{log:#?}");
        Self { process: Observer::start(dir, config), accepted, transcript, memory_violations }
    }

    /// The next event is taken, and memory is within its bounds.
    pub(super) async fn assert_healthy(&mut self, after: &str) {
        let mut connection = self.connect().await;
        self.assert_healthy_on(&mut connection, after).await;
    }

    pub(super) async fn assert_healthy_on(&mut self, connection: &mut RawConnection, after: &str) {
        let event = self.good_event();
        connection.send(post("/event", "", &event)).await;
        let response = connection.response().await;
        assert_eq!(response.status, 200, "after {after}: {}", response.text);
        assert_eq!(response.json()["status"], "accepted", "after {after}");
        self.expect_in_archive(event);
        self.record_memory(after);
    }

    pub(super) fn good_event(&self) -> String {
        let number = self.accepted.len();
        format!(
            r#"{{"source":"bot","cycle_id":"good-{number}","sig_hash":"s","event_kind":"ok","ok":true}}"#
        )
    }

    /// Note what it has in memory, to be judged in the end.
    fn record_memory(&mut self, after: &str) {
        let Some(memory) = self.process.memory() else { return };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let seen = format!(
            "{:.1} MiB, at most {:.1} MiB, after {after}",
            mebibytes(memory.now),
            mebibytes(memory.peak)
        );
        eprintln!("{seen}");
        if memory.peak > MOST_MEMORY {
            self.memory_violations.push(seen);
        }
    }

    /// In the end, every sink has settled everything, and the archive has what was accepted: once,
    /// in order, and nothing else.
    pub(super) async fn finish(mut self) {
        self.process.wait_until_caught_up().await;
        // One that has everything may not have begun yet.
        wait_until("every sink has begun", async || {
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
