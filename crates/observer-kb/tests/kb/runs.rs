//! Right answers over outcomes of real agent runs.

use std::path::PathBuf;

use observer_core::query::{
    EventStore, ModelFigures, Models, ModelsRequest, ProblemRequest, UsageBy, Verdict,
};

use super::support::{Kb, problems_request};

/// Returns the runs of a file, one event a line.
fn lines(path: PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn fixture() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/agent-runs.ndjson");
    lines(path.into())
}

/// Returns all runs, if `OBSERVER_TEST_RUNS` names their file.
fn all_runs() -> Option<Vec<String>> {
    std::env::var_os("OBSERVER_TEST_RUNS").map(|path| lines(path.into()))
}

async fn kb_with(runs: &[String]) -> Kb {
    let mut kb = Kb::new();
    for chunk in runs.chunks(100) {
        kb.send(chunk).await;
    }
    kb
}

fn compare(a: &str, b: &str) -> ModelsRequest {
    ModelsRequest { compare: Some((a.to_owned(), b.to_owned())), ..ModelsRequest::default() }
}

fn row<'a>(models: &'a Models, name: &str) -> &'a ModelFigures {
    models.models.iter().find(|row| row.model.as_deref() == Some(name)).unwrap()
}

#[track_caller]
fn check(models: &Models, name: &str, counts: (u64, u64), ci: &str, costs: (f64, f64)) {
    let row = row(models, name);
    assert_eq!((row.solved, row.attempts), counts, "{name}");
    assert_eq!(format!("[{:.3}, {:.3}]", row.ci.low, row.ci.high), ci, "{name}");
    assert!((row.cost - costs.0).abs() < 0.005, "{name}: {}", row.cost);
    assert!((row.cost_per_solved.unwrap() - costs.1).abs() < 0.00005, "{name}");
    assert_eq!((row.reported, row.priced, row.unpriced), (row.cost, 0.0, 0), "{name}");
}

const OPUS: &str = "claude-opus-4-5-20251101";

#[tokio::test]
async fn figures_of_the_fixture_are_right() {
    let runs = fixture();
    let kb = kb_with(&runs).await;
    let models = kb.store.models(compare(OPUS, "gpt-5")).await.unwrap();
    assert_eq!(models.models.len(), 1);
    check(&models, OPUS, (73, 100), "[0.636, 0.807]", (67.21, 0.9206));
    let row = row(&models, OPUS);
    assert_eq!((row.problems, row.comparable_on), (100, 0));
    let comparison = models.comparison.as_ref().unwrap();
    assert_eq!((comparison.verdict, comparison.common), (Verdict::NotComparable, 0));
    assert_eq!(comparison.p, None);

    let usage = kb.usage(UsageBy::Model).await;
    assert_eq!(usage.rows.len(), 1);
    assert_eq!(usage.total.attempts, 100);
    assert!((usage.total.cost - 67.21).abs() < 0.005);
    assert_eq!(usage.total.tokens, row.tokens);

    let problems = kb.store.problems(problems_request(1_000)).await.unwrap().problems;
    assert_eq!(problems.len(), 100);
    assert!(problems.is_sorted_by(|a, b| a.wasted >= b.wasted));
    assert_eq!(problems.iter().filter(|row| row.wasted > 0.0).count(), 27);
}

#[tokio::test]
async fn figures_of_all_runs_are_right() {
    let Some(runs) = all_runs() else { return };
    let kb = kb_with(&runs).await;
    let (gpt, sonnet) = ("gpt-5", "claude-sonnet-4-5");
    let models = kb.store.models(compare(gpt, sonnet)).await.unwrap();
    check(&models, gpt, (262, 616), "[0.387, 0.465]", (1_217.90, 4.6485));
    check(&models, sonnet, (274, 616), "[0.406, 0.484]", (6_973.20, 25.4496));
    check(&models, OPUS, (73, 100), "[0.636, 0.807]", (67.21, 0.9206));
    for (name, comparable) in [(gpt, 616), (sonnet, 616), (OPUS, 0)] {
        assert_eq!(row(&models, name).comparable_on, comparable, "{name}");
    }
    let found = models.comparison.unwrap();
    assert_eq!(
        (found.common, found.both, found.only_a, found.only_b, found.neither),
        (616, 206, 56, 68, 286)
    );
    assert!((found.p.unwrap() - 0.323).abs() < 0.0005, "{:?}", found.p);
    assert_eq!(found.verdict, Verdict::Same);
    assert!(found.text.ends_with("claude-sonnet-4-5 at 5.5 times the cost per solved"));
    for other in [gpt, sonnet] {
        let models = kb.store.models(compare(OPUS, other)).await.unwrap();
        assert_eq!(models.comparison.unwrap().verdict, Verdict::NotComparable, "{other}");
    }

    // The first problem: both models failed.
    let request = ProblemRequest { sig_hash: "03f203cc93b17365".into(), ..Default::default() };
    let problem = kb.store.problem(request).await.unwrap();
    assert_eq!((problem.attempts, problem.solved), (2, 0));
    assert!((problem.wasted - (2.990_871 + 16.365_873)).abs() < 1e-6);
    assert_eq!(problem.cost_per_solved, None);
    assert_eq!(problem.failures[0].count, 2);
    let usage = kb.usage(UsageBy::Source).await;
    assert_eq!((usage.total.attempts, usage.total.solved), (1_332, 609));
}
