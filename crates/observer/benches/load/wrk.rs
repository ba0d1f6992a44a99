//! Single events sent by `wrk`, a load generator that uses little CPU time.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::server::Server;

const SCRIPT: &str = r#"
local n = 0
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function request()
  n = n + 1
  return wrk.format("POST", "/event", { ["Content-Type"] = "application/json" }, string.format(
    '{"source":"bench","cycle_id":"%s-%d-%d","sig_hash":"03f203cc93b17365","event_kind":"tests_failed","ok":false,' ..
    '"staffer_id":"gpt-oss:120b","turns":83,"duration_ms":49081.172,"extra":{"repo":"example/repository",' ..
    '"usage":{"prompt_tokens":3975829,"completion_tokens":1478,"cost_usd":2.99},"patch_tokens":15984}}', wrk.run, id, n))
end
"#;

/// Result of a run of `wrk`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) requests_per_second: f64,
    /// In milliseconds.
    pub(crate) p50: f64,
    /// In milliseconds.
    pub(crate) p99: f64,
}

/// Checks that `wrk` is installed.
pub(crate) fn check_installed() -> anyhow::Result<()> {
    match Command::new("wrk").arg("-v").output() {
        Ok(_) => Ok(()),
        Err(_) => bail!("this benchmark needs `wrk`; install it with `apt install wrk`"),
    }
}

/// Sends unique events over this many connections.
///
/// # Errors
/// If a response is not 2xx, or a socket fails.
pub(crate) fn wrk(
    server: &Server,
    connections: usize,
    seconds: u64,
    run: &str,
) -> anyhow::Result<Run> {
    let mut script = tempfile::NamedTempFile::new()?;
    write!(script, "wrk.run = {run:?}\n{SCRIPT}")?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(script.path())
        .arg(format!("http://{}/event", server.address))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("some requests failed:\n{text}");
    }
    let after = |label: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        found.with_context(|| format!("wrk printed no {label}"))
    };
    Ok(Run {
        requests_per_second: after("Requests/sec:")?.parse()?,
        p50: milliseconds(after("50%")?)?,
        p99: milliseconds(after("99%")?)?,
    })
}

/// Parses a time as `wrk` prints it (`85.00us`, `1.20ms`, `1.03s`) into milliseconds.
fn milliseconds(text: &str) -> anyhow::Result<f64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()].parse()?;
    Ok(match unit {
        "us" => Duration::from_secs_f64(number / 1e6),
        "ms" => Duration::from_secs_f64(number / 1e3),
        "s" => Duration::from_secs_f64(number),
        _ => bail!("{text:?} is not a time"),
    }
    .as_secs_f64()
        * 1e3)
}
