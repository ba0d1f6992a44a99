//! Queries to the knowledge base: `observer query`, `history`, `problems`, `models`, `usage`, `diff`
//! and `hints`.
//!
//! Each command translates its flags to the parameters of a route of the HTTP API ([`request`]),
//! asks ([`ask`]), and prints the response: as it is in JSON and CSV, or as a table of its own
//! ([`output`]). So flags and parameters have the same names, and their values the same rules.

mod ask;
mod diff;
mod events;
mod figures;
mod filter;
mod hints;
mod history;
mod models;
mod output;
mod problems;
mod request;
#[cfg(test)]
mod tests;
mod usage;

pub(super) use self::diff::DiffArgs;
pub(super) use self::events::QueryArgs;
pub(super) use self::filter::FilterArgs;
pub(super) use self::hints::HintsArgs;
pub(super) use self::history::HistoryArgs;
pub(super) use self::models::ModelsArgs;
pub(super) use self::problems::ProblemsArgs;
pub(super) use self::request::Request;
pub(super) use self::usage::UsageArgs;

use std::path::Path;
use std::process::ExitCode;

pub(super) use self::ask::OpenFile;
use super::failure::Failure;

/// Parts of the program that the commands need.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Path of the configuration, if it is given.
    pub(super) config: Option<&'a Path>,
    /// Opens the store of the configuration.
    pub(super) open_file: OpenFile<'a>,
}

/// Command that queries the knowledge base.
pub(super) trait QueryCommand {
    /// Runs the command. The exit code is 1 if nothing matched.
    fn run(self, context: Context<'_>) -> impl Future<Output = Result<ExitCode, Failure>>;
}
