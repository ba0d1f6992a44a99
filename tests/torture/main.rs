//! Everything that goes wrong in production, at once, to real processes; and an oracle that looks
//! whether the observer's promises hold.
//!
//! ```sh
//! cargo run --release -p outcome-observer --example torture -- --for 1h
//! ```
//!
//! There are two observers, one on the disk, one on a disk that is small and full again and again.
//! Both have an archive, metrics and two receivers, one of which refuses some events for good.
//! Producers send each event until it is acknowledged. Meanwhile observers and receivers are
//! killed, stopped and ended, and receivers hang, fail and cut off their answers. The script of all
//! that follows from the seed; when what comes of it falls together, doesn't.

mod checks;
mod deployment;
mod faults;
mod oracle;
mod producer;
mod receiver;
mod run;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("observe") => {
            deployment::process::end_with_parent();
            observer::run(arguments[1..].to_vec())
        }
        Some("command") => observer::run(arguments[1..].to_vec()),
        Some("receive") => receiver::receive(&arguments[2..]),
        _ => run::run(),
    }
}
