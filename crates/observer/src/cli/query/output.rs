//! Output of queries.

use std::process::ExitCode;

use clap::Args;
use serde::de::DeserializeOwned;

use super::ask::{Store, parse};
use super::figures::Clock;
use super::request::{Media, Request};
use crate::cli::failure::Failure;
use crate::cli::grid::Terminal;
use crate::cli::output::{print, print_data, print_json, print_styled};

/// Format of the output.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct FormatArgs {
    /// Print JSON, as the HTTP API does
    #[arg(long, group = "format")]
    json: bool,

    /// Print CSV, as the HTTP API does
    #[arg(long, group = "format")]
    csv: bool,

    /// Print Markdown
    #[arg(long, group = "format")]
    md: bool,
}

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
    Markdown,
}

/// Result that can be shown to people.
pub(super) trait View: DeserializeOwned {
    /// Returns whether nothing matched.
    fn is_empty(&self) -> bool;

    /// Formats the result for a terminal. Only cleaned text may come from producers.
    fn to_text(&self, terminal: Terminal, clock: &Clock) -> String;

    /// Formats the result as Markdown.
    fn to_markdown(&self, clock: &Clock) -> String;
}

impl FormatArgs {
    pub(super) fn format(self) -> Format {
        match self {
            Self { json: true, .. } => Format::Json,
            Self { csv: true, .. } => Format::Csv,
            Self { md: true, .. } => Format::Markdown,
            _ => Format::Table,
        }
    }
}

/// Asks for a result and prints it. Returns the exit code: 1 if nothing matched.
pub(super) async fn show<V: View>(
    store: &Store<'_>,
    request: &Request,
    format: Format,
) -> Result<ExitCode, Failure> {
    if format == Format::Csv {
        let csv = store.get(request, Media::Csv).await?;
        print_data(&String::from_utf8_lossy(&csv))?;
        return Ok(exit_code(csv_rows(&csv) == 0));
    }
    let body = store.get(request, Media::Json).await?;
    let result: V = parse(&body)?;
    match format {
        Format::Table => {
            print_styled(&result.to_text(Terminal::of_stdout(), &Clock::system()))?;
        }
        Format::Markdown => print(&result.to_markdown(&Clock::system()))?,
        Format::Json | Format::Csv => print_bytes(&[&body[..], b"\n"].concat())?,
    }
    Ok(exit_code(result.is_empty()))
}

/// Prints a response of JSON.
pub(super) fn print_bytes(body: &[u8]) -> Result<(), Failure> {
    Ok(print_json(&String::from_utf8_lossy(body))?)
}

pub(super) fn exit_code(is_empty: bool) -> ExitCode {
    if is_empty { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns the number of rows of a CSV table beside its heading, or more if cells have line ends.
fn csv_rows(csv: &[u8]) -> usize {
    csv.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_without_rows_is_empty() {
        for (csv, rows) in [("", 0), ("a,b\r\n", 0), ("a,b\r\n1,2\r\n", 1)] {
            assert_eq!(csv_rows(csv.as_bytes()), rows, "{csv}");
        }
    }
}
