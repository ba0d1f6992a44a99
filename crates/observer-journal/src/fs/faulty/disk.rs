//! State of the simulated disk: durable content, and changes that are not synced yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;

/// Number of bytes that the disk writes atomically.
const SECTOR: usize = 512;

pub(super) struct Disk {
    pub(super) random: fastrand::Rng,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// Number of faults that occurred.
    pub(super) fault_count: u64,
    /// Files can't grow.
    pub(super) is_full: bool,
    pub(super) is_off: bool,
    /// The process is killed, but the power is not cut.
    pub(super) is_killed: bool,
    /// Number of restarts. Handles and locks of an earlier run are invalid.
    pub(super) run: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    /// Unsynced changes to names, in order.
    name_changes: Vec<NameChange>,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Unsynced changes to the content, in order.
    pub(super) changes: Vec<Change>,
}

pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

pub(super) enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Instruction for one operation, which follows from the injected faults.
pub(super) enum Directive {
    Proceed,
    ProceedThenEnd(End),
    Fail(io::Error),
}

/// End of a run.
#[derive(Clone, Copy)]
pub(super) enum End {
    PowerCut,
    Kill,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            operations: 0,
            faults: BTreeMap::new(),
            fault_count: 0,
            is_full: false,
            is_off: false,
            is_killed: false,
            run: 0,
            locks: BTreeSet::new(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
        }
    }

    /// Counts an operation and returns what it has to do.
    pub(super) fn next_directive(&mut self) -> Directive {
        if self.is_off {
            return Directive::Fail(powered_off());
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        self.fault_count += u64::from(fault.is_some());
        match fault {
            None => Directive::Proceed,
            Some(Fault::PowerCut) => Directive::ProceedThenEnd(End::PowerCut),
            Some(Fault::Kill) => Directive::ProceedThenEnd(End::Kill),
            Some(Fault::Error(kind)) => Directive::Fail(kind.into()),
        }
    }

    pub(super) fn end(&mut self, end: End) {
        match end {
            End::PowerCut => self.cut_power(),
            End::Kill => self.kill(),
        }
    }

    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        self.is_off = true;
        self.run += 1;
        self.locks.clear();
    }

    pub(super) fn cut_power(&mut self) {
        if self.is_off {
            return;
        }
        self.is_off = true;
        self.run += 1;
        self.locks.clear();
        // A prefix of the changes to each folder survives.
        let folders: BTreeSet<PathBuf> =
            self.name_changes.iter().map(|change| folder(change.path()).to_owned()).collect();
        for folder_of in folders {
            let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.name_changes)
                .into_iter()
                .partition(|change| folder(change.path()) == folder_of);
            self.name_changes = others;
            let kept = self.random.usize(..=ours.len());
            for change in ours.into_iter().take(kept) {
                change.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
        for inode in &mut self.inodes {
            inode.lose_unsynced(&mut self.random);
        }
    }

    pub(super) fn sync_folder(&mut self, dir: &Path) {
        let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.name_changes)
            .into_iter()
            .partition(|change| folder(change.path()) == dir);
        self.name_changes = others;
        ours.into_iter().for_each(|change| change.apply(&mut self.durable_names));
    }

    pub(super) fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    /// Applies a prefix of a write that fails.
    pub(super) fn write_prefix(&mut self, inode: usize, change: Change) {
        if let Change::Write { offset, mut bytes } = change {
            bytes.truncate(self.random.usize(..=bytes.len()));
            self.inodes[inode].change(Change::Write { offset, bytes });
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(_, path) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Inode {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes, || true);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        changes.into_iter().for_each(|change| change.apply(&mut self.durable, || true));
    }

    /// Makes a part of the unsynced changes durable, and drops the others.
    fn lose_unsynced(&mut self, random: &mut fastrand::Rng) {
        for change in self.changes.drain(..) {
            match random.u8(..3) {
                0 => {}
                1 => change.apply(&mut self.durable, || true),
                _ => change.apply(&mut self.durable, || random.bool()),
            }
        }
        self.bytes.clone_from(&self.durable);
    }
}

impl Change {
    /// Applies the change to `bytes`: a write sector by sector, where `is_applied` returns true.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>, mut is_applied: impl FnMut() -> bool) {
        match self {
            Self::Resize(size) => {
                if is_applied() {
                    bytes.resize(*size, 0);
                }
            }
            Self::Write { offset, bytes: written } => {
                let (mut start, mut rest) = (*offset, &written[..]);
                while !rest.is_empty() {
                    let (sector, others) = rest.split_at(rest.len().min(SECTOR - start % SECTOR));
                    let end = start + sector.len();
                    if is_applied() {
                        if bytes.len() < end {
                            bytes.resize(end, 0);
                        }
                        bytes[start..end].copy_from_slice(sector);
                    }
                    (start, rest) = (end, others);
                }
            }
        }
    }
}

pub(super) fn powered_off() -> io::Error {
    io::Error::other("the disk is powered off")
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {} on the disk", path.display()))
}
