//! Faults of a run.

use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;

use observer_journal::fs::{Fault, Faulty};

/// Plan of the faults of a run, each with the number of the file operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    /// Power cut.
    Cut(u64),
    /// Full disk.
    Full(u64),
    /// I/O error.
    Eio(u64),
    /// I/O error, and a power cut a few operations later.
    EioAndCut(u64),
    /// Kill of the process, and a later power cut.
    Kill(u64),
    /// I/O error, a kill of the process soon after, and a later power cut.
    EioAndKill(u64),
}

impl Plan {
    /// Returns every plan for one operation.
    pub(super) fn all_at(at: u64) -> Vec<Self> {
        vec![
            Self::Cut(at),
            Self::Full(at),
            Self::Eio(at),
            Self::EioAndCut(at),
            Self::Kill(at),
            Self::EioAndKill(at),
        ]
    }

    /// Returns three plans for one operation: a power cut, a kill, and one of the others in turn.
    pub(super) fn some_at(at: u64) -> Vec<Self> {
        let others = [Self::Eio(at), Self::EioAndCut(at), Self::Full(at)];
        let kill = if at.is_multiple_of(4) { Self::Kill(at) } else { Self::EioAndKill(at) };
        vec![Self::Cut(at), kill, others[usize::try_from(at % 3).unwrap()]]
    }

    pub(super) fn schedule(self, disk: &Faulty) {
        match self {
            Self::Nothing => {}
            Self::Cut(at) => disk.fail_at(at, Fault::PowerCut),
            Self::Full(at) => disk.fail_at(at, Fault::Error(ErrorKind::StorageFull)),
            Self::Eio(at) => disk.fail_at(at, Fault::Error(ErrorKind::Other)),
            Self::EioAndCut(at) => {
                disk.fail_at(at, Fault::Error(ErrorKind::Other));
                disk.fail_at(at + 1 + at * 7 % 12, Fault::PowerCut);
            }
            Self::Kill(at) => {
                disk.fail_at(at, Fault::Kill);
                disk.fail_at(at + 15 + at * 11 % 40, Fault::PowerCut);
            }
            Self::EioAndKill(at) => {
                disk.fail_at(at, Fault::Error(ErrorKind::Other));
                let kill = at + 1 + at % 3;
                disk.fail_at(kill, Fault::Kill);
                disk.fail_at(kill + 15 + at * 11 % 40, Fault::PowerCut);
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Cut(at) => write!(f, "cut@{at}"),
            Self::Full(at) => write!(f, "full@{at}"),
            Self::Eio(at) => write!(f, "eio@{at}"),
            Self::EioAndCut(at) => write!(f, "eio+cut@{at}"),
            Self::Kill(at) => write!(f, "kill@{at}"),
            Self::EioAndKill(at) => write!(f, "eio+kill@{at}"),
        }
    }
}

impl FromStr for Plan {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "none" {
            return Ok(Self::Nothing);
        }
        let (fault, at) = text.split_once('@').ok_or(())?;
        let at = at.parse().map_err(|_| ())?;
        match fault {
            "cut" => Ok(Self::Cut(at)),
            "full" => Ok(Self::Full(at)),
            "eio" => Ok(Self::Eio(at)),
            "eio+cut" => Ok(Self::EioAndCut(at)),
            "kill" => Ok(Self::Kill(at)),
            "eio+kill" => Ok(Self::EioAndKill(at)),
            _ => Err(()),
        }
    }
}
