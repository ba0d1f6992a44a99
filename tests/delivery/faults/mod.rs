//! Destinations that refuse events, limit requests or respond strangely, before the real program.
//!
//! Most tests are tables: one program has a sink for each row, and all sinks receive the same
//! events.

mod connections;
mod figures;
mod log;
mod operators;
mod quotas;
mod raw;
mod refusals;
mod requests;
mod responses;

use observer_testing::http::{self, HttpReceiver};
use observer_testing::otlp::{self, OtlpReceiver};
use serde_json::Value;
use tonic::Code;

use crate::support::{Observer, wait_until};

/// Configuration of a program without other sinks.
const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";

/// Retries that take milliseconds instead of minutes.
const RETRY: &str = "retry = { initial = \"5ms\", max = \"40ms\", \
                     denied = { rounds = 3, over = \"60ms\" }, \
                     failed = { rounds = 3, over = \"60ms\" } }";

/// Text of the events that a destination refuses.
const POISON: &str = "union select";

fn event(number: usize, text: &str) -> String {
    format!(
        "{{\"source\":\"bot\",\"cycle_id\":\"c-{number}\",\"sig_hash\":\"s\",\
         \"event_kind\":\"ok\",\"ok\":true,\"duration_ms\":5,\"extra\":{{\"text\":\"{text}\"}}}}\n"
    )
}

fn good(number: usize) -> String {
    event(number, "fine")
}

fn poison(number: usize) -> String {
    event(number, POISON)
}

async fn post(observer: &Observer, events: String) {
    let url = format!("{}/v1/events", observer.url);
    let response = observer.send(observer.client().post(url).body(events)).await;
    assert_eq!(response.status, 200, "{}", response.text);
}

async fn sinks(observer: &Observer) -> Vec<Value> {
    observer.get("/v1/sinks").await.json()["sinks"].as_array().unwrap().clone()
}

async fn sink(observer: &Observer, name: &str) -> Value {
    sinks(observer).await.into_iter().find(|sink| sink["name"] == name).unwrap()
}

/// Waits until the status of every sink meets a condition.
async fn wait_for_sinks(
    observer: &Observer,
    description: &str,
    condition: impl Fn(&Value) -> bool,
) {
    wait_until(description, async || sinks(observer).await.iter().all(&condition)).await;
}

/// Returns the dead letters of a sink with their events.
async fn dead_letters(observer: &Observer, name: &str) -> Vec<Value> {
    let folder = format!("/v1/sinks/{}/dead-letters", name.replace('/', "%2F"));
    let page = observer.get(&format!("{folder}?limit=1000")).await.json();
    let mut all = Vec::new();
    for summary in page["dead_letters"].as_array().unwrap() {
        let id = summary["id"].as_str().unwrap();
        all.push(observer.get(&format!("{folder}/{id}")).await.json());
    }
    assert_eq!(page["total"], all.len(), "{name}");
    all
}

/// Response of a destination, by its protocol.
#[derive(Debug, Clone, Copy)]
enum Response {
    /// Status of a webhook with this `body`.
    Webhook(&'static str, u16),
    Grpc(Code),
    /// Status of OTLP/HTTP without OTLP in the body.
    OtlpHttp(u16),
}

/// Receiver of one row.
enum Receiver {
    Webhook(HttpReceiver),
    Otlp(OtlpReceiver),
}

/// Sink of a table, and its receiver.
struct Row {
    /// Name of the sink in `/v1/sinks`.
    name: String,
    config: String,
    receiver: Receiver,
}

impl Response {
    fn webhook(self, status: u16) -> http::Reply {
        let reply = http::Reply::status(status).with_body("refused");
        if status == 308 {
            return reply.with_header("location", "https://new.example.com/hook");
        }
        reply
    }

    fn otlp(self) -> otlp::Reply {
        match self {
            Self::Grpc(code) => otlp::Reply::status(code, "refused"),
            Self::OtlpHttp(status) | Self::Webhook(_, status) => {
                otlp::Reply::http(status).with_body("refused")
            }
        }
    }

    /// Returns the words by which a reason names the response.
    fn words(self) -> String {
        match self {
            Self::Webhook(_, status) | Self::OtlpHttp(status) => status.to_string(),
            Self::Grpc(code) => {
                let mut name = String::new();
                for letter in format!("{code:?}").chars() {
                    if letter.is_uppercase() && !name.is_empty() {
                        name.push('_');
                    }
                    name.push(letter.to_ascii_uppercase());
                }
                name
            }
        }
    }

    /// Starts a receiver that gives this response to requests with a poison event, and accepts all
    /// others.
    fn to_poison(self) -> Receiver {
        match self {
            Self::Webhook(_, status) => {
                let receiver = HttpReceiver::start();
                receiver.set_default_reply(http::Reply::choose(move |request| {
                    if request.text().contains(POISON) {
                        self.webhook(status)
                    } else {
                        http::Reply::accept()
                    }
                }));
                Receiver::Webhook(receiver)
            }
            _ => {
                let receiver = OtlpReceiver::start();
                receiver.set_default_reply(otlp::Reply::choose(move |request| {
                    if request.payload.contains(POISON).contains(&true) {
                        self.otlp()
                    } else {
                        otlp::Reply::accept()
                    }
                }));
                Receiver::Otlp(receiver)
            }
        }
    }
}

impl Row {
    /// Returns a row whose receiver gives a response to poison events. `more` are further keys of
    /// the sink.
    fn refusing(index: usize, response: Response, more: &str) -> Self {
        Self::new(index, response, response.to_poison(), more)
    }

    fn new(index: usize, response: Response, receiver: Receiver, more: &str) -> Self {
        let name = format!("s{index}");
        let kind = match (response, &receiver) {
            (Response::Webhook(body, _), Receiver::Webhook(receiver)) => {
                format!("type = \"http\"\nbody = \"{body}\"\nurl = \"{}\"", receiver.url("/hook"))
            }
            (Response::Grpc(_), Receiver::Otlp(receiver)) => {
                format!(
                    "type = \"otlp\"\nsignals = [\"logs\"]\nendpoint = \"{}\"",
                    receiver.url("")
                )
            }
            (Response::OtlpHttp(_), Receiver::Otlp(receiver)) => format!(
                "type = \"otlp\"\nprotocol = \"http/protobuf\"\nsignals = [\"logs\"]\n\
                 endpoint = \"{}\"",
                receiver.url("")
            ),
            _ => panic!("{response:?} needs another receiver"),
        };
        let config = format!("[sinks.{name}]\n{kind}\nstart = \"earliest\"\n{more}\n");
        let is_otlp = matches!(receiver, Receiver::Otlp(_));
        let name = if is_otlp { format!("{name}/logs") } else { name };
        Self { name, config, receiver }
    }

    /// Returns the numbers of the accepted events, in order, repeats included.
    fn accepted(&self) -> Vec<usize> {
        let number = |cycle: &str| cycle.strip_prefix("c-").unwrap().parse().unwrap();
        match &self.receiver {
            Receiver::Webhook(receiver) => {
                let items = receiver.accepted_items();
                let cycle = |item: &String| {
                    let item: Value = serde_json::from_str(item).unwrap();
                    let event = if item["event"].is_null() { &item } else { &item["event"] };
                    event["cycle_id"].as_str().map(number)
                };
                items.iter().filter_map(cycle).collect()
            }
            Receiver::Otlp(receiver) => {
                let records = receiver.log_records();
                let cycle = |record: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
                    otlp::attribute(&record.attributes, "observer.cycle.id").map(number)
                };
                records.iter().filter_map(cycle).collect()
            }
        }
    }

    fn accept_everything(&self) {
        match &self.receiver {
            Receiver::Webhook(receiver) => receiver.set_default_reply(http::Reply::accept()),
            Receiver::Otlp(receiver) => receiver.set_default_reply(otlp::Reply::accept()),
        }
    }
}

fn config_of(rows: &[Row]) -> String {
    rows.iter().fold(SERVER.to_owned(), |config, row| config + &row.config)
}
