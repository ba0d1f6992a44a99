//! Manifests of Kubernetes.

use std::process::Command;

use super::{file, read};
use crate::support::{is_installed, text_of};

const FOLDER: &str = "crates/observer/packaging/kubernetes";
/// Manifests whose schemas are those of Kubernetes. That of `servicemonitor.yaml` is the Prometheus
/// operator's.
const MANIFESTS: [&str; 5] =
    ["configmap.yaml", "pdb.yaml", "secret.yaml", "service.yaml", "statefulset.yaml"];

#[test]
fn manifests_match_the_schemas_of_kubernetes() {
    if !is_installed("kubernetes-validate") {
        return;
    }
    for manifest in MANIFESTS {
        let output = Command::new("kubernetes-validate")
            .arg("--strict")
            .arg(file(&format!("{FOLDER}/{manifest}")))
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(output.status.success() && text.contains(" passed for resource "), "{text}");
    }
}

#[test]
fn service_monitor_names_a_port_of_the_service() {
    let (service, monitor) =
        (read(&format!("{FOLDER}/service.yaml")), read(&format!("{FOLDER}/servicemonitor.yaml")));
    let port = monitor.lines().find_map(|line| line.trim().strip_prefix("- port: ")).unwrap();
    assert!(service.contains(&format!("- name: {port}\n")), "{service}");
}
