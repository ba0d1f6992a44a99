//! Torture test: injects many kinds of faults into real processes at once, and checks that the
//! guarantees of the observer hold.
//!
//! ```sh
//! cargo run --release -p outcome-observer --example torture -- --for 1h
//! ```
//!
//! Two observers run: one on the disk of the machine, and one on a small disk that is full from
//! time to time. Each has an archive, two file sinks that share a folder, metrics and three
//! receivers, of which one permanently rejects some events and another one is not required.
//! Producers send each event until it is acknowledged. Meanwhile the observers and the receivers
//! are killed, paused and terminated, the receivers hang, fail and disconnect, the wall clock of
//! the observer jumps, foreign files appear and folders are removed. The seed determines the
//! sequence of faults, but not the timing of their effects.
//!
//! - `run` is the command line and the sequence of rounds.
//! - `deployment` starts the processes and provides the small disk.
//! - `producer` and `receiver` are both ends of the observer; `faults` disturbs both and the
//!   observer, `incidents` its clock and its folders.
//! - `progress` ends a run that hangs.
//! - `oracle` defines what must hold; `checks` compares it with what is observed.
//! - `deliveries` is a run of its own, against destinations that refuse some events.

mod checks;
mod deliveries;
mod deployment;
mod faults;
mod incidents;
mod oracle;
mod producer;
mod progress;
mod receiver;
mod run;
mod sync;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("observe") => {
            deployment::process::end_with_parent();
            observer::run(arguments[1..].to_vec())
        }
        Some("observe-at") => match &arguments[2..] {
            [offset, rest @ ..] => {
                let program = arguments[..1].iter().chain(rest).cloned().collect();
                deployment::clock::observe(offset, program)
            }
            [] => ExitCode::FAILURE,
        },
        Some("command") => observer::run(arguments[1..].to_vec()),
        Some("receive") => receiver::receive(&arguments[2..]),
        Some("destination") => deliveries::destination::run(&arguments[2..]),
        Some("deliveries") => deliveries::run::run(&arguments[1..]),
        _ => run::run(),
    }
}
