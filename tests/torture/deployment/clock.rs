//! Wall clock of an observer under test: that of the system plus an offset, which this program
//! sets.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use observer_core::Timestamp;

/// Runs an observer whose wall clock is `offset` seconds ahead. Each line on standard input is
/// another offset. The process ends when standard input does, which is when the program that
/// started it ends.
pub(crate) fn observe(offset: &str, arguments: Vec<String>) -> ExitCode {
    let Ok(offset) = offset.parse() else {
        eprintln!("the offset of the clock is not a number: {offset}");
        return ExitCode::FAILURE;
    };
    let offset = Arc::new(AtomicI64::new(offset));
    let set = offset.clone();
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if let Ok(seconds) = line.parse() {
                set.store(seconds, Ordering::SeqCst);
            }
        }
        std::process::exit(1);
    });
    observer::run_with(arguments, move |metrics| {
        let offset = offset.clone();
        observer::registry::with_defaults_at(metrics, move || {
            let now = Timestamp::now().as_microsecond();
            let offset = offset.load(Ordering::SeqCst).saturating_mul(1_000_000);
            Timestamp::from_microsecond(now.saturating_add(offset)).unwrap_or(Timestamp::MAX)
        })
    })
}
