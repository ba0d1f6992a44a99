//! Files on disk that belong to a template, whose placeholders are matched as a pattern.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::civil::Date;

use crate::compression::Compression;
use crate::names::safe_name;
use crate::names::series::Name;
use crate::names::template::{DATE_LENGTH, Piece, Template};

/// File that matches the template.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) date: Option<Date>,
    pub(crate) index: Option<u64>,
    pub(crate) compression: Compression,
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

impl ListedFile {
    /// Returns whether the file is closed, where `latest` is the day of the newest event.
    pub(crate) fn is_closed(&self, latest: Option<Date>) -> bool {
        let day_is_over = self.date.is_some_and(|date| latest.is_some_and(|latest| date < latest));
        self.index.is_some() || self.compression != Compression::None || day_is_over
    }
}

/// Contents of the base folder that belong to the sink.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<ListedFile>,
    /// Temporary files of a compression that a crash interrupted.
    pub(crate) temporaries: Vec<PathBuf>,
}

impl Listing {
    /// Lists the files of a template. Links are not followed, and files that disappear meanwhile
    /// are omitted.
    pub(crate) fn read(template: &Template) -> io::Result<Self> {
        let mut listing = Self::default();
        listing.descend(template, template.base(), 0, Bindings::default())?;
        Ok(listing)
    }

    /// Returns the newest day among the names.
    pub(crate) fn latest(&self) -> Option<Date> {
        self.files.iter().filter_map(|found| found.date).max()
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
        if let Some(final_name) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"))
        {
            if match_file_name(template, final_name, bindings)
                .is_some_and(|(name, _)| name.compression != Compression::None)
            {
                self.temporaries.push(path);
            }
            return;
        }
        let Some((name, bindings)) = match_file_name(template, name, bindings) else { return };
        let Ok(metadata) = entry.metadata() else { return };
        self.files.push(ListedFile {
            path,
            date: bindings.date,
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
    date: Option<Date>,
    source: Option<String>,
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
        Piece::Date => {
            let (written, rest) = text.split_at_checked(DATE_LENGTH)?;
            let date: Date = written.parse().ok()?;
            if date.to_string() != written || bindings.date.is_some_and(|other| other != date) {
                return None;
            }
            bindings.date = Some(date);
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
        let relative =
            |path: &Path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<_> = listing
            .files
            .iter()
            .map(|found| format!("{} {:?}", relative(&found.path), found.index))
            .collect();
        found.extend(listing.temporaries.iter().map(|path| format!("{} tmp", relative(path))));
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
                ".2026-11-20.jsonl.gz.tmp tmp",
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
