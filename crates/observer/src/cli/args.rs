//! What can stand on the command line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::dead_letters::DeadLettersArgs;
use super::emit::EmitArgs;
use super::journal::JournalArgs;
use super::remote::RemoteArgs;
use super::replay::ReplayArgs;
use super::sinks::{STATUS_EXAMPLES, SinksArgs};
use super::token::{TOKEN_EXAMPLES, TokenArgs};
use crate::Config;
use crate::config::address;
use crate::logging::LogFormat;

const EXAMPLES: &str = "\
Examples:
  observer                                  serve with ./observer.toml, or with the defaults
  observer --config /etc/observer.toml check
  observer emit --source bot --event-kind ok --ok --cycle-id c-17 --sig-hash 9f2c
  observer emit events.ndjson
  observer status

Exit codes:
  0  all went well
  1  it failed: a sink's check, an event that was refused, a corrupt journal, an error while serving
  2  the command line or the configuration is wrong, or there is no observer to send to";

const CHECK_EXAMPLES: &str = "\
Examples:
  observer check
  observer --config new.toml check && systemctl restart observer

Exit codes:
  0  the configuration is right and every sink can be reached
  1  a sink can't be reached, or whoever telemetry goes to
  2  the configuration is wrong";

/// Takes in outcome events, makes them durable, and fans them out.
#[derive(Debug, Parser)]
#[command(name = "observer", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

impl Cli {
    /// Read a command line; its first argument is the program's own name.
    pub(super) fn from_command_line<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }
}

/// An environment variable that is set to nothing, as container files like to do, is as good as
/// unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| {
            if argument.get_env().is_some_and(is_empty) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The configuration file; without one ./observer.toml if it is there, else the defaults
    #[arg(
        long,
        value_name = "PATH",
        env = "OBSERVER_CONFIG",
        hide_env_values = true,
        global = true
    )]
    pub(super) config: Option<PathBuf>,

    /// How the log looks: `text` or `json`
    #[arg(
        long,
        value_name = "FORMAT",
        env = "OBSERVER_LOG_FORMAT",
        hide_env_values = true,
        hide_possible_values = true,
        global = true,
        default_value = "text",
        value_enum
    )]
    pub(super) log_format: LogFormat,

    /// How much is logged: a level, or levels by target such as `info,observer_pipeline=debug`
    #[arg(
        long,
        value_name = "LEVEL",
        env = "OBSERVER_LOG",
        hide_env_values = true,
        global = true,
        default_value = "info"
    )]
    pub(super) log: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take in events and deliver them to the sinks; what happens without a command
    Serve(ServeArgs),
    /// Read the configuration, then ask each sink whether it can be reached
    #[command(after_help = CHECK_EXAMPLES)]
    Check,
    /// Send events to an observer: one from flags, or NDJSON from files or standard input
    Emit(Box<EmitArgs>),
    /// Ask a running observer whether it takes events, and how its sinks are
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Box<RemoteArgs>),
    /// List the sinks of a running observer, or forget one that is gone
    Sinks(Box<SinksArgs>),
    /// List, show, send again or purge what a sink refused for good
    DeadLetters(Box<DeadLettersArgs>),
    /// Bring a sink the past that is still in the journal, also one that was added later
    Replay(Box<ReplayArgs>),
    /// Look at, mend or export the journal of an observer that doesn't run
    Journal(JournalArgs),
    /// Make a token, and print what to write into the configuration to let it in
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Print a script that completes commands in a shell
    #[command(
        after_help = "Example:\n  observer completions bash > /etc/bash_completion.d/observer"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  observer serve --listen 127.0.0.1:4800 --listen '[::1]:4800'")]
pub(super) struct ServeArgs {
    /// Where to listen, in place of the configuration's `server.listen`; can be given several times
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,
}

impl ServeArgs {
    /// The configuration, with what the command line says over it.
    pub(super) fn over(self, mut config: Config) -> Config {
        if !self.listen.is_empty() {
            config.server.listen = self.listen;
        }
        config
    }
}
