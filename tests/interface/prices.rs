//! Prices of models: their files, and their reload.

use std::path::Path;
use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use observer_core::{
    Batch, BuildError, EventSink, Pricing, RateQuery, Receipt, ServiceTier, SinkConfig,
    SinkContext, SinkError, SinkPart, Timestamp,
};
use observer_server::ReloadError;

use super::messages::check;
use crate::support::{DEFAULTS, OBSERVER, Observer, text_of};

/// Accepts every event.
struct Accepting;

#[async_trait::async_trait]
impl EventSink for Accepting {
    async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct AcceptingConfig {}

impl SinkConfig for AcceptingConfig {
    const TYPE: &'static str = "accepting";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Accepting))])
    }
}

fn write_prices(dir: &Path, name: &str, input: f64) {
    let text = format!("[[models]]\nname = {name:?}\ninput = {input}\noutput = 0\n");
    std::fs::write(dir.join("prices.toml"), text).unwrap();
}

fn input(prices: &dyn Pricing, model: &str) -> Option<f64> {
    let query = RateQuery {
        model,
        at: Timestamp::UNIX_EPOCH,
        context: 0,
        service_tier: ServiceTier::Standard,
        local: false,
    };
    prices.rates(&query).map(|rates| (rates.input * 1e6).round())
}

#[tokio::test]
async fn reload_replaces_the_prices_of_running_sinks_and_a_bad_file_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("observer-data");
    let prices = dir.path().join("prices.toml");
    write_prices(dir.path(), "m", 1.0);
    let text = move |more: &str| {
        format!(
            "data_dir = {data:?}\n{DEFAULTS}{more}\n[sinks.one]\ntype = \"accepting\"\n\
             [sinks.two]\ntype = \"accepting\"\n"
        )
    };
    let with_prices = text(&format!("[prices]\nfiles = [{prices:?}]"));
    let file = Arc::new(Mutex::new(with_prices.clone()));
    let contexts: Arc<Mutex<Vec<SinkContext>>> = Arc::default();
    let (loaded, built) = (file.clone(), contexts.clone());
    let service = observer::Service::start_from(
        move || observer::Config::parse(&loaded.lock().unwrap()),
        move |_| {
            let built = built.clone();
            let build = move |config: AcceptingConfig, context: &SinkContext| {
                built.lock().unwrap().push(context.clone());
                config.build(context)
            };
            observer::Registry::new().with_builder(build)
        },
    );
    let service = service.await.unwrap();
    let reloader = service.reloader().unwrap();
    let held: Vec<_> =
        contexts.lock().unwrap().iter().map(|context| context.prices.clone()).collect();
    let rates = |model| held.iter().map(|prices| input(&**prices, model)).collect::<Vec<_>>();
    assert_eq!(rates("m"), [Some(1.0); 2]);

    // The file alone has changed, so both sinks continue.
    write_prices(dir.path(), "m", 2.0);
    let report = reloader.reload().await.unwrap();
    assert_eq!((report.changed, report.restart_needed.len()), (vec!["prices".to_owned()], 0));
    assert_eq!(rates("m"), [Some(2.0); 2]);

    write_prices(dir.path(), "m", -1.0);
    let Err(ReloadError::Invalid(error)) = reloader.reload().await else {
        panic!("the file is bad")
    };
    assert!(error.contains("models[0] (\"m\"): input: must be a number of at least 0"), "{error}");
    assert_eq!(rates("m"), [Some(2.0); 2]);

    let own = "[[prices.models]]\nname = \"n\"\ninput = 3\noutput = 0";
    *file.lock().unwrap() = text(own);
    reloader.reload().await.unwrap();
    assert_eq!((rates("m"), rates("n")), (vec![None; 2], vec![Some(3.0); 2]));
    *file.lock().unwrap() = text("");
    reloader.reload().await.unwrap();
    assert_eq!(rates("n"), [None; 2]);
    service.run(async {}).await;
}

#[tokio::test]
async fn metrics_tell_reported_and_priced_costs_apart_and_use_new_prices_after_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    write_prices(dir.path(), "claude-sonnet-4-5", 3.0);
    let config = format!("{DEFAULTS}[prices]\nfiles = [\"prices.toml\"]\n");
    let observer = Observer::start(dir.path(), &config);
    let post = async |number: u8, model: &str, usage: &str| {
        let event = format!(
            r#"{{"source":"ci","cycle_id":"{number}","event_kind":"ok","ok":true,
                "staffer_id":"{model}","usage":{{"prompt_tokens":1000000{usage}}}}}"#
        );
        assert_eq!(observer.post(event).await.status, 200);
        observer.wait_until_caught_up().await;
    };
    post(1, "anthropic/claude-sonnet-4.5", "").await;
    post(2, "anthropic/claude-sonnet-4.5", r#","cost_usd":0.5"#).await;
    post(3, "gpt-oss:120b", "").await;
    write_prices(dir.path(), "claude-sonnet-4-5", 4.0);
    assert_eq!(observer.reload().await.status, 200);
    post(4, "anthropic/claude-sonnet-4.5", "").await;
    let model = r#"source="ci",model="anthropic/claude-sonnet-4.5",ok="true""#;
    let cost = |basis: &str| format!("observer_cost_usd_total{{{model},basis=\"{basis}\"}}");
    let expected = [
        (cost("priced"), 7.0),
        (cost("reported"), 0.5),
        (r#"observer_unpriced_events_total{model="gpt-oss:120b"}"#.to_owned(), 1.0),
    ];
    observer
        .wait_for_metrics(|metrics| {
            expected.iter().all(|(series, value)| metrics.get(series) == Some(value))
        })
        .await;
}

#[tokio::test]
async fn start_and_reload_log_the_prices() {
    let dir = tempfile::tempdir().unwrap();
    write_prices(dir.path(), "m", 1.0);
    let config = format!("{DEFAULTS}[prices]\nfiles = [\"prices.toml\"]\n");
    let mut observer = Observer::start(dir.path(), &config);
    std::fs::write(dir.path().join("prices.toml"), "[[models]]\nname = 1\n").unwrap();
    observer.send_sighup();
    let entry = observer.wait_for_log("the configuration could not be reloaded");
    let error = entry["error"].as_str().unwrap();
    assert!(error.contains("prices.files[0]: prices.toml: models[0]: name: "), "{error}");
    write_prices(dir.path(), "m", 2.0);
    observer.send_sighup();
    let entry = observer.wait_for_log("the prices are loaded");
    assert_eq!((&entry["level"], &entry["prices"]), (&"INFO".into(), &"prices.toml (1)".into()));
    observer.wait_for_log("the configuration was reloaded");
    let (_, log) = observer.terminate();
    assert!(log.iter().any(|line| line.contains("the prices are loaded")), "{log:#?}");
}

#[test]
fn bad_price_file_is_reported_by_check_and_keeps_the_observer_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let mut responses = String::new();
    let files = "[prices]\nfiles = [\"map.json\", \"prices.toml\"]\n";
    let config = format!("{DEFAULTS}{files}[sinks]\n");
    let model = "[[models]]\nname = \"gpt-5\"\ninput = 1.25\noutput = 10\n";
    let map = r#"{"gpt-5":{"input_cost_per_token":1.25e-6,"output_cost_per_token":1e-5}}"#;
    for (map, prices) in [
        (map, model.to_owned()),
        (map, format!("{model}cache_reed = 0.125\n")),
        (map, model.replace("1.25", "1.25e-6")),
        (r#"{"gpt-5":{"input_cost_per_token":"free"}}"#, model.to_owned()),
        ("<html>", model.to_owned()),
    ] {
        std::fs::write(dir.path().join("map.json"), map).unwrap();
        std::fs::write(dir.path().join("prices.toml"), &prices).unwrap();
        responses += &format!("{map}\n{prices}---\n{}\n\n", check(dir.path(), &config));
    }
    assert_snapshot!(responses.trim_end());
    let serving = std::process::Command::new(OBSERVER).current_dir(dir.path()).output().unwrap();
    assert!(!serving.status.success());
    let output = text_of(&serving);
    assert!(output.contains("prices.files[0]: map.json: expected value at line 1"), "{output}");
    assert!(!dir.path().join("observer-data").exists(), "nothing was started");
}
