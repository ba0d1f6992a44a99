//! Disks that are small enough to be filled.
//!
//! Each is a tmpfs in a mount namespace of its own, which goes away with the process that holds it.
//! A user namespace around it makes that a matter of no rights; root does without where there are
//! none.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{OBSERVER, Observer};

/// How to begin the namespaces, and how to enter them.
const WAYS: [(&[&str], &[&str]); 2] = [
    (&["--user", "--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"]),
    (&["--mount"], &["--mount"]),
];
/// `$0` is a size, what follows are folders: `0 folder size folder size …`.
const MOUNT: &str = r#"while [ $# -gt 0 ]; do mkdir -p "$1" && mount -t tmpfs -o size="$2" tmpfs "$1" || exit; shift 2; done; echo; exec cat"#;
const BALLAST: &str = "ballast";

/// A folder with a small disk in each of some folders below it.
pub(crate) struct SmallDisks {
    /// Ends when its standard input does, so with this process at the latest.
    holder: Child,
    enter: &'static [&'static str],
    dir: tempfile::TempDir,
    seen: PathBuf,
}

impl SmallDisks {
    /// Folders and how large their disks are, in MiB. `None` where the system lets no one have
    /// them; with `OBSERVER_TEST_TOOLS=required` it has to.
    pub(crate) fn mount(disks: &[(&str, u32)]) -> Option<Self> {
        let mut why = String::new();
        for (begin, enter) in WAYS {
            match Self::mount_by(begin, enter, disks) {
                Ok(disks) => return Some(disks),
                Err(error) => why = error.to_string(),
            }
        }
        assert!(
            std::env::var_os("OBSERVER_TEST_TOOLS").is_none(),
            "small disks are needed here: {why}"
        );
        eprintln!("SKIPPED: no small disk can be had: {why}");
        None
    }

    fn mount_by(
        begin: &[&str],
        enter: &'static [&'static str],
        disks: &[(&str, u32)],
    ) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("unshare");
        command.args(begin).args(["sh", "-c", MOUNT, "sh"]).current_dir(&dir);
        for (name, size) in disks {
            command.args([(*name).to_owned(), format!("{size}m")]);
        }
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut ready)?;
        if ready.is_empty() {
            let output = holder.wait_with_output()?;
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let seen = root.join(dir.path().strip_prefix("/").map_err(io::Error::other)?);
        fs::read_dir(&seen)?;
        Ok(Self { holder, enter, dir, seen })
    }

    /// Where something below the folder is for this process.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.seen.join(path)
    }

    /// The observer, in the folder.
    pub(crate) fn start(&self, config: &str) -> Observer {
        Observer::launch(self.dir.path(), config, self.command(), &[])
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string()]).args(self.enter);
        // The working folder is another one inside.
        command.args(["sh", "-c", r#"cd "$0" && exec "$@""#]).arg(self.dir.path()).arg(OBSERVER);
        command
    }

    /// Put something large onto a disk.
    pub(crate) fn add_ballast(&self, disk: &str, bytes: usize) {
        fs::write(self.path(disk).join(BALLAST), vec![1; bytes]).unwrap();
    }

    /// Leave no space at all on a disk.
    pub(crate) fn fill(&self, disk: &str) {
        fill(&self.path(disk)).unwrap();
    }

    /// Away with what was put there to fill it.
    pub(crate) fn remove_ballast(&self, disk: &str) {
        fs::remove_file(self.path(disk).join(BALLAST)).unwrap();
    }
}

fn fill(disk: &Path) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(disk.join(BALLAST))?;
    let mut chunk = vec![1; 64 << 10];
    while !chunk.is_empty() {
        match file.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                chunk.truncate(chunk.len() / 2)
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
