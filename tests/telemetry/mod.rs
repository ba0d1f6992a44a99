//! What the observer tells of itself, as a collector gets it.

mod alone;
mod collectors;
mod metrics;
mod traces;
mod wire;

use crate::support::DEFAULTS;

/// So that nobody has to wait.
const AT_ONCE: [(&str, &str); 2] =
    [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_BLRP_SCHEDULE_DELAY", "20")];

fn config(telemetry: &str) -> String {
    format!("{DEFAULTS}[telemetry]\n{telemetry}\n")
}

fn event(number: usize) -> String {
    format!(
        r#"{{"source":"job","cycle_id":"{number}","event_kind":"ok","ok":true,"duration_ms":1500}}"#
    )
}
