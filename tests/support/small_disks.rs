//! Disks that are small enough to be filled.
//!
//! Each one is a tmpfs in a separate mount namespace, which ends with the process that holds it.
//! A user namespace around it makes privileges unnecessary. Where user namespaces are not
//! available, root mounts without one.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::support::{OBSERVER, Observer};

/// Arguments of `unshare` that create the namespaces, and of `nsenter` that enter them.
const NAMESPACES: [(&[&str], &[&str]); 2] = [
    (&["--user", "--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"]),
    (&["--mount"], &["--mount"]),
];
/// Script that mounts a tmpfs for each pair of arguments, a folder and its size, then reports by an
/// empty line and waits.
const MOUNT: &str = r#"
while [ $# -gt 0 ]; do
    mkdir -p "$1" && mount -t tmpfs -o size="$2" tmpfs "$1" || exit
    shift 2
done
echo
exec cat
"#;
const BALLAST: &str = "ballast";

/// Folder in which some subfolders are small disks.
pub(crate) struct SmallDisks {
    /// Process that holds the namespace. It ends with its standard input, thus with the test.
    holder: Child,
    enter: &'static [&'static str],
    dir: tempfile::TempDir,
    /// Path of the folder from outside the namespace.
    outside: PathBuf,
}

impl SmallDisks {
    /// Mounts a disk for each folder, with its size in MiB. Returns `None` if the system doesn't
    /// permit it.
    ///
    /// # Panics
    ///
    /// If the system doesn't permit it and `OBSERVER_TEST_TOOLS` is set.
    pub(crate) fn mount(disks: &[(&str, u32)]) -> Option<Self> {
        let mut reason = String::new();
        for (create, enter) in NAMESPACES {
            match Self::mount_in(create, enter, disks) {
                Ok(disks) => return Some(disks),
                Err(error) => reason = error.to_string(),
            }
        }
        assert!(
            std::env::var_os("OBSERVER_TEST_TOOLS").is_none(),
            "small disks are required here: {reason}"
        );
        eprintln!("SKIPPED: small disks can't be mounted: {reason}");
        None
    }

    fn mount_in(
        create: &[&str],
        enter: &'static [&'static str],
        disks: &[(&str, u32)],
    ) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("unshare");
        command.args(create).args(["sh", "-c", MOUNT, "sh"]).current_dir(&dir);
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
        let outside = root.join(dir.path().strip_prefix("/").map_err(io::Error::other)?);
        fs::read_dir(&outside)?;
        Ok(Self { holder, enter, dir, outside })
    }

    /// Returns the path of something below the folder, as this process reaches it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.outside.join(path)
    }

    /// Starts an observer in the folder.
    pub(crate) fn start(&self, config: &str) -> Observer {
        Observer::launch(self.dir.path(), config, self.command(), &[])
    }

    /// Runs a command of the program in the folder.
    pub(crate) fn run(&self, line: &str) -> Output {
        let mut command = self.command();
        command.args(line.split(' ')).env_remove("LH_OBSERVER_URL").env("TZ", "UTC");
        command.env("OBSERVER_LOG", "warn").output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string()]).args(self.enter);
        // `nsenter` keeps the working folder of the outer namespace.
        command.args(["sh", "-c", r#"cd "$0" && exec "$@""#]).arg(self.dir.path()).arg(OBSERVER);
        command
    }

    /// Writes a ballast file to a disk.
    pub(crate) fn add_ballast(&self, disk: &str, bytes: usize) {
        fs::write(self.path(disk).join(BALLAST), vec![1; bytes]).unwrap();
    }

    /// Extends the ballast file of a disk until no space is left.
    pub(crate) fn fill(&self, disk: &str) {
        fill(&self.path(disk)).unwrap();
    }

    /// Removes the ballast file of a disk.
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
                chunk.truncate(chunk.len() / 2);
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
