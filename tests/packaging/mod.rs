//! Files that operators install: units of systemd, manifests of Kubernetes, proxies, and
//! configurations.

mod kubernetes;
mod nginx;
mod systemd;

use std::path::{Path, PathBuf};

use crate::support::Observer;

/// Returns the path of a file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

/// Returns the configuration in the manifest of the config map.
fn configuration_of_kubernetes() -> String {
    let manifest = read("crates/observer/packaging/kubernetes/configmap.yaml");
    let (_, text) = manifest.split_once("observer.toml: |\n").unwrap();
    text.lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// In a package, a container and a pod the observer starts with the configuration that comes with
/// them, is reached by the name of its service, and says who may do what.
#[tokio::test]
async fn packaged_configurations_start_and_accept_the_name_of_the_service() {
    let debian = read("crates/observer/packaging/debian/observer.toml");
    let docker = read("crates/observer/packaging/docker/observer.toml");
    for (config, host, is_known) in [
        (debian, "observer", false),
        (docker, "observer", true),
        (configuration_of_kubernetes(), "observer.default.svc", true),
    ] {
        assert!(config.contains("listen = "), "{config}");
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let config: String = config
            .replace("/var/lib/observer", data.to_str().unwrap())
            .replace("0.0.0.0:3800", "0.0.0.0:0")
            .replace("127.0.0.1:3800", "127.0.0.1:0")
            .replace("[::1]:3800", "[::1]:0");
        let observer = Observer::start(dir.path(), &config);
        let local = observer.url.replace("0.0.0.0", "127.0.0.1");
        let request = observer
            .client()
            .post(format!("{local}/event"))
            .header("host", host)
            .body(r#"{"source":"job","event_kind":"ok","ok":true}"#);
        let response = observer.send(request).await;
        let expected = if is_known { 200 } else { 421 };
        assert_eq!(response.status, expected, "{config}\n{}", response.text);
        let administer = observer.client().post(format!("{local}/-/reload"));
        assert_eq!(observer.send(administer).await.status, 401);
    }
}
