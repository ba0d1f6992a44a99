//! Expected totals of agent runs, computed from their JSON alone.

use std::collections::BTreeMap;

use serde_json::Value;

/// Totals over a list of runs.
#[derive(Debug, Default)]
pub(crate) struct RunTotals {
    /// Number of events by source, event kind and `ok`.
    pub(crate) events: BTreeMap<(String, String, bool), u64>,
    /// Cycles by source and model.
    pub(crate) cycles: BTreeMap<(String, String), Cycles>,
}

/// Totals of the cycles of one source with one model.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    pub(crate) calls: u64,
    /// Duration of each cycle in seconds.
    pub(crate) seconds: Vec<f64>,
    pub(crate) by_ok: BTreeMap<bool, Outcomes>,
}

/// Number, tokens and cost of the cycles with one outcome.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) count: u64,
    pub(crate) usage: Usage,
}

/// Tokens and cost. Cached tokens are part of the input.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_creation: u64,
    pub(crate) output: u64,
    pub(crate) cost_usd: f64,
}

impl Usage {
    pub(crate) fn of(run: &Value) -> Self {
        let usage = &run["extra"]["usage"];
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        let (cache_read, cache_creation) =
            (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        // A run has the keys of one dialect only, so the sum is right for both.
        Self {
            input: count("prompt_tokens") + count("input_tokens") + cache_read + cache_creation,
            cache_read,
            cache_creation,
            output: count("completion_tokens") + count("output_tokens"),
            cost_usd: usage["cost_usd"].as_f64().unwrap(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.cache_read += other.cache_read;
        self.cache_creation += other.cache_creation;
        self.output += other.output;
        self.cost_usd += other.cost_usd;
    }
}

impl RunTotals {
    pub(crate) fn of(runs: &[String]) -> Self {
        let mut totals = Self::default();
        for run in runs {
            let run: Value = serde_json::from_str(run).unwrap();
            let text = |name: &str| run[name].as_str().unwrap().to_owned();
            let ok = run["ok"].as_bool().unwrap();
            *totals.events.entry((text("source"), text("event_kind"), ok)).or_default() += 1;
            let cycles = totals.cycles.entry((text("source"), text("staffer_id"))).or_default();
            cycles.calls += run["turns"].as_u64().unwrap();
            cycles.seconds.push(run["duration_ms"].as_f64().unwrap() / 1000.0);
            let outcomes = cycles.by_ok.entry(ok).or_default();
            outcomes.count += 1;
            outcomes.usage.add(&Usage::of(&run));
        }
        totals
    }

    pub(crate) fn total(&self) -> u64 {
        self.events.values().sum()
    }

    /// Returns the series of `/metrics` that are not zero. Bounds select the histogram's buckets.
    pub(crate) fn series(&self, bounds: &[&str]) -> BTreeMap<String, f64> {
        let mut series = BTreeMap::new();
        let mut add = |name: &str, labels: String, value: f64| {
            if value != 0.0 {
                series.insert(format!("observer_{name}{{{labels}}}"), value);
            }
        };
        for ((source, kind, ok), count) in &self.events {
            let labels = format!(r#"event_kind="{kind}",ok="{ok}",source="{source}""#);
            add("events_total", labels, *count as f64);
        }
        for ((source, model), cycles) in &self.cycles {
            let labels = format!(r#"model="{model}",source="{source}""#);
            add("model_calls_total", labels.clone(), cycles.calls as f64);
            add("cycle_duration_seconds_count", labels.clone(), cycles.seconds.len() as f64);
            add("cycle_duration_seconds_sum", labels.clone(), cycles.seconds.iter().sum());
            for le in bounds {
                let bound: f64 = le.parse().unwrap();
                let within = cycles.seconds.iter().filter(|seconds| **seconds <= bound).count();
                add(
                    "cycle_duration_seconds_bucket",
                    format!(r#"le="{le}",{labels}"#),
                    within as f64,
                );
            }
            for (ok, Outcomes { count, usage }) in &cycles.by_ok {
                let labels = format!(r#"model="{model}",ok="{ok}",source="{source}""#);
                for (metric, value) in [
                    ("model_cycles_total", *count as f64),
                    ("input_tokens_total", usage.input as f64),
                    ("cached_input_tokens_total", usage.cache_read as f64),
                    ("cache_creation_input_tokens_total", usage.cache_creation as f64),
                    ("output_tokens_total", usage.output as f64),
                ] {
                    add(metric, labels.clone(), value);
                }
                add("cost_usd_total", format!(r#"basis="reported",{labels}"#), usage.cost_usd);
            }
        }
        series
    }
}
