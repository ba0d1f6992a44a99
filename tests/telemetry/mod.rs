//! The observer's own telemetry, as a collector receives it.

mod collectors;
mod isolation;
mod metrics;
mod traces;
mod wire;

use crate::support::DEFAULTS;

/// Environment variables that make the exporters send without a delay.
const WITHOUT_DELAY: [(&str, &str); 2] =
    [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_BLRP_SCHEDULE_DELAY", "20")];

fn config(telemetry: &str) -> String {
    format!("{DEFAULTS}[telemetry]\n{telemetry}\n")
}

fn event(number: usize) -> String {
    format!(
        r#"{{"source":"job","cycle_id":"{number}","event_kind":"ok","ok":true,"duration_ms":1500}}"#
    )
}
