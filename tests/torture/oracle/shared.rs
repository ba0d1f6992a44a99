//! Folder of two file sinks whose paths can name the same file: `copy` writes all events to
//! `bot.jsonl`, and `sources` those of each source to `{source}.jsonl`. Both want `bot.jsonl`, and
//! both compress and delete closed files. Which of them wrote a file doesn't show in its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::oracle::event::{SOURCES, source_of};
use crate::oracle::foreign::ForeignFiles;

/// Source whose file is also the path of `copy`.
const CONTESTED: &str = SOURCES[0];
/// Number of recent events whose files stay for the next check.
const KEPT: u64 = 1000;

/// Events that were found in the folder.
#[derive(Debug)]
pub(crate) struct SharedFolder {
    dir: PathBuf,
    /// Sequence number up to which files were checked and removed.
    floor: u64,
}

/// File of one of the two sinks.
struct FileOf {
    path: PathBuf,
    source: &'static str,
    bytes: u64,
    lines: Vec<Line>,
}

struct Line {
    seq: u64,
    source: &'static str,
}

/// Occurrences of an event.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    source: Option<&'static str>,
    in_contested: u32,
    in_own: u32,
}

impl SharedFolder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), floor: 0 }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the highest number of a closed file of a source.
    pub(crate) fn last_number(&self, source: &str) -> Result<u64, String> {
        let names = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.map_while(Result::ok).map(|entry| entry.file_name()),
            // No event was written yet.
            Err(_) => return Ok(0),
        };
        let numbers = names.filter_map(|name| {
            let name = name.to_str()?;
            is_named(name, source).then(|| name[source.len()..].split('.').nth(1)?.parse().ok())?
        });
        Ok(numbers.max().unwrap_or(0))
    }

    /// Checks the files, while nothing is written, and removes old compressed ones. `read` checks
    /// one line and returns its sequence number; `head` is the last one. Returns the number of
    /// lines, and the size of the files that only `sources` can have written.
    pub(crate) fn check(
        &mut self,
        head: u64,
        foreign: &ForeignFiles,
        read: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<(u64, u64), String> {
        let files = self.files(foreign, read)?;
        let mut found: BTreeMap<u64, Found> = BTreeMap::new();
        for file in &files {
            check_order(file)?;
            for line in file.lines.iter().filter(|line| line.seq > self.floor) {
                let found = found.entry(line.seq).or_default();
                found.source = Some(line.source);
                if file.source == CONTESTED {
                    found.in_contested += 1;
                } else {
                    found.in_own += 1;
                }
            }
        }
        check_counts(self.floor, head, &found)?;
        let newest = newest_by_source(&found);
        for (source, (seq, newest)) in &newest {
            if !newest.is_with_sources(source) {
                return Err(format!("sources: seq {seq} is the newest of {source} but is missing"));
            }
        }
        let lines = files.iter().map(|file| file.lines.len() as u64).sum();
        let own = files.iter().filter(|file| file.source != CONTESTED);
        let bytes = own.map(|file| file.bytes).sum();
        self.remove_old(head, files)?;
        Ok((lines, bytes))
    }

    /// Removes compressed files without recent events, since the small disk has no space for all.
    fn remove_old(&mut self, head: u64, files: Vec<FileOf>) -> Result<(), String> {
        let floor = head.saturating_sub(KEPT);
        for file in files {
            let is_packed = file.path.extension().is_some_and(|extension| extension == "gz");
            if is_packed && file.lines.last().is_none_or(|last| last.seq <= floor) {
                match std::fs::remove_file(&file.path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(format!("{}: {error}", file.path.display()));
                    }
                    _ => {}
                }
            }
        }
        self.floor = floor.max(self.floor);
        Ok(())
    }

    fn files(
        &self,
        foreign: &ForeignFiles,
        read: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Vec<FileOf>, String> {
        let fail = |error: io::Error| format!("{}: {error}", self.dir.display());
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Unfinished compressed files begin with a dot.
            if foreign.contains(&path) || name.starts_with('.') {
                continue;
            }
            let source = SOURCES.into_iter().find(|source| is_named(&name, source));
            let source = source.ok_or_else(|| format!("no sink writes {}", path.display()))?;
            // While a file is compressed there are two of it.
            let plain = name.strip_suffix(".gz").unwrap_or(&name).to_owned();
            let packed = self.dir.join(format!("{plain}.gz"));
            let plain = self.dir.join(plain);
            names.insert(plain.clone(), (plain, packed, source));
        }
        let mut files = Vec::new();
        for (plain, packed, source) in names.into_values() {
            let paths = [&plain, &packed].map(|path| (!foreign.contains(path)).then_some(path));
            let Some((path, bytes, text)) = read_either(paths)? else { continue };
            let lines = text.lines().map(|line| {
                let source = source_of(line).ok_or("it has a line without a source")?;
                Ok(Line { seq: read(line)?, source })
            });
            let lines = lines
                .collect::<Result<_, String>>()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            files.push(FileOf { path, source, bytes, lines });
        }
        Ok(files)
    }
}

/// Returns whether a file of this name is that of a source.
fn is_named(name: &str, source: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let Some(number) = name.strip_prefix(source).and_then(|rest| rest.strip_suffix(".jsonl"))
    else {
        return false;
    };
    number.is_empty()
        || number.strip_prefix('.').is_some_and(|digits| {
            digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Reads a file, which may be compressed or deleted meanwhile. Returns its path, its size on disk
/// and its text.
fn read_either(paths: [Option<&PathBuf>; 2]) -> Result<Option<(PathBuf, u64, String)>, String> {
    let [plain, packed] = paths;
    for path in [plain, packed, plain].into_iter().flatten() {
        let (mut bytes, mut text) = (Vec::new(), String::new());
        let read = File::open(path).and_then(|mut file| {
            file.read_to_end(&mut bytes)?;
            if Some(path) == packed {
                GzDecoder::new(&*bytes).read_to_string(&mut text)
            } else {
                (&*bytes).read_to_string(&mut text)
            }
        });
        match read {
            Ok(_) if !text.is_empty() && !text.ends_with('\n') => {
                return Err(format!("{} ends in the middle of a line", path.display()));
            }
            Ok(_) => return Ok(Some((path.clone(), bytes.len() as u64, text))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(None)
}

/// Checks that the lines of a file are in order and belong into it.
fn check_order(file: &FileOf) -> Result<(), String> {
    let path = file.path.display();
    for pair in file.lines.windows(2) {
        if pair[1].seq <= pair[0].seq {
            return Err(format!("{path}: seq {} follows seq {}", pair[1].seq, pair[0].seq));
        }
    }
    let odd = file.lines.iter().find(|line| file.source != CONTESTED && line.source != file.source);
    odd.map_or(Ok(()), |line| {
        Err(format!("{path}: seq {} is an event of the source {}", line.seq, line.source))
    })
}

/// Checks that `copy` has each event once, and `sources` at most once.
fn check_counts(floor: u64, head: u64, found: &BTreeMap<u64, Found>) -> Result<(), String> {
    if let Some((seq, _)) = found.range(head + 1..).next() {
        return Err(format!("shared: seq {seq} is not in the archive, which ends at {head}"));
    }
    for seq in floor + 1..=head {
        let found = found.get(&seq).copied().unwrap_or_default();
        let of_contested = found.source == Some(CONTESTED);
        let (copies, allowed) = (found.in_contested, if of_contested { 2 } else { 1 });
        if copies == 0 {
            return Err(format!("copy: seq {seq} is missing"));
        }
        if copies > allowed || found.in_own > 1 {
            return Err(format!("shared: seq {seq} is repeated: {found:?}"));
        }
    }
    Ok(())
}

fn newest_by_source(found: &BTreeMap<u64, Found>) -> BTreeMap<&'static str, (u64, Found)> {
    let known = found.iter().filter_map(|(seq, found)| Some((found.source?, (*seq, *found))));
    known.collect()
}

impl Found {
    /// Returns whether the files of `sources` have the event.
    fn is_with_sources(&self, source: &str) -> bool {
        if source == CONTESTED { self.in_contested == 2 } else { self.in_own == 1 }
    }
}
