//! Process of a destination: a webhook or an OTLP collector.
//!
//! It writes the number of each event that it accepts to a file before it responds. A line on its
//! standard input begins a [`Spell`].

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_testing::http::{self, HttpReceiver};
use observer_testing::otlp::{self, OtlpReceiver, attribute};
use serde::Deserialize;
use tokio::sync::mpsc;
use tonic::Code;

use super::event::{Fate, number};
use super::spells::Spell;
use crate::sync::lock;

/// Protocol of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Webhook,
    Collector,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Webhook, Self::Collector];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Collector => "collector",
        }
    }

    /// Returns the name of the sink that delivers to it.
    pub(crate) fn sink(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Collector => "collector/logs",
        }
    }

    /// Returns the name of the status that a destination responds with to an event.
    pub(crate) fn status(self, fate: Fate) -> &'static str {
        match (self, fate) {
            (_, Fate::Accepted) => "OK",
            (Self::Webhook, Fate::Denied) => "403 Forbidden",
            (Self::Webhook, Fate::Invalid) => "422 Unprocessable",
            (Self::Webhook, Fate::Failing) => "500 Internal Server Error",
            (Self::Collector, Fate::Denied) => "PERMISSION_DENIED",
            (Self::Collector, Fate::Invalid) => "INVALID_ARGUMENT",
            (Self::Collector, Fate::Failing) => "INTERNAL",
        }
    }

    /// Returns the file with the URL of the destination.
    pub(crate) fn url_file(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.url", self.as_str()))
    }

    /// Returns the file with the numbers of the accepted events.
    pub(crate) fn accepted_file(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.accepted", self.as_str()))
    }
}

/// State that the replies depend on.
struct Behaviour {
    spell: Mutex<Spell>,
    accepted: Mutex<File>,
}

enum Receiver {
    Webhook(HttpReceiver),
    Collector(OtlpReceiver),
}

/// Runs a destination. The arguments are its kind and the folder of its files.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    match begin(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("destination: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &[String]) -> io::Result<()> {
    let [kind, dir] = arguments else {
        return Err(io::Error::other("expected a kind and a folder"));
    };
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| io::Error::other("unknown kind of destination"))?;
    let dir = Path::new(dir);
    let accepted = File::options().create(true).append(true).open(kind.accepted_file(dir))?;
    let behaviour =
        Arc::new(Behaviour { spell: Mutex::new(Spell::Healthy), accepted: Mutex::new(accepted) });
    let (sender, spells) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let spell = Spell::OF_DESTINATION.into_iter().find(|spell| spell.as_str() == line);
            if spell.is_some_and(|spell| sender.send(spell).is_err()) {
                break;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(kind, dir, behaviour, spells))
}

/// Serves until standard input ends.
async fn serve(
    kind: Kind,
    dir: &Path,
    behaviour: Arc<Behaviour>,
    mut spells: mpsc::UnboundedReceiver<Spell>,
) -> io::Result<()> {
    let receiver = Receiver::start(kind, Arc::clone(&behaviour));
    let file = kind.url_file(dir);
    std::fs::write(file.with_extension("new"), receiver.url())?;
    std::fs::rename(file.with_extension("new"), file)?;
    loop {
        tokio::select! {
            spell = spells.recv() => {
                let Some(spell) = spell else { return Ok(()) };
                *lock(&behaviour.spell) = spell;
                receiver.begin(spell).await;
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => receiver.forget_requests(),
        }
    }
}

impl Receiver {
    fn start(kind: Kind, behaviour: Arc<Behaviour>) -> Self {
        match kind {
            Kind::Webhook => {
                let receiver = HttpReceiver::start();
                receiver.set_default_reply(http::Reply::choose(move |request| {
                    behaviour.webhook_reply(request)
                }));
                Self::Webhook(receiver)
            }
            Kind::Collector => {
                let receiver = OtlpReceiver::start();
                receiver.set_default_reply(otlp::Reply::choose(move |request| {
                    behaviour.collector_reply(request)
                }));
                Self::Collector(receiver)
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Webhook(receiver) => receiver.url("/hook"),
            Self::Collector(receiver) => receiver.url(""),
        }
    }

    async fn begin(&self, spell: Spell) {
        match (self, spell) {
            (Self::Webhook(receiver), Spell::Down) => receiver.stop().await,
            (Self::Collector(receiver), Spell::Down) => receiver.stop().await,
            (Self::Webhook(receiver), _) => receiver.restart(),
            (Self::Collector(receiver), _) => receiver.restart(),
        }
    }

    fn forget_requests(&self) {
        match self {
            Self::Webhook(receiver) => drop(receiver.take_requests()),
            Self::Collector(receiver) => drop(receiver.take_requests()),
        }
    }
}

impl Behaviour {
    fn webhook_reply(&self, request: &http::ReceivedRequest) -> http::Reply {
        use observer_testing::http::Reply;
        match *lock(&self.spell) {
            Spell::Quota => return Reply::status(429).with_body("60 requests a minute"),
            Spell::Stuck => return Reply::hang(),
            Spell::Expired => return Reply::status(401).with_body("the token has expired"),
            Spell::Healthy | Spell::Down | Spell::Frozen => {}
        }
        let contains = |fate: &Fate| request.text().contains(fate.marker());
        match Fate::BAD.into_iter().find(contains) {
            Some(Fate::Denied) => return Reply::status(403).with_body("blocked by the firewall"),
            Some(Fate::Invalid) => return Reply::status(422).with_body("not a valid event"),
            Some(_) => return Reply::status(500).with_body("an unexpected error"),
            None => {}
        }
        let items = request.items();
        match items.iter().map(|item| number_of_envelope(item)).collect() {
            Some(numbers) => {
                self.accept(numbers);
                Reply::accept()
            }
            None => Reply::status(400).with_body("not an envelope"),
        }
    }

    fn collector_reply(&self, request: &otlp::ReceivedRequest) -> otlp::Reply {
        use observer_testing::otlp::Reply;
        match *lock(&self.spell) {
            Spell::Quota => return Reply::status(Code::ResourceExhausted, "60 requests a minute"),
            Spell::Stuck => return Reply::hang(),
            Spell::Expired => return Reply::status(Code::Unauthenticated, "the token has expired"),
            Spell::Healthy | Spell::Down | Spell::Frozen => {}
        }
        let contains = |fate: &Fate| request.payload.contains(fate.marker()).contains(&true);
        match Fate::BAD.into_iter().find(contains) {
            Some(Fate::Denied) => {
                return Reply::status(Code::PermissionDenied, "blocked by the firewall");
            }
            Some(Fate::Invalid) => {
                return Reply::status(Code::InvalidArgument, "not a valid record");
            }
            Some(_) => return Reply::status(Code::Internal, "an unexpected error"),
            None => {}
        }
        let records = request.payload.log_records();
        let cycle = |attributes| attribute(attributes, "observer.cycle.id").and_then(number);
        match records.iter().map(|record| cycle(&record.attributes)).collect() {
            Some(numbers) => {
                self.accept(numbers);
                Reply::accept()
            }
            None => Reply::status(Code::InvalidArgument, "a record without a cycle"),
        }
    }

    /// Records accepted events.
    fn accept(&self, numbers: Vec<u64>) {
        let lines: String = numbers.iter().map(|n| format!("{n}\n")).collect();
        let written = lock(&self.accepted).write_all(lines.as_bytes());
        written.expect("the file of accepted events can be written");
    }
}

/// Returns the number of the event in an envelope.
fn number_of_envelope(envelope: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        event: Outcome<'a>,
    }
    #[derive(Deserialize)]
    struct Outcome<'a> {
        cycle_id: &'a str,
    }
    number(serde_json::from_str::<Envelope<'_>>(envelope).ok()?.event.cycle_id)
}
