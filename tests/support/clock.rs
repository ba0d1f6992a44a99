//! A wall clock of an observer that a test can set.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Observer, is_installed};

/// Wall clock that differs from that of the system.
pub(crate) struct Clock {
    _dir: tempfile::TempDir,
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Creates a clock with the time of the system; `None` where that is not possible.
    pub(crate) fn new() -> Option<Self> {
        if !cfg!(target_os = "linux") || !is_installed("cc") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (library, offset) = (dir.path().join("clock.so"), dir.path().join("offset"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/clock.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .unwrap();
        assert!(compiled.success());
        let clock = Self { _dir: dir, library, offset };
        clock.set(0);
        Some(clock)
    }

    /// Sets the difference to the clock of the system, in seconds.
    pub(crate) fn set(&self, offset: i64) {
        use std::io::Write;
        let mut options = std::fs::File::options();
        // The file is mapped, so it must never be empty.
        let mut file = options.write(true).create(true).truncate(false).open(&self.offset).unwrap();
        file.write_all(&offset.to_ne_bytes()).unwrap();
    }

    /// Starts an observer with this clock.
    pub(crate) fn start(&self, dir: &Path, config: &str) -> Observer {
        let environment = [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("TEST_CLOCK_OFFSET", self.offset.to_str().unwrap()),
        ];
        Observer::start_with(dir, config, &[], &environment)
    }
}
