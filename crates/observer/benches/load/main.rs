//! What the observer costs, and what it gives:
//! `cargo bench -p outcome-observer --bench load [-- WHAT] [--seconds N] [--rounds N]`.
//!
//! | what | |
//! |---|---|
//! | `singles` | single events at 64 and 256 connections, with `fsync` and `write`, beside a no-op handler |
//! | `batches` | batches of 1,000 events, beside a no-op handler |
//! | `isolation` | what a third sink that hangs, fails or is slow does to producers and to the other sinks |
//! | `backlog` | memory and opening times with `--gb N` of events that one sink has not had |
//! | `soak` | memory and descriptors during `--minutes N` of mixed load |
//!
//! Without WHAT it is the first three. The driver and all it starts share the machine, so what
//! counts are the ratios within one run.

mod backlog;
mod batches;
mod client;
mod isolation;
mod server;
mod singles;
mod soak;
mod wrk;

use std::path::Path;

use anyhow::{Context, bail};

/// As in the observer itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What stands behind the name of the program.
#[derive(Debug)]
struct Arguments(Vec<String>);

impl Arguments {
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
        [server::NOTHING] => server::serve_nothing(),
        [isolation::SERVE, health, folder] => isolation::serve(health, Path::new(folder)),
        ["singles", ..] => singles::run(&arguments),
        ["batches", ..] => batches::run(&arguments),
        ["isolation", ..] => isolation::run(&arguments),
        ["backlog", ..] => backlog::run(&arguments),
        ["soak", ..] => soak::run(&arguments),
        [what, ..] if !what.starts_with("--") => {
            bail!("{what:?} is none of singles, batches, isolation, backlog and soak")
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

/// Beside the binaries, so on the disk that is built on.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}
