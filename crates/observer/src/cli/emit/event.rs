//! Event from flags.

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "One event")]
pub(super) struct EventArgs {
    /// Producer of the event, such as `bot`
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "files",
        requires = "event_kind",
        requires = "outcome"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,

    /// Kind of the outcome, such as `ok` or `tests_failed`
    #[arg(long, value_name = "NAME", requires = "source")]
    event_kind: Option<String>,

    #[command(flatten)]
    #[serde(flatten)]
    outcome: Outcome,

    /// Id of the cycle
    #[arg(long, value_name = "ID", requires = "source")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cycle_id: Option<String>,

    /// Hash of the problem that the cycle worked on
    #[arg(long, value_name = "HASH", requires = "source")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sig_hash: Option<String>,

    /// Model used by the cycle
    #[arg(long, value_name = "MODEL", requires = "source")]
    #[serde(skip_serializing_if = "Option::is_none")]
    staffer_id: Option<String>,

    /// Number of model calls of the cycle
    #[arg(long, value_name = "COUNT", requires = "source")]
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<u64>,

    /// Duration of the cycle, in milliseconds
    #[arg(long, value_name = "MS", requires = "source", value_parser = amount)]
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<Number>,

    /// Further data as a JSON object, stored byte for byte
    #[arg(long, value_name = "JSON", requires = "source", value_parser = object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Box<RawValue>>,
}

#[derive(Debug, Args, Serialize)]
#[group(id = "outcome", multiple = false)]
struct Outcome {
    /// The cycle succeeded
    #[arg(long, requires = "source")]
    ok: bool,

    /// The cycle failed
    #[arg(long, requires = "source")]
    #[serde(skip)]
    failed: bool,
}

impl EventArgs {
    /// Returns the event as JSON, or `None` without event flags.
    pub(super) fn into_json(self) -> Option<Bytes> {
        self.source.as_ref()?;
        Some(
            serde_json::to_vec(&self)
                .expect("strings, numbers and valid JSON can be written as JSON")
                .into(),
        )
    }
}

fn amount(text: &str) -> Result<Number, String> {
    let number = serde_json::from_str::<Number>(text).ok();
    number
        .filter(|number| number.as_f64().is_some_and(|number| number >= 0.0))
        .ok_or_else(|| "expected a number of at least 0".into())
}

fn object(text: &str) -> Result<Box<RawValue>, String> {
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
    if value.get().starts_with('{') { Ok(value) } else { Err("expected a JSON object".to_owned()) }
}
