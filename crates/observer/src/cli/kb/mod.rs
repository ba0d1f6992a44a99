//! `observer kb`: the file of the knowledge base of a stopped observer.

mod events;
mod files;
mod merge;
mod rebuild;
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use observer_prices::Prices;

use self::rebuild::{REBUILD_EXAMPLES, RebuildArgs};
use super::failure::Failure;
use crate::Config;

#[derive(Debug, Args)]
pub(super) struct KbArgs {
    #[command(subcommand)]
    command: KbCommand,
}

#[derive(Debug, Subcommand)]
enum KbCommand {
    /// Write the file anew from archives and the journal, and replace the old one
    #[command(after_help = REBUILD_EXAMPLES)]
    Rebuild(RebuildArgs),
}

pub(super) fn run(KbArgs { command }: KbArgs, config: &Config) -> Result<ExitCode, Failure> {
    let prices = Arc::new(Prices::new(config.load_prices()?));
    match command {
        KbCommand::Rebuild(arguments) => rebuild::run(arguments, config, prices),
    }
}
