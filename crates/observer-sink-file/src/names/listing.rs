//! Files on disk that belong to a template, whose placeholders are matched as a pattern.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::civil::Date;

use crate::compression::Compression;
use crate::names::safe_name;
use crate::names::series::Name;
use crate::names::template::{DATE_LENGTH, Days, Piece, Template};

/// File that matches the template.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) index: Option<u64>,
    pub(crate) compression: Compression,
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

/// Contents of the base folder that belong to the sink.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<ListedFile>,
}

impl Listing {
    /// Lists the files of a template. Links are not followed, and files that disappear meanwhile
    /// are omitted.
    pub(crate) fn read(template: &Template) -> io::Result<Self> {
        let mut listing = Self::default();
        listing.descend(template, template.base(), 0, Bindings::default())?;
        Ok(listing)
    }

    fn descend(
        &mut self,
        template: &Template,
        folder: &Path,
        level: usize,
        bindings: Bindings,
    ) -> io::Result<()> {
        let pieces = &template.components()[level];
        let is_last = level + 1 == template.components().len();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let Some(name) = name.to_str() else { continue };
            if is_last && kind.is_file() {
                self.add(template, &entry, name, &bindings);
            } else if !is_last
                && kind.is_dir()
                && let Some(bindings) = match_pieces(pieces, name, bindings.clone())
            {
                self.descend(template, &entry.path(), level + 1, bindings)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, template: &Template, entry: &fs::DirEntry, name: &str, bindings: &Bindings) {
        let path = entry.path();
        let Some((name, _)) = match_file_name(template, name, bindings) else { return };
        let Ok(metadata) = entry.metadata() else { return };
        self.files.push(ListedFile {
            path,
            index: name.index,
            compression: name.compression,
            len: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        });
    }
}

/// Values of the placeholders in the part of a path that was matched so far.
#[derive(Debug, Clone, Default)]
struct Bindings {
    days: Days,
    source: Option<String>,
}

/// Parts of a path that matches a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matched {
    pub(crate) days: Days,
    pub(crate) index: Option<u64>,
    pub(crate) compression: Compression,
}

/// Matches a path relative to the base with a template.
pub(crate) fn match_path(template: &Template, relative: &str) -> Option<Matched> {
    let names: Vec<_> = relative.split('/').collect();
    let (name, folders) = names.split_last()?;
    let levels = template.components();
    if levels.len() != names.len() {
        return None;
    }
    let bindings =
        folders.iter().zip(levels).try_fold(Bindings::default(), |bindings, (name, pieces)| {
            match_pieces(pieces, name, bindings)
        })?;
    let (name, Bindings { days, .. }) = match_file_name(template, name, &bindings)?;
    Some(Matched { days, index: name.index, compression: name.compression })
}

fn match_file_name<'a>(
    template: &Template,
    name: &'a str,
    bindings: &Bindings,
) -> Option<(Name<'a>, Bindings)> {
    let pieces = template.components().last().expect("a template has a file name");
    let name = Name::parse(name, template.extension())?;
    let candidates = [Some(name), name.rotated()];
    candidates
        .into_iter()
        .flatten()
        .find_map(|name| Some((name, match_pieces(pieces, name.stem, bindings.clone())?)))
}

fn match_pieces(pieces: &[Piece], text: &str, mut bindings: Bindings) -> Option<Bindings> {
    let Some((piece, pieces)) = pieces.split_first() else {
        return text.is_empty().then_some(bindings);
    };
    match piece {
        Piece::Literal(literal) => {
            match_pieces(pieces, text.strip_prefix(literal.as_str())?, bindings)
        }
        Piece::Date | Piece::EventDate => {
            let (written, rest) = text.split_at_checked(DATE_LENGTH)?;
            let date: Date = written.parse().ok()?;
            let Days { received, event } = &mut bindings.days;
            let bound = if *piece == Piece::Date { received } else { event };
            if date.to_string() != written || bound.is_some_and(|other| other != date) {
                return None;
            }
            *bound = Some(date);
            match_pieces(pieces, rest, bindings)
        }
        Piece::Source => (1..=text.len()).find_map(|end| {
            let (source, rest) = text.split_at_checked(end)?;
            let fits = safe_name::is_encoded(source)
                && bindings.source.as_deref().is_none_or(|other| other == source);
            let bindings = Bindings { source: Some(source.to_owned()), ..bindings.clone() };
            fits.then(|| match_pieces(pieces, rest, bindings)).flatten()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, files: &[&str], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let template = Template::parse(folder.path().join(template).to_str().unwrap()).unwrap();
        let listing = Listing::read(&template).unwrap();
        for found in &listing.files {
            let relative = found.path.strip_prefix(template.base()).unwrap().to_str().unwrap();
            let matched = match_path(&template, relative).unwrap();
            assert_eq!((matched.index, matched.compression), (found.index, found.compression));
        }
        let relative =
            |path: &Path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<_> = listing
            .files
            .iter()
            .map(|found| format!("{} {:?}", relative(&found.path), found.index))
            .collect();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn listing_contains_only_files_of_the_template() {
        check(
            "{date}.jsonl",
            &[
                "2026-11-22.jsonl",
                "2026-11-22.000001.jsonl",
                "2026-11-21.jsonl.gz",
                ".2026-11-20.jsonl.gz.tmp",
                ".2026-11-20.jsonl.tmp",
                "2026-13-22.jsonl",
                "20261122.jsonl",
                "2026-11-22.1.jsonl",
                "2026-11-22.jsonl.1",
                "2026-11-22.jsonl.bak",
                "notes.jsonl",
                "sub/2026-11-22.jsonl",
            ],
            &[
                "2026-11-21.jsonl.gz None",
                "2026-11-22.000001.jsonl Some(1)",
                "2026-11-22.jsonl None",
            ],
        );
        check(
            "{source}/{date}-{source}.jsonl",
            &["bot/2026-11-22-bot.jsonl", "bot/2026-11-22-cat.jsonl", "b t/2026-11-22-b t.jsonl"],
            &["bot/2026-11-22-bot.jsonl None"],
        );
        check(
            "{date}/{date}.jsonl",
            &["2026-11-22/2026-11-22.jsonl", "2026-11-22/2026-11-23.jsonl"],
            &["2026-11-22/2026-11-22.jsonl None"],
        );
        check(
            "{date}.{source}.jsonl",
            &["2026-11-22.000001.jsonl", "2026-11-22.bot.000001.jsonl.zst"],
            &["2026-11-22.000001.jsonl None", "2026-11-22.bot.000001.jsonl.zst Some(1)"],
        );
        check(
            "all.jsonl",
            &["all.jsonl", "all.000003.jsonl", "call.jsonl"],
            &["all.000003.jsonl Some(3)", "all.jsonl None"],
        );
    }
}
