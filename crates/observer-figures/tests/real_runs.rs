//! Figures of real agent runs: the fixture, or the larger file that `OBSERVER_TEST_RUNS` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use observer_figures::compare::Tries;
use observer_figures::state::{Attempt, Fold, Rules, State};
use observer_figures::{Comparison, Interval, Pairs, Sketch, Spend, Verdict};
use serde_json::Value;

/// A run, as far as the figures need it.
struct Run {
    problem: String,
    model: String,
    ok: bool,
    usd: f64,
    ms: f64,
}

impl Run {
    fn read(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            problem: event["sig_hash"].as_str()?.to_owned(),
            model: event["staffer_id"].as_str()?.to_owned(),
            ok: event["ok"].as_bool()?,
            usd: event["extra"]["usage"]["cost_usd"].as_f64()?,
            ms: event["duration_ms"].as_f64()?,
        })
    }
}

fn runs() -> Vec<Run> {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agent-runs.ndjson");
    let path = std::env::var_os("OBSERVER_TEST_RUNS").map_or(fixture, PathBuf::from);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| Run::read(line).expect("a run")).collect()
}

fn models(runs: &[Run]) -> BTreeSet<&str> {
    runs.iter().map(|run| run.model.as_str()).collect()
}

/// Returns attempts, solved attempts and cost by problem.
fn by_problem<'a>(runs: &'a [Run], model: &str) -> BTreeMap<&'a str, (Tries, Spend)> {
    let mut problems = BTreeMap::<_, (Tries, Spend)>::new();
    for run in runs.iter().filter(|run| run.model == model) {
        let (tries, spend) = problems.entry(run.problem.as_str()).or_default();
        tries.attempts += 1;
        tries.solved += u64::from(run.ok);
        *spend = *spend + Spend::complete(run.usd, 1);
    }
    problems
}

fn pairs(runs: &[Run], a: &str, b: &str) -> Pairs {
    let (a, b) = (by_problem(runs, a), by_problem(runs, b));
    let mut pairs = Pairs::default();
    for (problem, (a_tries, a_spend)) in a {
        let (b_tries, b_spend) = b.get(problem).copied().unwrap_or_default();
        pairs.add(a_tries, a_spend, b_tries, b_spend);
    }
    pairs
}

#[test]
fn ratios_and_costs_of_real_runs_are_right() {
    let runs = runs();
    let mut checked = 0;
    for (model, solved, attempts, interval, usd, per_solved) in [
        ("gpt-5", 262, 616, "[0.387, 0.465]", 1_217.90, 4.6485),
        ("claude-sonnet-4-5", 274, 616, "[0.406, 0.484]", 6_973.20, 25.4496),
        ("claude-opus-4-5-20251101", 73, 100, "[0.636, 0.807]", 67.21, 0.9206),
    ] {
        if !models(&runs).contains(model) {
            continue;
        }
        let (tries, spend) = by_problem(&runs, model).into_values().fold(
            (Tries::default(), Spend::default()),
            |(sum, spend), (tries, more)| {
                let attempts = sum.attempts + tries.attempts;
                (Tries { attempts, solved: sum.solved + tries.solved }, spend + more)
            },
        );
        assert_eq!(tries, Tries { attempts, solved }, "{model}");
        assert_eq!(Interval::wilson(solved, attempts).unwrap().to_string(), interval);
        assert!((spend.usd - usd).abs() < 0.005, "{model}: {}", spend.usd);
        let cost = spend.per_solved(solved).unwrap().usd();
        assert!((cost - per_solved).abs() < 5e-5, "{model}: {cost}");
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn models_of_real_runs_are_compared_on_common_problems_alone() {
    let runs = runs();
    let (gpt, sonnet, opus) = ("gpt-5", "claude-sonnet-4-5", "claude-opus-4-5-20251101");
    let apart = Comparison::of(pairs(&runs, opus, gpt));
    assert_eq!((apart.verdict, apart.p), (Verdict::NotComparable, None));
    if models(&runs).contains(gpt) {
        let comparison = Comparison::of(pairs(&runs, gpt, sonnet));
        let Pairs { both, only_a, only_b, neither, .. } = comparison.pairs;
        assert_eq!((both, only_a, only_b, neither), (206, 56, 68, 286));
        assert_eq!(
            comparison.text(gpt, sonnet),
            "same quality as far as shown (616 common problems, p = 0.323); claude-sonnet-4-5 \
             at 5.5 times the cost per solved",
        );
    }
}

#[test]
fn times_of_real_runs_are_within_five_percent() {
    let runs = runs();
    for model in models(&runs) {
        let mut times: Vec<f64> =
            runs.iter().filter(|run| run.model == model).map(|run| run.ms).collect();
        times.sort_by(f64::total_cmp);
        let mut sketch = Sketch::new();
        times.iter().for_each(|&ms| sketch.add(ms));
        for (share, estimate) in [(0.5, sketch.p50()), (0.95, sketch.p95())] {
            let rank = (share * times.len() as f64).ceil() as usize;
            let exact = times[rank - 1];
            assert!((estimate.unwrap() / exact - 1.0).abs() < 0.05, "{model} {share}");
        }
        assert!(sketch.encode().len() < 250, "{model}: {}", sketch.encode().len());
    }
}

#[test]
fn problems_of_real_runs_are_new_first_and_judged_later() {
    let runs = runs();
    let rules = Rules::default();
    let begun = "2026-03-22T08:00:00Z".parse::<observer_figures::jiff::Timestamp>().unwrap();
    let mut problems = BTreeMap::<&str, Vec<Attempt<'_>>>::new();
    for (event, run) in (1..).zip(&runs) {
        let attempt = Attempt::new(event, begun, run.ok).model(&run.model);
        problems.entry(&run.problem).or_default().push(attempt);
    }
    for attempts in problems.values() {
        let fold = Fold::of(attempts, &rules);
        let week = begun + observer_figures::jiff::SignedDuration::from_hours(7 * 24);
        let last = attempts.last().unwrap().ok;
        let soon = fold.standing(begun, &rules).unwrap().state;
        let progress = last && attempts.iter().any(|attempt| !attempt.ok);
        assert_eq!(soon, if progress { State::MaybeFixed } else { State::New });
        let later = fold.standing(week, &rules).unwrap().state;
        assert_eq!(later, if last { State::Fixed } else { State::Failing });
    }
}
