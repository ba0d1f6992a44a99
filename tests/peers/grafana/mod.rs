//! The dashboards and rules of `examples/grafana`, against Prometheus.

mod dashboards;
mod expected;
mod incident;
mod panels;
mod rules;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::text_of;

/// Returns the path of a file of the example.
fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/grafana").join(path)
}

fn read(path: &str) -> String {
    let path = example(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program in the folder of the example, and asserts that it succeeds.
async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    // No caches beside the sources.
    command.args(arguments).current_dir(example("")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}
