//! Opening and creation of active files beside the files of others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{ActiveFiles, warn_of_change};
use crate::compression::Compression;
use crate::disk::{Identity, create_folders, parent};
use crate::error::FileError;
use crate::ledger::ownership::{Ownership, look, ownership};
use crate::ledger::{Entry, Kind, Ledger};
use crate::names::series;
use crate::names::template::{Days, Piece};
use crate::sync::lock;
use crate::writer::open_file::OpenFile;

impl ActiveFiles {
    /// Returns the path of the active file of a source. A producer chooses the source, so that its
    /// folder may have the name of another sink's file; then it gets another name.
    pub(crate) fn path_of(&self, days: Days, source: &str) -> PathBuf {
        let template = &self.settings.template;
        let path = template.render(days, source);
        if !template.has_source_in_folders() || self.open.contains_key(&path) {
            return path;
        }
        let Some(obstacle) = self.obstacle(&path) else { return path };
        let apart = template.render_apart(days, source);
        if self.obstacle(&apart).is_some() {
            return path;
        }
        if !self.open.contains_key(&apart) {
            tracing::warn!(
                obstacle = %obstacle.display(),
                file = %apart.display(),
                "a link or file has the name of a source's folder; continuing in another folder"
            );
        }
        apart
    }

    /// Returns what has the name of a folder with the source and is no folder.
    fn obstacle(&self, path: &Path) -> Option<PathBuf> {
        let template = &self.settings.template;
        let mut current = template.base().to_owned();
        let names = path.strip_prefix(&current).expect("a rendered path starts with the base");
        let levels = template.components();
        for (name, pieces) in names.components().zip(&levels[..levels.len() - 1]) {
            current.push(name);
            let metadata = fs::symlink_metadata(&current).ok()?;
            if !metadata.is_dir() {
                return pieces.contains(&Piece::Source).then_some(current);
            }
        }
        None
    }

    /// Opens the open file of a series, or creates one.
    pub(super) fn open_file(&mut self, path: &Path) -> Result<OpenFile, FileError> {
        self.create_parents(path)?;
        let known = {
            let ledger = lock(&self.ledger);
            let active = ledger.key(path);
            let at = |key: &str| if key == active { path.to_owned() } else { ledger.path(key) };
            let keys = ledger.open_in_series(&active);
            keys.into_iter()
                .filter_map(|key| Some((at(&key), *ledger.get(&key)?, key)))
                .collect::<Vec<_>>()
        };
        for (path, entry, key) in known {
            let seen = look(&path, Some(&entry), None).map_err(FileError::io("read", &path))?;
            let expected = self.lengths.remove(&path);
            let found = seen.map_or(0, |seen| seen.len);
            let is_as_left = found == 0 || expected.is_none_or(|expected| expected == found);
            match (ownership(Some(&entry), seen.as_ref()), expected) {
                (Ownership::Own, _) if is_as_left => return self.reopen(&path, entry.newest),
                (Ownership::Missing, _) => {}
                (_, Some(expected)) => warn_of_change(&path, expected, found),
                (_, None) => tracing::warn!(
                    file = %path.display(),
                    "another file has taken the name of an open file; it is left alone"
                ),
            }
            lock(&self.ledger).remove(&key);
        }
        self.create(path)
    }

    fn reopen(&mut self, path: &Path, newest: i64) -> Result<OpenFile, FileError> {
        let (mut file, last) = OpenFile::append_to(path)?;
        if self.evicted.remove(path) {
            file.mark_unsynced();
        }
        let received = last.map(|line| line.received_at.as_second());
        file.window = received.and_then(|received| self.window(received));
        // The last line may be newer than the entry, by a clock that may have been wrong.
        file.newest = newest.max(received.unwrap_or(0).min(self.trusted));
        Ok(file)
    }

    /// Creates the file at a path, or a numbered one if the path belongs to another file or to a
    /// compressed one.
    fn create(&mut self, path: &Path) -> Result<OpenFile, FileError> {
        // Until it is recorded, another sink could take the new file for one that nobody owns.
        let siblings = self.surroundings.sinks.clone();
        let _creating = siblings.begin_creation();
        let mut target = path.to_owned();
        let created = loop {
            let created = if is_packed(&target) {
                Err(io::ErrorKind::AlreadyExists.into())
            } else {
                self.settings.access.create_file(&target)
            };
            match created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if target == path
                        && let Some(file) = self.adopt_empty(path)
                    {
                        break file;
                    }
                    warn_of_obstacle(&target);
                    target = self.next_name(path, &target)?;
                }
                created => break created.map_err(FileError::io("create", &target))?,
            }
        };
        self.folders.insert(parent(path).to_owned());
        let file = OpenFile::created(created, &target)?;
        let mut ledger = lock(&self.ledger);
        let key = ledger.key(&target);
        ledger.put(&key, file.entry(Kind::Open));
        // A line in a file without a record would count as that of a stranger after a crash.
        if let Err(error) = ledger.write() {
            ledger.remove(&key);
            let _ = fs::remove_file(&target);
            return Err(error);
        }
        Ok(file)
    }

    /// Opens an empty file that no sink owns: a crash left it before it was recorded, or another
    /// program created it for the sink.
    fn adopt_empty(&self, path: &Path) -> Option<File> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let is_recorded = {
            let ledger = lock(&self.ledger);
            ledger.get(&ledger.key(path)).is_some()
        };
        if !metadata.is_file() || metadata.len() > 0 || is_packed(path) || is_recorded {
            return None;
        }
        let mut peers = self.surroundings.peers().into_iter().filter_map(|peer| peer.ledger());
        // The path of a peer may be spelled differently, or lead there by a link to a folder.
        let identity = Identity::of(&metadata);
        let owns = |peer: &Ledger| {
            let is_it = |entry: &Entry| entry.kind != Kind::Gone && entry.identity == identity;
            peer.get(&peer.key(path)).is_some() || peer.files().any(|(_, entry)| is_it(entry))
        };
        if peers.any(|peer| owns(&peer)) {
            return None;
        }
        let file = File::options().read(true).append(true).open(path).ok()?;
        let opened = file.metadata().ok()?;
        let is_same = Identity::of(&opened) == identity && opened.len() == 0;
        is_same.then(|| {
            tracing::info!(file = %path.display(), "adopted an empty file that no sink owns");
            file
        })
    }

    /// Returns the name with the number after those of a series and after a name that is taken.
    fn next_name(&self, path: &Path, taken: &Path) -> Result<PathBuf, FileError> {
        let extension = self.settings.template.extension();
        let after = series::number_of(&taken.to_string_lossy(), extension);
        let number = self.next_number(path)?.max(after.map_or(0, |(_, number)| number + 1));
        Ok(series::rotated(path, extension, number))
    }

    /// Creates the folders of a path. Those that contain a placeholder must not be links, which
    /// could lead out of the base.
    fn create_parents(&mut self, path: &Path) -> Result<(), FileError> {
        let template = &self.settings.template;
        let mut current = template.base().to_owned();
        self.folders.extend(create_folders(&current, &self.settings.access)?);
        let names = path.strip_prefix(&current).expect("a rendered path starts with the base");
        let levels = template.components();
        for (name, pieces) in names.components().zip(&levels[..levels.len() - 1]) {
            current.push(name);
            let Ok(metadata) = fs::symlink_metadata(&current) else {
                let created = self.settings.access.create_folder(&current);
                created.map_err(FileError::io("create the folder", &current))?;
                self.folders.insert(parent(&current).to_owned());
                continue;
            };
            let is_fixed = pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)));
            if !(metadata.is_dir() || is_fixed && current.is_dir()) {
                return Err(FileError::NoFolder { path: current });
            }
        }
        Ok(())
    }
}

/// Returns whether a compressed file belongs to a name.
fn is_packed(path: &Path) -> bool {
    [Compression::Gzip, Compression::Zstd].iter().any(|compression| {
        let mut name = path.as_os_str().to_owned();
        name.push(compression.suffix());
        fs::symlink_metadata(name).is_ok()
    })
}

fn warn_of_obstacle(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        tracing::warn!(
            file = %path.display(),
            "a link, folder or special file has the name of a file; continuing in a numbered file"
        );
    }
}
