//! Common HTTP clients, whose requests are refused before their bodies are read.

use std::process::Command;

use crate::support::{Observer, has_packages, is_installed};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/clients.py");
/// Sizes of the refused bodies in bytes.
const SIZES: [usize; 4] = [300, 60_000, 900_000, 20_000_000];

#[tokio::test]
async fn common_clients_get_each_refusal_and_send_a_good_event_afterwards() {
    if !has_packages("requests, httpx, aiohttp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), "[server]\nlisten = \"127.0.0.1:0\"\n");
    let mut script = Command::new("python3");
    script.arg(SCRIPT).arg(&observer.url).args(SIZES.map(|size| size.to_string()));
    let output = tokio::task::spawn_blocking(move || script.output().unwrap()).await.unwrap();
    let (lines, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{lines}{errors}");
    let clients = ["requests", "httpx", "urllib", "aiohttp", "node"];
    let mut expected = Vec::new();
    for client in clients.into_iter().filter(|client| *client != "node" || lines.contains("node")) {
        for size in SIZES {
            expected.push(format!("{client} {size} 415 200 415 200 415 200"));
        }
    }
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "{errors}");
}

#[tokio::test]
async fn curl_and_wget_get_each_refusal() {
    if !is_installed("curl") || !is_installed("wget") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), "[server]\nlisten = \"127.0.0.1:0\"\n");
    let body = dir.path().join("body");
    for size in SIZES {
        std::fs::write(&body, "x".repeat(size)).unwrap();
        let url = format!("{}/event", observer.url);
        let file = body.to_str().unwrap();
        let data = format!("@{file}");
        let curl = ["-sS", "-o", "-", "-H", "Content-Type: text/plain", "--data-binary", &data];
        let chunked = ["-H", "Transfer-Encoding: chunked"];
        let wget_file = format!("--post-file={file}");
        let wget = [
            "-q",
            "-O",
            "-",
            "--content-on-error",
            "--header=Content-Type: text/plain",
            &wget_file,
        ];
        for (program, arguments) in [
            ("curl", [&curl[..], &[&url]].concat()),
            ("curl", [&curl[..], &chunked[..], &[&url]].concat()),
            ("wget", [&wget[..], &[&url]].concat()),
        ] {
            let mut command = Command::new(program);
            command.args(&arguments);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = output.await.unwrap();
            let (text, errors) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("\"status\":415"), "{program} {size}: {text}{errors}");
        }
    }
}
