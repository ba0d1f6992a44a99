//! What stands on the disk, and what only seems to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;

/// What a disk writes at once.
const SECTOR: usize = 512;

pub(super) struct Disk {
    pub(super) random: fastrand::Rng,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// How many of them happened.
    pub(super) fault_count: u64,
    /// Nothing can be made longer.
    pub(super) full: bool,
    pub(super) is_off: bool,
    /// It is off for the process alone.
    pub(super) killed: bool,
    /// Which power-on this is; files that were opened in an earlier one are gone.
    pub(super) run: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    /// Not yet durable, in order.
    renamings: Vec<Renaming>,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Not yet durable, in order.
    pub(super) changes: Vec<Change>,
}

pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

pub(super) enum Renaming {
    Make(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What an operation has to do.
pub(super) enum Verdict {
    Go,
    /// Do it, and then all ends.
    LastOne(End),
    Fail(io::Error),
}

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
            full: false,
            is_off: false,
            killed: false,
            run: 0,
            locks: BTreeSet::new(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamings: Vec::new(),
        }
    }

    pub(super) fn judge(&mut self) -> Verdict {
        if self.is_off {
            return Verdict::Fail(gone());
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        self.fault_count += u64::from(fault.is_some());
        match fault {
            None => Verdict::Go,
            Some(Fault::PowerCut) => Verdict::LastOne(End::PowerCut),
            Some(Fault::Kill) => Verdict::LastOne(End::Kill),
            Some(Fault::Error(kind)) => Verdict::Fail(kind.into()),
        }
    }

    pub(super) fn end(&mut self, end: End) {
        match end {
            End::PowerCut => self.cut_power(),
            End::Kill => self.kill(),
        }
    }

    pub(super) fn kill(&mut self) {
        self.killed = true;
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
        // Of each folder's changes, a first part.
        let folders: BTreeSet<PathBuf> =
            self.renamings.iter().map(|renaming| folder(renaming.path()).to_owned()).collect();
        for folder_of in folders {
            let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.renamings)
                .into_iter()
                .partition(|renaming| folder(renaming.path()) == folder_of);
            self.renamings = others;
            let kept = self.random.usize(..=ours.len());
            for renaming in ours.into_iter().take(kept) {
                renaming.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
        for inode in &mut self.inodes {
            inode.forget(&mut self.random);
        }
    }

    pub(super) fn sync_folder(&mut self, dir: &Path) {
        let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.renamings)
            .into_iter()
            .partition(|renaming| folder(renaming.path()) == dir);
        self.renamings = others;
        ours.into_iter().for_each(|renaming| renaming.apply(&mut self.durable_names));
    }

    pub(super) fn rename(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    /// A first part of a write that fails.
    pub(super) fn write_some(&mut self, inode: usize, change: Change) {
        if let Change::Write { offset, mut bytes } = change {
            bytes.truncate(self.random.usize(..=bytes.len()));
            self.inodes[inode].change(Change::Write { offset, bytes });
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Renaming {
    fn path(&self) -> &Path {
        match self {
            Self::Make(path, _) | Self::Rename(_, path) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Make(path, inode) => {
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

    /// Only some of what was not synced has come to the disk.
    fn forget(&mut self, random: &mut fastrand::Rng) {
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
    /// Apply it, of a write only those sectors that are chosen.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>, mut choose: impl FnMut() -> bool) {
        match self {
            Self::Resize(size) => {
                if choose() {
                    bytes.resize(*size, 0);
                }
            }
            Self::Write { offset, bytes: written } => {
                let (mut start, mut rest) = (*offset, &written[..]);
                while !rest.is_empty() {
                    let (sector, others) = rest.split_at(rest.len().min(SECTOR - start % SECTOR));
                    let end = start + sector.len();
                    if choose() {
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

pub(super) fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {} on the disk", path.display()))
}
