//! DuckDB, which reads the archive and adds up what the metrics report.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::support::{DEFAULTS, Observer, agent_runs, archive, is_installed, wait_until};

/// Sums by source, model and `ok`, with the names of each model API spelled out.
const SUMS: &str = r#"
WITH runs AS (
  SELECT event->>'$.source' AS source, event->>'$.staffer_id' AS model,
         event->>'$.ok' AS ok, (event->>'$.turns')::BIGINT AS turns,
         (event->>'$.duration_ms')::DOUBLE AS duration_ms, event->'$.extra.usage' AS usage
  FROM read_ndjson('ARCHIVE', columns = {event: 'JSON'})
), tokens AS (
  SELECT *, coalesce((usage->>'$.cache_read_input_tokens')::BIGINT, 0) AS cached,
         coalesce((usage->>'$.cache_creation_input_tokens')::BIGINT, 0) AS created FROM runs
)
SELECT source, model, ok, count(*) AS cycles, sum(turns)::BIGINT AS turns,
       sum(duration_ms) AS duration_ms,
       sum(coalesce((usage->>'$.prompt_tokens')::BIGINT, (usage->>'$.input_tokens')::BIGINT, 0)
           + cached + created)::BIGINT AS input,
       sum(cached)::BIGINT AS cached_input, sum(created)::BIGINT AS cache_creation_input,
       sum(coalesce((usage->>'$.completion_tokens')::BIGINT,
                    (usage->>'$.output_tokens')::BIGINT, 0))::BIGINT AS output,
       sum((usage->>'$.cost_usd')::DOUBLE) AS cost_usd
FROM tokens GROUP BY ALL ORDER BY ALL
"#;

/// Sums over the runs of a source and a model with the same result.
#[derive(Debug, Deserialize)]
struct Sums {
    source: String,
    model: String,
    /// `true` or `false`.
    ok: String,
    cycles: u64,
    turns: u64,
    duration_ms: f64,
    input: u64,
    cached_input: u64,
    cache_creation_input: u64,
    output: u64,
    cost_usd: f64,
}

/// Returns the sums that DuckDB computes from the archive in a folder.
fn sums(dir: &Path) -> Vec<Sums> {
    let files = dir.join("observer-data/events/*.jsonl");
    let query = SUMS.replace("ARCHIVE", files.to_str().unwrap());
    let output = Command::new("duckdb").args(["-json", "-c", &query]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts an observer, and sends it all runs.
async fn observer_with_runs(dir: &Path) -> Observer {
    let observer = Observer::start(dir, DEFAULTS);
    let runs = agent_runs();
    for batch in runs.chunks(500) {
        let request = observer.client().post(format!("{}/v1/events", observer.url));
        let response = observer.send(request.body(batch.join("\n"))).await;
        assert_eq!(response.status, 200, "{}", response.text);
    }
    observer.wait_until_caught_up().await;
    assert_eq!(archive(dir).len(), runs.len());
    observer
}

/// Asserts that two sums of money or time are equal except for rounding.
#[track_caller]
fn assert_close(found: f64, expected: f64, context: &str) {
    let difference = (found - expected).abs();
    assert!(difference <= 1e-9 * expected.abs().max(1.0), "{context}: {found}, not {expected}");
}

#[tokio::test]
async fn metrics_equal_the_sums_over_the_archive() {
    if !is_installed("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = observer_with_runs(dir.path()).await;
    let runs = agent_runs().len() as f64;
    let metrics = observer
        .wait_for_metrics(|metrics| {
            let cycles =
                metrics.iter().filter(|(name, _)| name.starts_with("observer_model_cycles_total{"));
            cycles.map(|(_, count)| count).sum::<f64>() == runs
        })
        .await;
    let mut compared = BTreeMap::new();
    let all = sums(dir.path());
    for sums in &all {
        let Sums { source, model, ok, .. } = sums;
        let labels = format!(r#"source="{source}",model="{model}",ok="{ok}""#);
        let counts = [
            ("observer_model_cycles_total", sums.cycles),
            ("observer_input_tokens_total", sums.input),
            ("observer_cached_input_tokens_total", sums.cached_input),
            ("observer_cache_creation_input_tokens_total", sums.cache_creation_input),
            ("observer_output_tokens_total", sums.output),
        ];
        for (name, expected) in counts {
            let series = format!("{name}{{{labels}}}");
            assert_eq!(metrics.get(&series), Some(&(expected as f64)), "{series}");
            *compared.entry(name).or_insert(0.0) += metrics[&series];
        }
        let series = format!(r#"observer_cost_usd_total{{{labels},basis="reported"}}"#);
        assert_close(metrics[&series], sums.cost_usd, &series);
    }
    // Calls and durations have no label `ok`.
    let mut by_model = BTreeMap::<_, (u64, f64)>::new();
    for sums in &all {
        let (turns, seconds) = by_model.entry((&sums.source, &sums.model)).or_default();
        *turns += sums.turns;
        *seconds += sums.duration_ms / 1000.0;
    }
    for ((source, model), (turns, seconds)) in by_model {
        let series = |name: &str| format!(r#"{name}{{source="{source}",model="{model}"}}"#);
        let calls = series("observer_model_calls_total");
        assert_eq!(metrics[&calls], turns as f64, "{calls}");
        let duration = series("observer_cycle_duration_seconds_sum");
        assert_close(metrics[&duration], seconds, &duration);
    }
    // No series has a part that no row accounts for.
    for (name, total) in compared {
        let prefix = format!("{name}{{");
        let series = metrics.iter().filter(|(series, _)| series.starts_with(&prefix));
        assert_eq!(series.map(|(_, value)| value).sum::<f64>(), total, "{name}");
    }
}

/// Sums of one row of a response, and those that DuckDB computes.
#[derive(Debug, Default)]
struct Row {
    attempts: u64,
    solved: u64,
    turns: u64,
    tokens: [u64; 4],
    cost: f64,
}

impl Row {
    fn add(&mut self, sums: &Sums) {
        self.attempts += sums.cycles;
        self.solved += if sums.ok == "true" { sums.cycles } else { 0 };
        self.turns += sums.turns;
        let tokens = [sums.input, sums.cached_input, sums.cache_creation_input, sums.output];
        self.tokens.iter_mut().zip(tokens).for_each(|(sum, tokens)| *sum += tokens);
        self.cost += sums.cost_usd;
    }

    #[track_caller]
    fn check(&self, found: &Value) {
        let tokens = ["input", "cached_input", "cache_creation_input", "output"];
        let counts = [&found["attempts"], &found["solved"], &found["turns"]];
        assert_eq!(counts, [self.attempts, self.solved, self.turns], "{found}");
        assert_eq!(tokens.map(|name| found["tokens"][name].as_u64().unwrap()), self.tokens);
        for name in ["cost", "reported"] {
            assert_close(found[name].as_f64().unwrap(), self.cost, name);
        }
        assert_eq!(found["priced"], 0.0, "{found}");
        match found["cost_per_solved"].as_f64() {
            Some(cost) => assert_close(cost, self.cost / self.solved as f64, "cost per solved"),
            None => assert!(found["cost_per_solved"].is_null(), "{found}"),
        }
    }
}

#[tokio::test]
async fn queries_equal_the_sums_over_the_archive() {
    if !is_installed("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = observer_with_runs(dir.path()).await;
    let runs = agent_runs().len();
    wait_until("the figures include every run", async || {
        observer.get("/v1/usage").await.json()["total"]["attempts"] == runs
    })
    .await;
    let all = sums(dir.path());
    let by = |key: fn(&Sums) -> String| {
        let mut rows = BTreeMap::<String, Row>::new();
        all.iter().for_each(|sums| rows.entry(key(sums)).or_default().add(sums));
        rows
    };
    let models = by(|sums| sums.model.clone());
    let sources = by(|sums| sums.source.clone());
    let both = by(|sums| format!("{} {}", sums.model, sums.source));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (path, rows, expected) in [
        ("/v1/usage", "rows", &models),
        ("/v1/usage?by=source", "rows", &sources),
        ("/v1/models", "models", &models),
        ("/v1/models?by_source=true", "models", &both),
    ] {
        let response = observer.get(path).await.json();
        let found = response[rows].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{path}");
        for row in found {
            let key = match (&row["key"], &row["source"]) {
                (Value::String(key), _) => key.clone(),
                (_, Value::String(source)) => format!("{} {source}", text(&row["model"])),
                _ => text(&row["model"]),
            };
            expected[&key].check(row);
        }
    }
    let mut total = Row::default();
    all.iter().for_each(|sums| total.add(sums));
    let usage = observer.get("/v1/usage?by=day").await.json();
    total.check(&usage["total"]);
    let duration: f64 = all.iter().map(|sums| sums.duration_ms).sum();
    assert_close(usage["total"]["duration_ms"].as_f64().unwrap(), duration, "duration");
}
