//! `observer journal`: the journal of an observer that doesn't run, looked at, mended, and read.

mod export;
mod repair;
pub(super) mod shown;
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
use super::{Failed, print};
use crate::{Config, serve};

#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Read all of it, and tell what is there, what can't be read, and where each sink stands
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Output),
    /// Mend what can be mended, and keep what is cut or replaced
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(Output),
    /// Write its events as NDJSON, each in its envelope, as `observer emit` takes them
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
) -> Result<ExitCode, Failed> {
    let stopped = OfflineJournal::open(serve::journal(config)).map_err(explained)?;
    let (text, is_fine) = match command {
        JournalCommand::Verify(output) => verify::report(&stopped, output.json)?,
        JournalCommand::Repair(output) => repair::report(&stopped, output.json)?,
        JournalCommand::Export(arguments) => return export::run(arguments, &stopped),
    };
    print(&text)?;
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is no statement about the journal's files isn't told as one.
fn explained(error: OpenError) -> Failed {
    match error {
        OpenError::InUse { .. } => Failed::usage(anyhow!("{error}; stop the observer first")),
        OpenError::Missing { .. } => Failed::usage(error),
        error => error.into(),
    }
}
