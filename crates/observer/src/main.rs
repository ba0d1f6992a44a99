//! The program: see the library for everything it does.

use std::process::ExitCode;

/// Events are made on one thread and let go on others, which the system's allocator answers with
/// locks and memory that never comes back. How it is tuned stands in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    observer::run(std::env::args_os())
}
