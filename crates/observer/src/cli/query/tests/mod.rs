//! Tests of the commands: `requests` has those of flags, `views` those of tables.

mod requests;
mod views;

use insta::assert_snapshot;
use observer_core::query::{Diff, Hints, Models, Problem, ProblemPage, UsageReport};
use serde_json::{Value, json};

use super::events;
use super::figures::Clock;
use super::output::View;
use super::request::Request;
use crate::cli::args::{Cli, Command};
use crate::cli::grid::Terminal;

const ID: &str = "00000000-0000-0000-0000-000000000007";

fn clock() -> Clock {
    Clock::at("2026-11-27T12:00:00Z")
}

/// Terminal of 100 columns without colour.
const TERMINAL: Terminal = Terminal { width: Some(100), has_color: false };

/// Returns the request of a command line.
fn request(line: &str) -> Request {
    let arguments = line.split(' ').map(|argument| argument.replace('_', " "));
    let cli = Cli::from_command_line(["observer".to_owned()].into_iter().chain(arguments));
    match cli.unwrap().command.unwrap() {
        Command::Query(arguments) => arguments.request(),
        Command::History(arguments) => arguments.request(),
        Command::Problems(arguments) => arguments.request(),
        Command::Models(arguments) => arguments.request(),
        Command::Usage(arguments) => arguments.request(),
        Command::Diff(arguments) => arguments.request(),
        Command::Hints(arguments) => arguments.request(),
        other => panic!("{other:?}"),
    }
}
