//! Administration over the admin socket, and the commands that use it.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, is_installed, run_command, text_of};

const EVENT: &str = r#"{"source":"job","event_kind":"ok","ok":true}"#;
const PURGE: &str = "/v1/sinks/archive/dead-letters?all=true";
const WARNING: &str =
    "the admin socket is not available; administration needs a token or access.anonymous";

/// Asserts the exit code of a command, and that its output contains each of the parts.
#[track_caller]
fn check((exit_code, text): (Option<i32>, String), code: i32, parts: &[&str]) -> String {
    assert_eq!(exit_code, Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    text
}

async fn purge_status(observer: &Observer) -> u16 {
    observer.administer(Method::DELETE, PURGE, "").await.status
}

/// Returns the warning about the socket from the log of an observer that has ended.
fn warning(log: &[String]) -> Value {
    let mut entries = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.find(|entry| entry["message"] == WARNING).expect("the log has a warning")
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
}

#[tokio::test]
async fn socket_is_private_and_removed_when_the_observer_stops() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let socket = dir.path().join("observer-data/admin.sock");
    assert_eq!(observer.admin_socket.as_deref(), Some(&*socket));
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(purge_status(&observer).await, 200);
    let over_http = observer.client().delete(format!("{}{PURGE}", observer.url));
    let rejected = observer.send(over_http).await;
    assert_eq!(rejected.status, 401);
    let detail = rejected.json()["detail"].as_str().unwrap().to_owned();
    for way in ["command line", "access.admin_socket", "access.anonymous"] {
        assert!(detail.contains(way), "{detail}");
    }
    assert!(observer.terminate().0.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn socket_of_a_killed_observer_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("observer-data/admin.sock");
    for _ in 0..2 {
        let observer = Observer::start(dir.path(), DEFAULTS);
        assert_eq!(purge_status(&observer).await, 200);
        check(observer.run(&["status"]), 0, &["observer-data/admin.sock is ready"]);
        observer.kill();
        assert!(is_socket(&socket));
    }
}

#[tokio::test]
async fn administrator_may_open_administration_to_every_caller() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{DEFAULTS}[access]\nanonymous = [\"ingest\", \"read\", \"relay\", \"admin\"]\n\
         admin_socket = false\n"
    );
    let observer = Observer::start(dir.path(), &config);
    assert_eq!(observer.admin_socket, None);
    assert!(!dir.path().join("observer-data/admin.sock").exists());
    let purge = observer.client().delete(format!("{}{PURGE}", observer.url));
    assert_eq!(observer.send(purge).await.status, 200);
    let reload = observer.client().post(format!("{}/-/reload", observer.url));
    assert_eq!(observer.send(reload).await.status, 200);
}

#[tokio::test]
async fn unusable_socket_is_a_warning() {
    let long = format!("observer-data/{}.sock", "s".repeat(100));
    for (path, error) in [
        (&*long, "the path has 119 bytes, and a socket allows 107"),
        ("observer.toml", "the file is not a socket"),
        ("missing/admin.sock", "No such file or directory"),
        (".", "the file is not a socket"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{DEFAULTS}[access]\nadmin_socket = {path:?}\n");
        let observer = Observer::start(dir.path(), &config);
        assert_eq!(observer.admin_socket, None, "{path}");
        assert_eq!(observer.post(EVENT).await.status, 200, "{path}");
        let (status, log) = observer.terminate();
        assert!(status.success());
        let warning = warning(&log);
        assert_eq!((&warning["level"], &warning["path"]), (&"WARN".into(), &path.into()));
        assert!(warning["error"].as_str().unwrap().contains(error), "{warning}");
        assert_eq!(std::fs::read_to_string(dir.path().join("observer.toml")).unwrap(), config);
    }
}

#[tokio::test]
async fn second_observer_leaves_the_socket_of_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Observer::start(dir.path(), DEFAULTS);
    let same_folder = Command::new(OBSERVER).current_dir(dir.path()).output().unwrap();
    assert_eq!(same_folder.status.code(), Some(1), "{}", text_of(&same_folder));
    assert_eq!(purge_status(&first).await, 200);

    let socket = first.admin_socket.as_ref().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = format!("{DEFAULTS}[access]\nadmin_socket = {socket:?}\n");
    let second = Observer::start(elsewhere.path(), &config);
    assert_eq!(second.post(EVENT).await.status, 200);
    let (status, log) = second.terminate();
    assert!(status.success());
    let error = warning(&log)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("another process listens on it"), "{error}");
    assert_eq!(purge_status(&first).await, 200);
}

#[tokio::test]
async fn commands_use_the_socket_of_the_configuration_unless_a_url_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    check(observer.run(&["sinks", "list"]), 0, &["archive", "kb", "prometheus"]);
    check(observer.run(&["dead-letters", "list", "archive"]), 0, &["no dead letters"]);
    check(observer.run(&["dead-letters", "purge", "archive", "--all"]), 0, &["purged 0"]);
    check(observer.run(&["replay", "--sink", "archive", "--cancel"]), 1, &["404"]);
    check(observer.run(&["sinks", "forget", "archive"]), 1, &["409"]);
    let purge = ["dead-letters", "purge", "archive", "--all"];
    let at_url = [&purge[..], &["--url", &observer.url]].concat();
    check(observer.run(&at_url), 2, &["401", "access.admin_socket"]);
    check(run_command(&observer.url, &purge), 2, &["401"]);

    // From another folder, the configuration file names the socket by its data folder.
    let elsewhere = tempfile::tempdir().unwrap();
    let data = dir.path().join("observer-data");
    let file = elsewhere.path().join("other.toml");
    std::fs::write(&file, format!("data_dir = {data:?}\nsinks.a.token = \"${{UNSET}}\"\n"))
        .unwrap();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(OBSERVER);
        command.args(arguments).current_dir(elsewhere.path()).env_remove("LH_OBSERVER_URL");
        let output = command.envs(environment.iter().copied()).output().unwrap();
        (output.status.code(), text_of(&output))
    };
    let with_file = ["--config", file.to_str().unwrap(), "status"];
    check(run(&with_file, &[]), 0, &["admin.sock is ready", "archive"]);
    check(run(&with_file, &[("LH_OBSERVER_URL", "")]), 0, &["admin.sock is ready"]);
    check(run(&with_file, &[("LH_OBSERVER_URL", &observer.url)]), 0, &["127.0.0.1", "is ready"]);
    check(run(&["status", "--url", "http://127.0.0.1:1"], &[]), 2, &["127.0.0.1:1"]);

    let emit = ["emit", "--source", "job", "--event-kind", "ok", "--ok", "--retry-for", "0s"];
    let unreachable = [&emit[..], &["--url", "http://127.0.0.1:1"]].concat();
    check(observer.run(&unreachable), 2, &["http://127.0.0.1:1"]);
    observer.kill();
    check(
        run(&with_file, &[]),
        2,
        &["observer-data/admin.sock is unreachable: Connection refused", "start the observer"],
    );
}

#[tokio::test]
async fn unreadable_configuration_is_a_warning_of_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    observer.write_config("[access");
    // Whether an observer listens at the default URL is not part of the test.
    let (_, text) = observer.run(&["status"]);
    for part in ["WARN", "the configuration, which names the addresses, can't be read", "line 1"] {
        assert!(text.contains(part), "{text}");
    }
    observer.write_config(DEFAULTS);
    check(observer.run(&["status"]), 0, &["admin.sock is ready"]);
}

#[tokio::test]
async fn reload_keeps_the_socket_and_reports_a_new_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Observer::start(dir.path(), DEFAULTS);
    let digest = observer_server::TokenDigest::of("ci");
    observer.write_config(&format!(
        "{DEFAULTS}[access]\nadmin_socket = \"other.sock\"\n\
         [access.tokens.ci]\nscopes = [\"ingest\"]\nsha256 = \"{digest}\"\n"
    ));
    let reloaded = observer.reload().await;
    assert_eq!(reloaded.json()["restart_needed"], serde_json::json!(["access.admin_socket"]));
    assert_eq!(observer.post(EVENT).await.status, 401, "the tokens are in effect");
    assert_eq!(purge_status(&observer).await, 200);
    assert!(!dir.path().join("other.sock").exists());
    observer.write_config(DEFAULTS);
    observer.send_sighup();
    observer.wait_for_log("the configuration was reloaded");
    assert_eq!(purge_status(&observer).await, 200);
}

#[tokio::test]
async fn curl_administers_over_the_socket() {
    if !is_installed("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let output = Command::new("curl")
        .args(["-sS", "--fail", "-X", "POST", "--unix-socket"])
        .arg(observer.admin_socket.as_ref().unwrap())
        .arg("http://localhost/-/reload")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("restart_needed"), "{}", text_of(&output));
}
