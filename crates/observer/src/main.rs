//! The program `observer`. The library holds the implementation.

use std::process::ExitCode;

/// Events are allocated on one thread and freed on others. With the allocator of the system this
/// causes lock contention and fragmentation. `.cargo/config.toml` holds the tuning.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    observer::run(std::env::args_os())
}
