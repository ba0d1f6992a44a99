//! Recording rules and alerts, their tests for `promtool`, and the runbook.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dashboards::{NAMES, dashboard};
use super::{read, run};
use crate::support::{DEFAULTS, Observer, has_packages, is_installed};

const RULES: [&str; 3] = ["rules/alerts.yaml", "rules/recording.yaml", "rules/thresholds.yaml"];
const TESTS: [&str; 2] = ["tests/alerts.yaml", "tests/thresholds.yaml"];

/// Returns the text of each alert by its name.
fn alerts() -> BTreeMap<String, String> {
    let text = read("rules/alerts.yaml");
    let alerts = text.split("- alert: ").skip(1);
    alerts
        .map(|alert| {
            let (name, rest) = alert.split_once('\n').unwrap();
            (name.trim().to_owned(), rest.to_owned())
        })
        .collect()
}

/// Returns the text of each section of the runbook by the alert that it is about.
fn sections() -> BTreeMap<String, String> {
    let text = read("../../crates/observer/docs/runbook.md");
    let sections = text.split("\n## ").skip(1);
    sections
        .map(|section| section.split_once('\n').unwrap())
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[tokio::test]
async fn rules_pass_their_tests() {
    if !is_installed("promtool") {
        return;
    }
    run("promtool", &[&["check", "rules"], &RULES[..]].concat()).await;
    run("promtool", &[&["test", "rules"], &TESTS[..]].concat()).await;
}

#[tokio::test]
async fn mixin_has_every_dashboard_and_rule() {
    if !has_packages("_jsonnet") {
        return;
    }
    let snippet = "local mixin = import 'mixin.libsonnet'; \
                   [mixin.grafanaDashboards, mixin.prometheusRules, mixin.prometheusAlerts]";
    let script = "import sys, _jsonnet; print(_jsonnet.evaluate_snippet('mixin', sys.argv[1]))";
    let mixin = run("python3", &["-c", script, snippet]).await;
    let mixin: Value = serde_json::from_str(&mixin).unwrap();
    for name in NAMES {
        assert_eq!(mixin[0][format!("observer-{name}.json")], dashboard(name));
    }
    let count = |groups: &Value, kind: &str| {
        let groups = groups["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules.filter(|rule| rule[kind].is_string()).count()
    };
    let records = [RULES[1], RULES[2]].map(|path| read(path).matches(" - record: ").count());
    // The examples of own thresholds are comments.
    let commented = read(RULES[2]).matches("# - record: ").count();
    assert_eq!(count(&mixin[1], "record"), records.iter().sum::<usize>() - commented);
    assert_eq!(count(&mixin[2], "alert"), alerts().len());
}

#[test]
fn every_alert_has_series_that_fire_it_and_series_that_do_not() {
    let text = read("tests/alerts.yaml");
    let (mut firing, mut silent) = (BTreeMap::new(), BTreeMap::new());
    for case in text.split("alertname: ").skip(1) {
        let name = case.lines().next().unwrap().trim();
        let expected = case.split("exp_alerts:").nth(1).unwrap();
        let is_silent = expected.starts_with(" []");
        let counts = if is_silent { &mut silent } else { &mut firing };
        *counts.entry(name.to_owned()).or_insert(0) += 1;
    }
    let alerts: Vec<_> = alerts().into_keys().collect();
    assert_eq!(firing.into_keys().collect::<Vec<_>>(), alerts);
    assert_eq!(silent.into_keys().collect::<Vec<_>>(), alerts);
    assert!(alerts.len() > 15, "{alerts:?}");
}

#[test]
fn every_alert_is_complete_and_has_a_section_in_the_runbook() {
    let (alerts, sections) = (alerts(), sections());
    assert_eq!(alerts.keys().collect::<Vec<_>>(), sorted(sections.keys()));
    for (name, rule) in &alerts {
        for key in ["expr:", "for:", "severity:", "summary:", "description:"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        let severity = rule.split("severity: ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let description = rule.split("description:").nth(1).unwrap();
        // There is nothing to name where nothing is scraped.
        assert!(description.contains("{{ $") || name == "ObserverAbsent", "{name} names no value");
        let link = format!("/runbook.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name} has no link to {link}");
        for part in ["*Means:*", "*See:*", "*Mend:*"] {
            assert!(sections[name].contains(part), "the section of {name} has no {part}");
        }
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn alerts_in_the_documentation_are_those_of_the_rules() {
    let text = read("../../crates/observer/docs/monitoring.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `Observer"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            (format!("Observer{name}"), rest.split('|').nth(1).unwrap().trim().to_owned())
        })
        .collect();
    let severity = |rule: &str| {
        let (_, rest) = rule.split_once("severity: ").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    let alerts: BTreeMap<_, _> =
        alerts().into_iter().map(|(name, rule)| (name, severity(&rule))).collect();
    assert_eq!(documented, alerts);
}

#[tokio::test]
async fn commands_of_the_runbook_are_accepted_by_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let event = r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true}"#;
    assert_eq!(observer.post(event).await.status, 200);
    observer.wait_until_caught_up().await;
    let text = read("../../crates/observer/docs/runbook.md");
    let mut count = 0;
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for command in block.lines().filter_map(|line| line.strip_prefix("observer ")) {
            count += 1;
            let command = command.replace("SINK", "archive").replace("SOURCE", "bot");
            let arguments: Vec<_> = command.split(' ').collect();
            let (code, output) = observer.run(&arguments);
            // 1: there is nothing to do for this sink.
            assert!(matches!(code, Some(0 | 1)), "observer {command}: {code:?} {output}");
        }
    }
    assert!(count > 15, "{count} commands");
}
