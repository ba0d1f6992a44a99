//! The documentation matches the program: its configurations, commands, routes, metrics and links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{DEFAULTS, OBSERVER, Observer, event_of, is_installed};

/// One Markdown file of the repository.
struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// Returns the code blocks in one language.
    fn blocks(&self, language: &str) -> Vec<&str> {
        let fence = format!("```{language}\n");
        self.text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
    }

    /// Returns the text without its code blocks.
    fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }

    /// Returns the anchors of the headings, as GitHub derives them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

/// Returns the anchors of the headings of a Markdown file.
pub(crate) fn anchors(path: PathBuf) -> BTreeSet<String> {
    Document::read(path).anchors()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn document(path: &str) -> Document {
    Document::read(root().join(path))
}

/// Returns every document for users and contributors.
fn documents() -> Vec<Document> {
    let single = ["README.md", "crates/README.md", "crates/observer/CHANGELOG.md"];
    let mut paths: Vec<_> = single.into_iter().map(|path| root().join(path)).collect();
    for folder in [
        ".github",
        "crates/observer/docs",
        "crates/observer/docs/sinks",
        "examples/agent",
        "examples/grafana",
    ] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    }
    assert!(paths.len() > 15, "{paths:?}");
    paths.into_iter().map(Document::read).collect()
}

/// Returns the text between backticks in the first column of the tables of a document.
fn first_column(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[test]
fn configurations_in_the_documentation_are_valid() {
    let mut count = 0;
    for document in documents() {
        for block in document.blocks("toml") {
            count += 1;
            let at = document.path.display();
            // The variables of the examples are not set here.
            let block = block
                .replace("${HOOK_TOKEN}", "token")
                .replace("${COLLECTOR_TOKEN}", "token")
                .replace("${HOOK_SECRET}", "whsec_bmV3")
                .replace("${SLACK_WEBHOOK_URL}", "https://hooks.example.com/slack")
                .replace("${DISCORD_WEBHOOK_URL}", "https://hooks.example.com/discord")
                .replace("${TEAMS_WORKFLOW_URL}", "https://hooks.example.com/teams")
                .replace("${PAGERDUTY_ROUTING_KEY}", "key")
                .replace("${TICKETS_TOKEN}", "token");
            let config = observer::Config::parse(&block)
                .unwrap_or_else(|error| panic!("{at}: {error}\n{block}"));
            observer::registry::with_defaults(&prometheus::Registry::new())
                .build_all(&config)
                .unwrap_or_else(|error| panic!("{at}: {error}\n{block}"));
        }
    }
    assert!(count > 8, "{count} configurations");
}

#[test]
fn documented_default_configuration_equals_the_defaults() {
    let document = document("crates/observer/docs/configuration.md");
    let shown = observer::Config::parse(document.blocks("toml")[0]).unwrap();
    assert_eq!(shown, observer::Config::parse("").unwrap());
}

/// `cargo test` compiles the examples and runs their tests.
#[test]
fn code_in_the_documentation_is_part_of_the_examples() {
    let examples = ["embed.rs", "spool_sink.rs", "spool_sink_test.rs"]
        .map(|name| std::fs::read_to_string(root().join("examples").join(name)).unwrap());
    let mut count = 0;
    for document in
        documents().iter().filter(|document| !document.path.ends_with("crates/README.md"))
    {
        for block in document.blocks("rust") {
            count += 1;
            assert!(
                examples.iter().any(|example| example.contains(block.trim())),
                "{}: no example contains\n{block}",
                document.path.display()
            );
        }
    }
    assert!(count > 0);
}

#[test]
fn links_between_documents_lead_to_files_and_headings() {
    let mut count = 0;
    for document in documents() {
        let prose = document.prose();
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.path.clone(),
                path => document.path.parent().unwrap().join(path),
            };
            let at = format!("{} links to {link}", document.path.display());
            assert!(target.exists(), "{at}: no such file");
            if !fragment.is_empty() {
                let anchors = Document::read(target).anchors();
                assert!(anchors.contains(fragment), "{at}: the headings are {anchors:?}");
            }
        }
    }
    assert!(count > 50, "{count} links");
}

#[test]
fn tests_that_the_threat_model_names_exist() {
    let prose = document("crates/observer/docs/threat-model.md").prose();
    let sources = sources_of_tests();
    let quoted = prose.split('`').skip(1).step_by(2);
    let is_name = |text: &&str| text.len() > 24 && !text.contains([' ', '.', '-', '"']);
    let names: BTreeSet<_> = quoted.filter(is_name).collect();
    for name in &names {
        let definition = format!("fn {name}(");
        assert!(sources.iter().any(|text| text.contains(&definition)), "there is no test {name}");
    }
    assert!(names.len() > 20, "{names:?}");
}

/// Returns the Rust files of all crates and tests.
fn sources_of_tests() -> Vec<String> {
    let (mut texts, mut folders) = (Vec::new(), vec![root().join("crates"), root().join("tests")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

/// Paths are relative to `crates/`.
#[test]
fn source_paths_in_the_documentation_exist() {
    let mut count = 0;
    for path in ["crates/README.md", ".github/CONTRIBUTING.md"] {
        let prose = document(path).prose();
        let quoted = prose.split('`').skip(1).step_by(2);
        for source in quoted.filter(|text| text.contains("/src/") && !text.contains('*')) {
            count += 1;
            assert!(root().join("crates").join(source).exists(), "{path}: no such file: {source}");
        }
    }
    assert!(count > 10, "{count} paths");
}

/// The help option is evaluated after the other arguments, so wrong ones are errors.
#[test]
fn commands_in_the_documentation_are_accepted() {
    let mut count = 0;
    for document in documents() {
        for block in document.blocks("sh") {
            let block = block.replace("\\\n", " ");
            for line in block.lines().filter(|line| line.starts_with("observer ")) {
                count += 1;
                let command = line.split(" #").next().unwrap().replacen("observer", "\"$0\"", 1);
                let output = Command::new("sh")
                    .args(["-c", &format!("{command} --help"), OBSERVER])
                    .output()
                    .unwrap();
                let at = document.path.display();
                assert!(output.status.success(), "{at}: {line}\n{output:?}");
            }
        }
    }
    assert!(count > 15, "{count} commands");
}

#[test]
fn every_command_is_documented() {
    let output = Command::new(OBSERVER).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let operations = document("crates/observer/docs/operations.md").text;
    let mut count = 0;
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            count += 1;
            assert!(operations.contains(&format!("`observer {name}")), "{name} is not documented");
        }
    }
    assert!(count > 5, "{help}");
}

#[tokio::test]
async fn every_route_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let openapi = observer.get("/openapi.json").await.json();
    let mut served = BTreeSet::new();
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().keys();
        served.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let documented = first_column(&document("crates/observer/docs/http-api.md").text);
    let documented: BTreeSet<_> =
        documented.into_iter().filter(|cell| cell.contains(" /")).collect();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn every_reject_reason_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let metrics = observer.get("/metrics").await.text;
    let series = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("observer_rejected_events_total{reason=\""));
    let exported: BTreeSet<_> =
        series.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    let text = document("crates/observer/docs/http-api.md").text;
    let documented = first_column(text.split("Values of `reason`:").nth(1).unwrap());
    assert_eq!(documented, exported);
}

#[tokio::test]
async fn every_metric_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let event = r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"ok","ok":true,
        "staffer_id":"m","turns":2,"duration_ms":10,
        "usage":{"input_tokens":3,"cached_input_tokens":1,"output_tokens":2,"cost_usd":0.1}}"#;
    assert_eq!(observer.post(event).await.status, 200);
    let phase = r#"{"source":"bot","cycle_id":"c","sig_hash":"s","event_kind":"started"}"#;
    assert_eq!(observer.post(phase).await.status, 200);
    let counted = r#"observer_events_total{source="bot",event_kind="ok",ok="true"}"#;
    let counted_phase = r#"observer_phases_total{source="bot",event_kind="started"}"#;
    let is_counted = |metrics: &BTreeMap<String, f64>| {
        [counted, counted_phase].iter().all(|name| metrics.get(*name) == Some(&1.0))
    };
    observer.wait_for_metrics(is_counted).await;
    let text = observer.get("/metrics").await.text;
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let exported: BTreeSet<_> = names
        .map(|rest| rest.split(' ').next().unwrap().to_owned())
        .filter(|name| name.starts_with("observer_"))
        .collect();
    let mut documented = first_column(&document("crates/observer/docs/sinks/prometheus.md").text);
    documented.retain(|name| name.starts_with("observer_"));
    assert!(documented.remove("observer_telemetry_total"), "it needs [telemetry]");
    let certificate = "observer_certificate_expiry_timestamp_seconds";
    assert!(documented.remove(certificate), "it needs [server.tls]");
    assert_eq!(documented, exported);
}

#[tokio::test]
async fn first_event_of_the_readme_is_stored() {
    if !is_installed("curl") {
        return;
    }
    let readme = document("README.md");
    let lines = readme.text.lines();
    let line = lines.filter(|line| line.starts_with("curl ")).find(|line| line.contains("/event"));
    let line = line.unwrap();
    let body = line.split('\'').nth(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let command = line.replace("http://localhost:3800", &observer.url);
    assert_ne!(command, line);
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let response = String::from_utf8_lossy(&output.stdout);
    assert!(response.contains(r#""status":"accepted""#), "{response}");
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().iter().map(|line| event_of(line)).collect::<Vec<_>>(), [body]);
}
