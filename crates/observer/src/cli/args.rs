//! Arguments of the command line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::dead_letters::DeadLettersArgs;
use super::emit::EmitArgs;
use super::health::{HEALTH_EXAMPLES, HealthArgs};
use super::journal::JournalArgs;
use super::kb::KbArgs;
use super::mcp::McpArgs;
use super::query::{
    DiffArgs, HintsArgs, HistoryArgs, ModelsArgs, ProblemsArgs, QueryArgs, UsageArgs,
};
use super::remote::RemoteArgs;
use super::replay::ReplayArgs;
use super::sinks::{STATUS_EXAMPLES, SinksArgs};
use super::tail::TailArgs;
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
  observer history 9f2c
  observer status

Exit codes:
  0  success
  1  the command failed: a sink check, a rejected event, a corrupt journal, an error while serving;
     or a query matched nothing
  2  the command line or the configuration is invalid, or the observer is unreachable";

const CHECK_EXAMPLES: &str = "\
Examples:
  observer check
  observer --config new.toml check && systemctl restart observer
  observer check --redact events.ndjson

The check of a sink ends after its `timeout`, or after 10 seconds if that key is absent. No event is
sent.

Exit codes:
  0  the configuration is valid, and every sink is reachable
  1  a sink or the telemetry endpoint is unreachable
  2  the configuration is invalid";

/// Accepts outcome events, makes them durable, and fans them out to sinks.
#[derive(Debug, Parser)]
#[command(name = "observer", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

impl Cli {
    /// Parses a command line, whose first argument is the name of the program.
    pub(super) fn from_command_line<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }
}

/// Treats an empty environment variable, which is common in container files, as unset.
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

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Configuration file; by default ./observer.toml if it exists, else built-in defaults
    #[arg(
        long,
        value_name = "PATH",
        env = "OBSERVER_CONFIG",
        hide_env_values = true,
        global = true
    )]
    pub(super) config: Option<PathBuf>,

    /// Format of the log: `text` or `json`
    #[arg(
        long,
        value_name = "FORMAT",
        env = "OBSERVER_LOG_FORMAT",
        hide_env_values = true,
        hide_possible_values = true,
        global = true,
        default_value = LogFormat::Text.as_str(),
        value_enum
    )]
    pub(super) log_format: LogFormat,

    /// Level of the log, or levels by target such as `info,observer_pipeline=debug`
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
    /// Accept events and deliver them to the sinks (the default command)
    Serve(ServeArgs),
    /// Validate the configuration and check that each sink is reachable
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Show only which secrets of a file of events would be redacted
        #[arg(long, value_name = "FILE")]
        redact: Option<PathBuf>,
    },
    /// Send events to an observer: one from flags, or NDJSON from files or standard input
    Emit(Box<EmitArgs>),
    /// List events of the knowledge base, or show one
    Query(Box<QueryArgs>),
    /// Print events as they are committed
    Tail(Box<TailArgs>),
    /// Show what happened before on one problem, and what to try next
    History(Box<HistoryArgs>),
    /// List problems by state, the most costly first
    Problems(Box<ProblemsArgs>),
    /// Show solved ratio, cost and time of each model, or compare two models
    Models(Box<ModelsArgs>),
    /// Show tokens, cost and time by model, source, day or label
    Usage(Box<UsageArgs>),
    /// Show what changed since a moment: what fails now, is fixed, dearer or slower
    Diff(Box<DiffArgs>),
    /// Show whether attempts with a hint solve more, and at what cost
    Hints(Box<HintsArgs>),
    /// Answer an agent over standard input and output, by the Model Context Protocol
    Mcp(Box<McpArgs>),
    /// Show whether a running observer accepts events, and the state of its sinks
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Box<RemoteArgs>),
    /// Check the health of the observer of this configuration, for containers
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(Box<HealthArgs>),
    /// List the sinks of a running observer, or forget a sink that was removed
    Sinks(Box<SinksArgs>),
    /// List, show, replay or purge the dead letters of a sink
    DeadLetters(Box<DeadLettersArgs>),
    /// Deliver events that are still in the journal to a sink again
    Replay(Box<ReplayArgs>),
    /// Verify, repair or export the journal of a stopped observer
    Journal(JournalArgs),
    /// Write the knowledge base of a stopped observer anew
    Kb(KbArgs),
    /// Generate a token, and print the configuration that admits it
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  observer completions bash > /etc/bash_completion.d/observer"
    )]
    Completions {
        /// Name of the shell
        shell: Shell,
    },
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  observer serve --listen 127.0.0.1:4800 --listen '[::1]:4800'")]
pub(super) struct ServeArgs {
    /// Address to listen on instead of `server.listen`; repeatable
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,
}

impl ServeArgs {
    /// Returns the configuration with these arguments applied.
    pub(super) fn apply(self, mut config: Config) -> Config {
        if !self.listen.is_empty() {
            config.server.listen = self.listen;
        }
        config
    }
}

/// Parses an argument that becomes a part of a URL, which can't be empty.
pub(super) fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("it is empty; give a value") } else { Ok(text.to_owned()) }
}
