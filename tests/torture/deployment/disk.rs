//! A small disk that can be filled: a tmpfs in a mount namespace of this program, which the kernel
//! removes when the program ends.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Environment variable of the program that runs within the namespace.
const WITHIN: &str = "OBSERVER_TORTURE_NAMESPACE";

#[derive(Debug)]
pub(crate) struct SmallDisk {
    dir: PathBuf,
    full: AtomicBool,
}

/// Executes this program again in a mount namespace, for an ordinary user by means of a user
/// namespace. Returns if the program already runs in one or if that is not permitted.
pub(crate) fn enter_namespace() {
    if std::env::var_os(WITHIN).is_some() {
        return;
    }
    for options in [&["--user", "--map-root-user", "--mount"][..], &["--mount"]] {
        let works =
            Command::new("unshare").args(options).arg("true").stderr(Stdio::null()).status();
        let Ok(program) = std::env::current_exe() else { return };
        if works.is_ok_and(|status| status.success()) {
            let error = Command::new("unshare")
                .args(options)
                .arg(program)
                .args(std::env::args_os().skip(1))
                .env(WITHIN, "1")
                .exec();
            eprintln!("unshare: {error}");
            return;
        }
    }
}

/// Unmounts the small disk, if there is one, so that its folder can be deleted.
pub(crate) fn unmount(dir: &Path) {
    let _ = Command::new("umount").arg(dir).stderr(Stdio::null()).status();
}

impl SmallDisk {
    /// Mounts a disk; `None` outside a mount namespace.
    pub(crate) fn mount(dir: &Path, size: &str) -> Result<Option<Self>, String> {
        std::env::var_os(WITHIN).map(|_| Self::mount_within(dir, size)).transpose()
    }

    fn mount_within(dir: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "torture"])
            .arg(dir)
            .status();
        match mounted {
            Ok(status) if status.success() => {
                Ok(Self { dir: dir.to_owned(), full: AtomicBool::new(false) })
            }
            Ok(status) => Err(format!("mount: {status}")),
            Err(error) => Err(format!("mount: {error}")),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// Fills the disk, and repeats that for `duration`, since the observer may free space.
    pub(crate) async fn fill(&self, duration: Duration) -> Result<(), String> {
        self.full.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let fill = async {
            let mut ballast = File::create(self.ballast())?;
            while begun.elapsed() < duration {
                for size in [256 << 10, 4096, 1] {
                    let bytes = vec![0; size];
                    let error = loop {
                        if let Err(error) = ballast.write_all(&bytes) {
                            break error;
                        }
                    };
                    if error.kind() != ErrorKind::StorageFull {
                        return Err(error);
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        fill.await.map_err(|error| format!("can't fill the disk: {error}"))
    }

    /// Frees the space again.
    pub(crate) fn free(&self) -> Result<(), String> {
        let freed = std::fs::remove_file(self.ballast())
            .map_err(|error| format!("can't free the disk: {error}"));
        self.full.store(false, Ordering::SeqCst);
        freed
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}
