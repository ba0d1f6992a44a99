//! `observer journal`: verification, repair and export of the journal of a stopped observer.

mod damage;
mod export;
mod repair;
#[cfg(test)]
mod tests;
mod verify;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use observer_journal::{OfflineJournal, OpenError};

use self::export::{EXPORT_EXAMPLES, ExportArgs};
use self::repair::REPAIR_EXAMPLES;
use self::verify::VERIFY_EXAMPLES;
use super::failure::Failure;
use super::output::print;
use crate::{Config, options};

#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Read the whole journal, and list its segments, damage and the position of each sink
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Output),
    /// Repair the journal, and keep a copy of every byte that is cut or replaced
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(Output),
    /// Write the events as NDJSON with envelopes, the input format of `observer emit`
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    JournalArgs { command }: &JournalArgs,
    config: &Config,
) -> Result<ExitCode, Failure> {
    let stopped = OfflineJournal::open(options::journal(config)).map_err(open_failure)?;
    let (text, is_intact) = match command {
        JournalCommand::Verify(output) => verify::report(&stopped, output.json)?,
        JournalCommand::Repair(output) => repair::report(&stopped, output.json)?,
        JournalCommand::Export(arguments) => return export::run(arguments, &stopped),
    };
    print(&text)?;
    Ok(if is_intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Distinguishes errors of usage from damaged files.
fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::InUse { .. } => Failure::usage(anyhow!("{error}; stop the observer first")),
        OpenError::Missing { .. } => Failure::usage(error),
        error => error.into(),
    }
}
