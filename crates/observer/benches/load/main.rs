//! Load benchmarks of the observer as a process:
//! `cargo bench -p outcome-observer --bench load [-- SCENARIO] [--seconds N] [--rounds N]`.
//!
//! - `singles`: single events at 64 and 256 connections, with the durabilities `fsync` and `write`,
//!   compared with a no-op handler.
//! - `batches`: batches of 1,000 events, compared with a no-op handler.
//! - `isolation`: effect of a sink that hangs, fails or is slow on producers and on other sinks.
//! - `backlog`: memory and start-up time with a backlog of `--gb N` gigabytes.
//! - `streams`: effect of `--readers N` on producers of events or batches (`--batch N`).
//! - `soak`: memory, descriptors and threads during `--minutes N` of mixed load.
//!
//! Without SCENARIO the first three run. The load generator and the observer share the machine, so
//! only the ratios within one run are meaningful.

mod backlog;
mod batches;
mod client;
mod isolation;
mod server;
mod singles;
mod soak;
mod streams;
mod wrk;

use std::path::Path;

use anyhow::{Context, bail};

/// The allocator of the observer itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Command-line arguments after the name of the program.
#[derive(Debug)]
struct Arguments(Vec<String>);

impl Arguments {
    /// Returns the number after an option, or a default.
    fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        match self.0.iter().position(|argument| argument == name) {
            None => Ok(default),
            Some(at) => {
                Ok(self.0.get(at + 1).with_context(|| format!("{name} needs a number"))?.parse()?)
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments =
        Arguments(std::env::args().skip(1).filter(|argument| argument != "--bench").collect());
    let words: Vec<_> = arguments.0.iter().map(String::as_str).collect();
    match words[..] {
        [server::NO_OP] => server::serve_no_op(),
        [isolation::SERVE, health, folder] => isolation::serve(health, Path::new(folder)),
        [streams::LOOP] => streams::run_loop(),
        [streams::READ, address, count] => streams::read_all(address, count),
        ["singles", ..] => singles::run(&arguments),
        ["batches", ..] => batches::run(&arguments),
        ["isolation", ..] => isolation::run(&arguments),
        ["backlog", ..] => backlog::run(&arguments),
        ["streams", ..] => streams::run(&arguments),
        ["soak", ..] => soak::run(&arguments),
        [scenario, ..] if !scenario.starts_with("--") => {
            bail!(
                "unknown scenario {scenario:?}; use singles, batches, isolation, backlog, streams \
                 or soak"
            )
        }
        _ => {
            singles::run(&arguments)?;
            batches::run(&arguments)?;
            isolation::run(&arguments)
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Creates a temporary folder in the target folder, on the disk of the build.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}
