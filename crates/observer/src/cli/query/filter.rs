//! Flags that select events by their fields.

use clap::Args;

use super::request::Request;

/// Conditions on the fields of events.
#[derive(Debug, Args)]
pub(in crate::cli) struct FilterArgs {
    /// Source of the events; repeatable
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,

    /// Kind of the outcome, such as `tests_failed`; repeatable
    #[arg(long, value_name = "NAME")]
    event_kind: Vec<String>,

    /// Events of cycles that succeeded
    #[arg(long, conflicts_with = "failed")]
    ok: bool,

    /// Events of cycles that failed
    #[arg(long)]
    failed: bool,

    /// Signature of the problem; repeatable
    #[arg(long, value_name = "HASH")]
    sig_hash: Vec<String>,

    /// Id of the cycle; repeatable
    #[arg(long, value_name = "ID")]
    cycle_id: Vec<String>,

    /// Model of the event; repeatable
    #[arg(long, value_name = "MODEL", alias = "staffer-id")]
    model: Vec<String>,

    /// Label of the event; repeatable: any value of the same name, and each name
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

impl FilterArgs {
    /// Returns the accepted sources; none for any.
    pub(super) fn sources(&self) -> &[String] {
        &self.source
    }

    /// Adds the conditions to a request.
    pub(in crate::cli) fn add_to(&self, request: Request) -> Request {
        let ok = match (self.ok, self.failed) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let request = request
            .with("source", &self.source)
            .with("event_kind", &self.event_kind)
            .with("ok", ok)
            .with("sig_hash", &self.sig_hash)
            .with("cycle_id", &self.cycle_id)
            .with("staffer_id", &self.model);
        self.label
            .iter()
            .fold(request, |request, (name, value)| request.with(&format!("label.{name}"), [value]))
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
