//! Numbers that panels have to show, computed from the runs alone.

use std::collections::BTreeMap;

use crate::support::run_totals::{Outcomes, RunTotals, Usage};

/// Series of a query, by labels in the text format, with their values.
pub(super) type Series = BTreeMap<String, f64>;

/// Outcomes, failures included, of everything or of one source or model.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) count: f64,
    pub(super) ok: f64,
    pub(super) calls: f64,
    pub(super) usage: Usage,
    pub(super) seconds: Vec<f64>,
}

impl Sums {
    fn add(&mut self, ok: bool, outcomes: &Outcomes) {
        self.count += outcomes.count as f64;
        if ok {
            self.ok += outcomes.count as f64;
        }
        self.usage.add(&outcomes.usage);
    }

    pub(super) fn tokens(&self) -> f64 {
        (self.usage.input + self.usage.output) as f64
    }
}

/// Sums by source or model.
pub(super) type Groups = BTreeMap<String, Sums>;

/// Returns the sums of everything, by source, and by model.
pub(super) fn sums(totals: &RunTotals) -> (Sums, Groups, Groups) {
    let (mut all, mut sources, mut models) = (Sums::default(), Groups::new(), Groups::new());
    for ((source, model), cycles) in &totals.cycles {
        let groups = [
            &mut all,
            sources.entry(source.clone()).or_default(),
            models.entry(model.clone()).or_default(),
        ];
        for sums in groups {
            sums.calls += cycles.calls as f64;
            sums.seconds.extend(&cycles.seconds);
            for (ok, outcomes) in &cycles.by_ok {
                sums.add(*ok, outcomes);
            }
        }
    }
    (all, sources, models)
}

/// Returns one series without labels.
fn one(value: f64) -> Vec<Series> {
    vec![series([(String::new(), value)])]
}

/// Returns series from labels and values.
fn series(values: impl IntoIterator<Item = (String, f64)>) -> Series {
    values.into_iter().map(|(labels, value)| (format!("{{{labels}}}"), value)).collect()
}

/// Returns a series of each group that has a value.
fn each(label: &str, groups: &Groups, value: impl Fn(&Sums) -> Option<f64>) -> Series {
    let values = groups.iter().filter_map(|(name, sums)| Some((name, value(sums)?)));
    series(values.map(|(name, value)| (format!(r#"{label}="{name}""#), value)))
}

/// Returns the expected series of each query of panels of the dashboard of outcomes, by title.
pub(super) fn outcomes(totals: &RunTotals, phases: f64) -> BTreeMap<&'static str, Vec<Series>> {
    let (all, sources, models) = sums(totals);
    let usage = &all.usage;
    let kinds = totals.events.iter().fold(BTreeMap::new(), |mut kinds, ((_, kind, ok), count)| {
        let labels = format!(r#"event_kind="{kind}",ok="{ok}""#);
        *kinds.entry(labels).or_insert(0.0) += *count as f64;
        kinds
    });
    let success = |sums: &Sums| Some(sums.ok / sums.count);
    let cost_per_success = |sums: &Sums| (sums.ok > 0.0).then(|| sums.usage.cost_usd / sums.ok);
    let cost = |sums: &Sums| Some(sums.usage.cost_usd);
    let tokens = |sums: &Sums| Some(sums.tokens());
    let count = |sums: &Sums| Some(sums.count);
    let fresh = usage.input - usage.cache_read - usage.cache_creation;
    let by_kind = [fresh, usage.cache_read, usage.cache_creation, usage.output, 0];
    let basis =
        [(r#"basis="priced""#.to_owned(), 0.0), (r#"basis="reported""#.to_owned(), usage.cost_usd)];
    BTreeMap::from([
        ("Outcomes", one(all.count)),
        ("Success ratio", one(all.ok / all.count)),
        ("Cost", one(usage.cost_usd)),
        ("Cost per success", one(usage.cost_usd / all.ok)),
        ("Tokens", one(all.tokens())),
        ("Silent sources", one(0.0)),
        ("Outcomes per hour", [one(all.ok), one(all.count - all.ok)].concat()),
        ("Outcomes by event kind", vec![series(kinds)]),
        ("Success ratio by source", vec![each("source", &sources, success)]),
        ("Success ratio by model", vec![each("model", &models, success)]),
        ("Cost per hour by model", vec![each("model", &models, cost)]),
        ("Cost per success by model", vec![each("model", &models, cost_per_success)]),
        ("Cost by basis", vec![series(basis)]),
        ("Tokens by kind", by_kind.map(|tokens| one(tokens as f64)).concat()),
        (
            "Cache reads in input",
            vec![each("model", &models, |sums| {
                Some(sums.usage.cache_read as f64 / sums.usage.input as f64)
            })],
        ),
        (
            "Model calls per cycle",
            vec![each("model", &models, |sums| Some(sums.calls / sums.count))],
        ),
        (
            "Sources",
            vec![
                // The age differs from run to run.
                Series::new(),
                each("source", &sources, count),
                each("source", &sources, success),
                each("source", &sources, cost),
                each("source", &sources, tokens),
            ],
        ),
        (
            "Models",
            vec![
                each("model", &models, count),
                each("model", &models, success),
                each("model", &models, cost),
                each("model", &models, cost_per_success),
                each("model", &models, tokens),
                // The estimate has a test of its own.
                Series::new(),
            ],
        ),
        ("Phases", vec![series([(r#"event_kind="started""#.to_owned(), phases)])]),
    ])
}

/// Events that were sent to the observer besides the runs.
pub(super) struct Traffic {
    pub(super) runs: f64,
    pub(super) phases: f64,
    pub(super) duplicates: f64,
    pub(super) malformed: f64,
}

/// Returns the expected series of each query of panels of the dashboard of the pipeline.
pub(super) fn pipeline(traffic: &Traffic) -> BTreeMap<&'static str, Vec<Series>> {
    let stored = traffic.runs + traffic.phases;
    let sinks = ["archive", "kb", "prometheus"];
    let results = ["dead", "delivered", "expired", "filtered", "lost", "refused"];
    let account = sinks.iter().flat_map(|sink| {
        results.map(|result| {
            let value = if result == "delivered" { stored } else { 0.0 };
            (format!(r#"result="{result}",sink="{sink}""#), value)
        })
    });
    BTreeMap::from([
        ("Observers", one(1.0)),
        ("Parked sinks", one(0.0)),
        ("Backlog", one(0.0)),
        ("Oldest pending", one(0.0)),
        ("Lost events", one(0.0)),
        ("Dead letters", one(0.0)),
        ("Ingest", one(0.0)),
        ("Last reload", one(1.0)),
        ("Account of each sink", vec![series(account)]),
        // Rates over an hour are per second.
        (
            "Events by result",
            [stored, traffic.duplicates, 0.0, traffic.malformed]
                .map(|events| one(events / 3600.0))
                .concat(),
        ),
    ])
}
