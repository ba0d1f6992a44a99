//! The unit of systemd.

use std::process::Command;

use super::{file, read};
use crate::support::{is_installed, text_of};

#[test]
fn unit_is_exposed_less_than_level_2() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(file("crates/observer/packaging/systemd/observer.service"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("Overall exposure level for observer.service"));
}

/// A stop that takes longer ends with SIGKILL.
#[test]
fn unit_leaves_as_much_time_to_stop_as_the_observer_takes() {
    let unit = read("crates/observer/packaging/systemd/observer.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let seconds: u64 = stop.strip_suffix('s').unwrap().parse().unwrap();
    let drain = observer::Config::default().server.shutdown_timeout.as_secs();
    // A sink that hangs has 24 s more to close.
    assert!(seconds > drain + 24, "{seconds} s");
}
