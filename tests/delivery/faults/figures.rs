//! Metrics of deliveries, and sinks that report impossible results.

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{
    Batch, BuildError, EventSink, Receipt, Rejected, SinkConfig, SinkContext, SinkError, SinkPart,
    Timestamp,
};
use serde_json::Value;
use tonic::Code;

use super::Response::{Grpc, OtlpHttp, Webhook};
use super::{RETRY, Row, SERVER, config_of, good, poison, post, wait_for_sinks};
use crate::support::{Observer, client, parse_metrics, wait_until};

#[tokio::test]
async fn gauges_follow_deliveries_and_dead_letters_through_a_kill() {
    let more = format!("batch = {{ linger = \"1ms\" }}\n{RETRY}");
    let responses = [Webhook("envelope", 422), Grpc(Code::InvalidArgument), OtlpHttp(400)];
    let rows: Vec<_> = responses
        .into_iter()
        .enumerate()
        .map(|(index, response)| Row::refusing(index, response, &more))
        .collect();
    let (dir, config) = (tempfile::tempdir().unwrap(), config_of(&rows));
    let observer = Observer::start(dir.path(), &config);
    let begun = Timestamp::now().as_second() as f64;
    post(&observer, good(0)).await;
    wait_for_sinks(&observer, "the first event is delivered", |sink| sink["delivered"] == 1).await;
    post(&observer, poison(1) + &good(2) + &poison(3)).await;
    observer.wait_until_caught_up().await;
    let metrics = parse_metrics(&observer.get("/metrics").await.text);
    let bytes = (good(0).trim().len() + good(2).trim().len()) as f64;
    for Row { name, .. } in &rows {
        let value = |family: &str| metrics[&format!("{family}{{sink=\"{name}\"}}")];
        let deliveries = |outcome: &str| {
            let series = "observer_sink_delivery_seconds_count";
            metrics[&format!("{series}{{sink=\"{name}\",outcome=\"{outcome}\"}}")]
        };
        assert_eq!(value("observer_sink_dead_letters"), 2.0, "{name}");
        assert_eq!(value("observer_sink_undecided_events"), 0.0, "{name}");
        assert_eq!(value("observer_sink_delivered_bytes_total"), bytes, "{name}");
        let success = value("observer_sink_last_success_timestamp_seconds");
        assert!((begun - 1.0..begun + 60.0).contains(&success), "{name}: {success}");
        assert!(deliveries("accepted") >= 2.0 && deliveries("refused") >= 2.0, "{name}");
        assert_eq!((deliveries("unavailable"), deliveries("timed_out")), (0.0, 0.0), "{name}");
        for bound in ["0.5", "5"] {
            let series = "observer_sink_delivery_seconds_bucket";
            let bucket = format!("{series}{{sink=\"{name}\",outcome=\"accepted\",le=\"{bound}\"}}");
            assert!(metrics.contains_key(&bucket), "{bucket}");
        }
    }
    // The position may not be committed yet, so that the events may be rejected again.
    observer.kill();
    let observer = Observer::start(dir.path(), &config);
    observer.wait_until_caught_up().await;
    for Row { name, .. } in &rows {
        let series = format!("observer_sink_dead_letters{{sink=\"{name}\"}}");
        let metrics = observer.wait_for_metrics(|metrics| metrics[&series] == 2.0).await;
        let success = format!("observer_sink_last_success_timestamp_seconds{{sink=\"{name}\"}}");
        assert!(metrics[&success] == 0.0 || metrics[&success] >= begun - 1.0, "{name}");
        let (code, output) = observer.run(&["dead-letters", "purge", name, "--all"]);
        assert_eq!(code, Some(0), "{output}");
        observer.wait_for_metrics(|metrics| metrics[&series] == 0.0).await;
    }
}

#[tokio::test]
async fn outcomes_of_deliveries_are_counted_apart() {
    use std::time::Duration;

    use observer_testing::http::{HttpReceiver, Reply};

    let replies = [
        ("refused", Reply::status(403)),
        ("unavailable", Reply::too_many_requests(Duration::from_secs(3600))),
        ("timed_out", Reply::hang()),
    ];
    let receivers = replies.map(|(outcome, reply)| {
        let receiver = HttpReceiver::start();
        receiver.set_default_reply(Reply::choose(move |request| match request.method.as_str() {
            "POST" => reply.clone(),
            _ => Reply::accept(),
        }));
        (outcome, receiver)
    });
    let mut config = SERVER.to_owned();
    for (outcome, receiver) in &receivers {
        config.push_str(&format!(
            "[sinks.{outcome}]\ntype = \"http\"\nurl = \"{}\"\nstart = \"earliest\"\n\
             timeout = \"200ms\"\nbatch = {{ linger = \"1ms\" }}\n",
            receiver.url("/hook")
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config);
    post(&observer, good(0)).await;
    let count = |outcome: &str, counted: &str| {
        let series = "observer_sink_delivery_seconds_count";
        format!("{series}{{sink=\"{outcome}\",outcome=\"{counted}\"}}")
    };
    let all = ["accepted", "refused", "unavailable", "timed_out"];
    let metrics = observer
        .wait_for_metrics(|metrics| all[1..].iter().all(|name| metrics[&count(name, name)] > 0.0))
        .await;
    for outcome in &all[1..] {
        for other in all.iter().filter(|other| *other != outcome) {
            assert_eq!(metrics[&count(outcome, other)], 0.0, "{outcome} counts as {other}");
        }
    }
}

/// Sink whose receipts name events by these indices, counted from the end of the batch.
struct Unreliable(Vec<usize>);

#[async_trait]
impl EventSink for Unreliable {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let last = batch.events().len() - 1;
        let rejected =
            self.0.iter().map(|index| Rejected { index: last + index, reason: "not valid".into() });
        Ok(Receipt { rejected: rejected.collect(), refused: None })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UnreliableConfig {
    rejected: Vec<usize>,
}

impl SinkConfig for UnreliableConfig {
    const TYPE: &'static str = "unreliable";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Unreliable(self.rejected)))])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_index_of_a_receipt_is_no_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let sinks = [("past", "[1]"), ("far", "[0, 1000000]"), ("twice", "[0, 0]"), ("last", "[0]")]
        .map(|(name, rejected)| {
            format!(
                "[sinks.{name}]\ntype = \"unreliable\"\nrejected = {rejected}\n\
                 batch = {{ linger = \"300ms\" }}\n"
            )
        });
    let data = dir.path().join("observer-data");
    let text = format!(
        "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\nshutdown_timeout = \"1s\"\n{}",
        sinks.concat()
    );
    let config = observer::Config::parse(&text).unwrap();
    let types = |metrics: &prometheus::Registry| {
        observer::registry::with_defaults(metrics).with::<UnreliableConfig>()
    };
    let service = observer::Service::start(&config, types).await.unwrap();
    let url = format!("http://{}", service.local_addrs()[0]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(service.run(async { stopped.await.unwrap_or_default() }));
    let batch = good(0) + &good(1);
    client().post(format!("{url}/v1/events")).body(batch).send().await.unwrap();
    let is_as_expected = |sink: &Value| match sink["name"].as_str().unwrap() {
        "past" | "far" => {
            let reason = sink["last_error"]["reason"].as_str().unwrap_or_default();
            sink["delivered"] == 0
                && sink["dead"] == 0
                && reason.contains("as rejected; this is a fault of the sink")
        }
        _ => sink["delivered"] == 1 && sink["dead"] == 1,
    };
    wait_until("every sink is as expected", async || {
        let response = client().get(format!("{url}/v1/sinks")).send().await.unwrap();
        let status: Value = response.json().await.unwrap();
        status["sinks"].as_array().unwrap().iter().all(is_as_expected)
    })
    .await;
    drop(stop);
    serving.await.unwrap();
}
