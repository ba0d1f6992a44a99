//! An observer that is watched while something is done to it.

use std::fmt::Write;
use std::path::Path;

use super::raw::{Raw, Reply, post};
use crate::support::{Answer, Observer, event_of, eventually};

/// What it may have in memory at any time, in bytes.
const MOST_MEMORY: u64 = 100 << 20;

pub(super) struct Watched {
    pub(super) observer: Observer,
    /// What was accepted, in order.
    accepted: Vec<String>,
    /// What was done, and what was said to it.
    pub(super) told: String,
    /// When memory was past its bounds.
    too_much: Vec<String>,
}

impl Watched {
    pub(super) async fn start(dir: &Path, config: &str) -> Self {
        let mut watched = Self {
            observer: Observer::start(dir, config),
            accepted: Vec::new(),
            told: String::new(),
            too_much: Vec::new(),
        };
        watched.goes_on("the start").await;
        watched
    }

    pub(super) async fn connect(&self) -> Raw {
        Raw::connect(&self.observer).await
    }

    /// One body to `/event`, on a connection of its own.
    pub(super) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect().await;
        connection.say(post("/event", "", body)).await;
        connection.answer().await
    }

    /// It was refused with this status, which was told in words; and the next event is taken.
    pub(super) async fn refused(&mut self, what: &str, status: u16, answer: Answer) {
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        self.ended(what, Reply::Answer(answer)).await;
    }

    /// This is how it ended; and the next event is taken.
    pub(super) async fn ended(&mut self, what: &str, reply: Reply) {
        let seen = reply.seen();
        assert!(seen.len() < 400, "{what}: who is to read {} bytes?", seen.len());
        writeln!(self.told, "({what})\n{seen}\n").unwrap();
        self.goes_on(what).await;
    }

    /// An event that is strange, and still an event.
    pub(super) async fn keeps(&mut self, event: &str) {
        let answer = self.post(event).await;
        assert_eq!(answer.status, 200, "{event:.200}: {}", answer.text);
        self.has_accepted(event);
        self.goes_on(&format!("{event:.100}")).await;
    }

    /// It is going to be in the archive.
    pub(super) fn has_accepted(&mut self, event: impl Into<String>) {
        self.accepted.push(event.into());
    }

    /// How many events were accepted.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// The same, ended in good order and started again.
    pub(super) async fn restarted(self, dir: &Path, config: &str) -> Self {
        let Self { observer, accepted, told, too_much } = self;
        let (status, log) = observer.terminate();
        assert!(status.success(), "{log:#?}");
        Self { observer: Observer::start(dir, config), accepted, told, too_much }
    }

    /// The next event is taken, and memory is within its bounds.
    pub(super) async fn goes_on(&mut self, after: &str) {
        let mut connection = self.connect().await;
        self.goes_on_with(&mut connection, after).await;
    }

    pub(super) async fn goes_on_with(&mut self, connection: &mut Raw, after: &str) {
        let event = self.good_event();
        connection.say(post("/event", "", &event)).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200, "after {after}: {}", answer.text);
        assert_eq!(answer.json()["status"], "accepted", "after {after}");
        self.has_accepted(event);
        self.weigh(after);
    }

    pub(super) fn good_event(&self) -> String {
        let number = self.accepted.len();
        format!(
            r#"{{"source":"bot","cycle_id":"good-{number}","sig_hash":"s","event_kind":"ok","ok":true}}"#
        )
    }

    /// Note what it has in memory, to be judged in the end.
    fn weigh(&mut self, after: &str) {
        let Some(memory) = self.observer.memory() else { return };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let seen = format!(
            "{:.1} MiB, at most {:.1} MiB, after {after}",
            mebibytes(memory.now),
            mebibytes(memory.peak)
        );
        eprintln!("{seen}");
        if memory.peak > MOST_MEMORY {
            self.too_much.push(seen);
        }
    }

    /// In the end, every sink has settled everything, and the archive has what was accepted: once,
    /// in order, and nothing else.
    pub(super) async fn ends(mut self) {
        self.observer.caught_up().await;
        // One that has everything may not have begun yet.
        eventually("every sink has begun", async || {
            let status = self.observer.get("/v1/sinks").await.json();
            status["sinks"].as_array().unwrap().iter().all(|sink| sink["state"] != "starting")
        })
        .await;
        self.weigh("the end");
        let status = self.observer.get("/v1/sinks").await.json();
        for sink in status["sinks"].as_array().unwrap() {
            assert_eq!(
                (&sink["state"], &sink["dead"], &sink["refused"]),
                (&"running".into(), &0.into(), &0.into())
            );
        }
        let archive = self.observer.archive();
        let archived: Vec<_> = archive.iter().map(|line| event_of(line)).collect();
        let differs =
            archived.iter().zip(&self.accepted).find(|(archived, accepted)| *archived != accepted);
        assert_eq!(differs, None);
        assert_eq!(archived.len(), self.accepted.len());
        assert!(self.too_much.is_empty(), "{:#?}", self.too_much);
    }
}
