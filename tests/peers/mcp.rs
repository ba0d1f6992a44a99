//! The official clients of the Model Context Protocol, for Python and for TypeScript.

use std::path::Path;
use std::process::Command;

use observer_server::TokenDigest;
use serde_json::{Value, json};

use crate::support::knowledge_base::with_runs;
use crate::support::{OBSERVER, has_node_package, has_packages};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/mcp_client.py");
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/mcp_client.cjs");
const TOKEN: &str = "observer_secret";

/// Runs a client in the folder of the observer, and checks each line of its report.
async fn check(program: &str, script: &str, arguments: &[&str], dir: &Path, protocols: &[&str]) {
    let mut command = Command::new(program);
    command.arg(script).args(arguments).current_dir(dir).env_remove("LH_OBSERVER_URL");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let reports: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = reports.iter().map(|report| report["protocol"].as_str().unwrap()).collect();
    assert_eq!(seen, protocols, "{program} {arguments:?}");
    for report in reports {
        assert_eq!(report["tools"], json!(["history", "problems", "models", "usage", "search"]));
        let text = report["history"][1].as_str().unwrap();
        assert!(text.contains(" solved. ") && text.contains("hint_id: h"), "{text}");
        assert_eq!(report["history"][0], false);
        assert_eq!(report["wrong"], json!([true, "`limit` must be from 1 to 50, and is 0"]));
    }
}

/// Runs a client over HTTP with a token, and over a process with a token and with the admin socket.
async fn round_trips(program: &str, script: &str, http: &[&str], stdio: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let digest = TokenDigest::of(TOKEN);
    let tokens = format!("[access.tokens.agent]\nscopes = [\"read\"]\nsha256 = \"{digest}\"\n");
    let anonymous = "[access]\nanonymous = [\"ingest\", \"read\"]\n";
    let observer = with_runs(dir.path(), &format!("{anonymous}{tokens}")).await;
    std::fs::write(dir.path().join("token"), TOKEN).unwrap();
    let (url, mcp) = (observer.url.clone(), format!("{}/mcp", observer.url));
    let run = async |arguments: &[&str], protocols: &[&str]| {
        check(program, script, arguments, dir.path(), protocols).await;
    };
    run(&["http", &mcp, TOKEN], http).await;
    run(&["stdio", OBSERVER, "mcp", "--url", &url, "--token-file", "token"], stdio).await;
    run(&["stdio", OBSERVER, "mcp"], stdio).await;
}

#[tokio::test]
async fn official_python_client_asks_over_http_and_stdio() {
    if has_packages("mcp") {
        let both = ["2026-07-28", "2025-11-25"];
        round_trips("python3", PYTHON, &both, &both).await;
    }
}

#[tokio::test]
async fn official_typescript_client_asks_over_http_and_stdio() {
    if has_node_package("@modelcontextprotocol/sdk/client/index.js") {
        round_trips("node", NODE, &["2025-11-25"], &["unknown"]).await;
    }
}
