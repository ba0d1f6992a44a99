//! The program: see the library for everything it does.

use std::process::ExitCode;

/// Events are made on one thread and let go on others, which the system's allocator answers with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    observer::run(std::env::args_os())
}
