//! What the README shows is so.

use std::path::Path;
use std::process::Command;

use crate::support::{Observer, event_of, is_installed};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap()
}

/// The blocks of code in one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_configuration_in_the_readme_is_one() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        // Of the environment that the README speaks of, nothing is here.
        let tokens = block.replace("${HOOK_TOKEN}", "token").replace("${COLLECTOR_TOKEN}", "token");
        let block = tokens.replace("${HOOK_SECRET}", "whsec_bmV3");
        let config =
            observer::Config::parse(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        observer::registry::with_defaults(&prometheus::Registry::new())
            .build_all(&config)
            .unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

/// `cargo test` builds the one and runs the other.
#[test]
fn the_code_in_the_readme_is_that_of_the_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let examples = ["embed.rs", "spool_sink_test.rs"]
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    let blocks = blocks("rust");
    assert_eq!(blocks.len(), examples.len());
    for block in blocks {
        assert!(
            examples.iter().any(|example| example.contains(block.trim())),
            "no example has this:\n{block}"
        );
    }
}

#[tokio::test]
async fn the_first_event_in_the_readme_arrives() {
    if !is_installed("curl") {
        return;
    }
    let text = readme();
    let line =
        text.lines().find(|line| line.starts_with("curl ") && line.contains("/event")).unwrap();
    let body = line.split('\'').nth(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), crate::support::DEFAULTS);
    let command = line.replace("http://localhost:3800", &observer.url);
    assert_ne!(command, line);
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let response = String::from_utf8_lossy(&output.stdout);
    assert!(response.contains(r#""status":"accepted""#), "{response}");
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().iter().map(|line| event_of(line)).collect::<Vec<_>>(), [body]);
}
