//! genai-prices, a package for Python with prices of its own, which are compared with LiteLLM's.
//!
//! The two lists differ where one of them is older or has more prices. Costs are compared where the
//! rates agree; where they don't, the difference is listed in the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use observer_core::{
    CONTEXT_THRESHOLDS, Cost, Envelope, Event, Pricing, RateQuery, Rates, ServiceTier, Timestamp,
    Usage, Uuid,
};
use observer_prices::Table;

use crate::support::{agent_runs, is_installed};

/// Returns the table of LiteLLM's map, and whether it is the whole map: that of
/// `OBSERVER_TEST_PRICES`, or else the fixture.
fn table() -> (Table, bool) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let whole = std::env::var_os("OBSERVER_TEST_PRICES").map(PathBuf::from);
    let path = whole.clone().unwrap_or_else(|| fixture.join("model-prices.json"));
    (Table::read(&[path], &[]).unwrap(), whole.is_some())
}

/// Runs the script, and returns the lines that it prints.
fn run_script(command: &str, input: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/prices.py");
    let mut script = Command::new("python3")
        .arg(script)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = script.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = script.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Rates and costs of a name in a service tier.
#[derive(serde::Deserialize)]
struct Figures {
    provider: String,
    name: String,
    tier: String,
    /// Rates of input, cache read, cache write, cache write for an hour and output, of contexts
    /// above a threshold.
    steps: Vec<(u64, [f64; 5])>,
    /// Costs of usages, whose parts are in the same order.
    costs: Vec<([u64; 5], f64)>,
}

impl Figures {
    /// Returns the name as producers write it.
    fn written(&self) -> Vec<String> {
        let name = &self.name;
        match self.provider.as_str() {
            "google" => vec![name.clone(), format!("google/{name}"), format!("models/{name}")],
            provider => vec![name.clone(), format!("{provider}/{name}")],
        }
    }

    fn tier(&self) -> ServiceTier {
        ServiceTier::ALL.into_iter().find(|tier| tier.as_str() == self.tier).unwrap()
    }
}

/// Kinds of tokens, in the order of the rates.
const KINDS: [&str; 5] =
    ["input", "cache read", "cache write", "cache write for an hour", "output"];

/// Result of the comparison.
#[derive(Default)]
struct Report {
    /// Number of names with a price, each counted once for each tier.
    priced: usize,
    /// The same for names without a price.
    unpriced: usize,
    /// Models whose standard rates of input and output agree.
    models: BTreeSet<String>,
    /// Number of costs that agree.
    costs: usize,
    /// Names whose standard rates of input and output differ, which are not compared further.
    other_prices: BTreeSet<String>,
    /// Models by provider, tier and kind of a rate that differs for some context.
    other_rates: BTreeMap<String, BTreeSet<String>>,
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

fn row(rates: &Rates) -> [f64; 5] {
    [
        rates.input,
        rates.cached_input,
        rates.cache_creation_input,
        rates.cache_creation_1h_input,
        rates.output,
    ]
}

fn usage([input, read, write, long, output]: [u64; 5]) -> Usage {
    let mut usage = Usage::default();
    usage.input = input;
    usage.cached_input = read;
    usage.cache_creation_input = write;
    usage.cache_creation_1h_input = long;
    usage.output = output;
    usage
}

fn query(model: &str, context: u64, service_tier: ServiceTier) -> RateQuery<'_> {
    let at = "2026-11-20T12:00:00Z".parse().unwrap();
    RateQuery { model, at, context, service_tier, local: false }
}

/// Returns which kinds of tokens a usage has.
fn kinds_of([input, read, write, long, output]: [u64; 5]) -> [bool; 5] {
    [input > read + write, read > 0, write > long, long > 0, output > 0]
}

impl Report {
    /// Compares the rates and costs of a name as producers write it.
    fn add(&mut self, table: &Table, figures: &Figures, written: &str) {
        let rates = |context| table.rates(&query(written, context, figures.tier()));
        if rates(0).is_none() {
            self.unpriced += 1;
            return;
        }
        self.priced += 1;
        let agree = |(above, theirs): &(u64, [f64; 5])| {
            let ours = row(&rates(above + 1).unwrap());
            std::array::from_fn::<_, 5, _>(|kind| close(ours[kind], theirs[kind]))
        };
        let agreeing: Vec<_> = figures.steps.iter().map(agree).collect();
        if figures.tier() == ServiceTier::Standard && !(agreeing[0][0] && agreeing[0][4]) {
            self.other_prices.insert(written.to_owned());
        }
        if self.other_prices.contains(written) {
            return;
        }
        self.models.insert(figures.name.clone());
        for (at, kind) in KINDS.iter().enumerate() {
            if agreeing.iter().any(|agreeing| !agreeing[at]) {
                let case = format!("{} {}, {kind}", figures.provider, figures.tier);
                self.other_rates.entry(case).or_default().insert(figures.name.clone());
            }
        }
        for (tokens, cost) in &figures.costs {
            let context = tokens[0];
            let step = figures.steps.iter().rposition(|(above, _)| *above < context).unwrap_or(0);
            if (0..5).all(|kind| agreeing[step][kind] || !kinds_of(*tokens)[kind]) {
                let ours = rates(context).unwrap().cost(&usage(*tokens));
                assert!(close(ours, *cost), "{written} {} {tokens:?} {ours} {cost}", figures.tier);
                self.costs += 1;
            }
        }
    }

    /// Describes the result. Of long lists it has the length alone.
    fn describe(&self) -> String {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "names by tier with a price: {}, without: {}\nmodels compared: {}, costs: {}\n\n\
             other prices:",
            self.priced,
            self.unpriced,
            self.models.len(),
            self.costs,
        );
        self.other_prices.iter().for_each(|name| text += &format!("\n  {name}"));
        text += "\n\nother rates:";
        for (case, models) in &self.other_rates {
            let models = match models.len() {
                0..=6 => list(models),
                length => format!("{length} models"),
            };
            text += &format!("\n  {case}: {models}");
        }
        text
    }
}

#[test]
fn costs_equal_those_of_genai_prices_where_the_rates_agree() {
    if !is_installed("genai-prices") {
        return;
    }
    let (table, is_whole) = table();
    let mut report = Report::default();
    for line in run_script("models", &format!("{CONTEXT_THRESHOLDS:?}")) {
        let figures: Figures = serde_json::from_str(&line).unwrap();
        for written in figures.written() {
            report.add(&table, &figures, &written);
        }
    }
    if is_whole {
        assert_snapshot!(report.describe());
    }
    assert!(report.models.len() > 10 && report.costs > 1_000, "{}", report.describe());
}

#[test]
fn priced_sums_of_agent_runs_equal_those_of_genai_prices() {
    if !is_installed("genai-prices") {
        return;
    }
    let (table, _) = table();
    let mut ours: BTreeMap<String, f64> = BTreeMap::new();
    let (mut models, mut lines) = (Vec::new(), String::new());
    for run in agent_runs() {
        let mut run: serde_json::Value = serde_json::from_str(&run).unwrap();
        run["extra"]["usage"].as_object_mut().unwrap().remove("cost_usd");
        let event = Event::parse(run.to_string()).unwrap();
        let model = event.staffer_id().unwrap().to_owned();
        let usage = *event.usage().unwrap();
        let parts = [
            usage.input,
            usage.cached_input,
            usage.cache_creation_input,
            usage.cache_creation_1h_input,
            usage.output,
        ];
        let line = (&model, event.turns().unwrap().max(1), parts);
        lines += &format!("{}\n", serde_json::to_string(&line).unwrap());
        let received_at: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let envelope = Envelope { id: Uuid::nil(), seq: 1, received_at, event };
        let Some(Cost::Priced(cost)) = Cost::of(&envelope, &table) else { panic!("{run}") };
        *ours.entry(model.clone()).or_default() += cost;
        models.push(model);
    }
    let mut theirs: BTreeMap<String, f64> = BTreeMap::new();
    let costs = run_script("runs", &lines);
    assert_eq!(costs.len(), models.len());
    for (model, cost) in models.into_iter().zip(costs) {
        *theirs.entry(model).or_default() += cost.parse::<f64>().unwrap();
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (model, ours) in &ours {
        assert!(close(*ours, theirs[model]), "{model}: {ours} {}", theirs[model]);
        println!("{model}: {ours:.2} US dollars");
    }
}
