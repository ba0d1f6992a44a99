//! Template of file paths.
//!
//! The *base* is the longest run of folders without a placeholder. Events determine the components
//! after it, which stay inside the base: a source is [encoded](crate::names::safe_name) as part of
//! one name.

use std::path::{Component as PathComponent, Path, PathBuf};

use jiff::civil::Date;
use observer_core::BuildError;

use crate::disk::parent;
use crate::names::safe_name;

/// Parsed value of the key `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    base: PathBuf,
    /// Folders inside the base, then the name of the file without its extension. Never empty.
    components: Vec<Vec<Piece>>,
    extension: String,
}

/// Part of a path component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    /// Day of receipt.
    Date,
    /// Day of the event's own time.
    EventDate,
    Source,
}

/// Days of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Days {
    /// Day of receipt, if the template has it.
    pub(crate) received: Option<Date>,
    /// Day of the event's own time, if the template has it.
    pub(crate) event: Option<Date>,
}

impl Days {
    /// Returns the day after which a file is closed.
    pub(crate) fn closing(self) -> Option<Date> {
        self.received.or(self.event)
    }
}

const KEY: &str = "path";
const KNOWN: &str = "use {date}, {event_date} or {source}";
/// Length of a rendered `{date}`, such as `2026-11-22`.
pub(crate) const DATE_LENGTH: usize = 10;
/// Bytes that may be added to a rendered name: `.` and a number of 20 digits, `.zst`, and the dot
/// and `.tmp` of a temporary file.
const ADDED_LENGTH: usize = 30;
/// Maximum length of a file name in common file systems, in bytes.
const MAX_NAME_LENGTH: usize = 255;

impl Template {
    /// Parses a path template.
    ///
    /// # Errors
    /// If the path names no file, has unknown placeholders, or can lead to a name that is too long.
    pub(crate) fn parse(path: &str) -> Result<Self, BuildError> {
        if path.is_empty() {
            return Err(BuildError::new(
                KEY,
                "must not be empty; use for example \"observer-data/events/{date}.jsonl\"",
            ));
        }
        if path.contains('\0') || path.ends_with(['/', std::path::MAIN_SEPARATOR]) {
            return Err(BuildError::new(
                KEY,
                format!("must end in the name of a file, unlike {path:?}"),
            ));
        }
        let mut base = PathBuf::new();
        let mut components = Vec::new();
        let mut parts = Path::new(path).components().peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let text = part.as_os_str().to_str().expect("a component of a str is UTF-8");
            let pieces = pieces(text)?;
            let is_fixed = pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)));
            if !is_last && is_fixed && components.is_empty() {
                base.push(part);
                continue;
            }
            if !matches!(part, PathComponent::Normal(_)) {
                return Err(BuildError::new(
                    KEY,
                    format!("must not contain {text:?} after a placeholder or at its end"),
                ));
            }
            components.push(pieces);
        }
        let name = components.last_mut().ok_or_else(|| BuildError::new(KEY, "names no file"))?;
        let extension = take_extension(name)?;
        for pieces in &components {
            check_length(pieces, extension.len())?;
        }
        if base.as_os_str().is_empty() {
            base.push(".");
        }
        Ok(Self { base, components, extension })
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn components(&self) -> &[Vec<Piece>] {
        &self.components
    }

    /// Returns the extension with its dot.
    pub(crate) fn extension(&self) -> &str {
        &self.extension
    }

    pub(crate) fn has(&self, piece: &Piece) -> bool {
        self.components.iter().flatten().any(|other| other == piece)
    }

    /// Returns whether the name of a folder contains the source.
    pub(crate) fn has_source_in_folders(&self) -> bool {
        let (_, folders) = self.components.split_last().expect("a template has a file name");
        folders.iter().flatten().any(|piece| *piece == Piece::Source)
    }

    /// Returns whether names contain a day.
    pub(crate) fn has_day(&self) -> bool {
        self.has(&Piece::Date) || self.has(&Piece::EventDate)
    }

    /// Follows a link at the path of a template without placeholders, so that files are rotated
    /// where the data is. A link to a name with another extension, or in a folder that doesn't
    /// exist, is not followed.
    pub(crate) fn resolved(&self) -> Option<Self> {
        let is_fixed =
            self.components.iter().flatten().all(|piece| matches!(piece, Piece::Literal(_)));
        let path = is_fixed.then(|| self.render(Days::default(), ""))?;
        let next = parent(&path).join(path.read_link().ok()?);
        // The target of the last link may not exist yet.
        let target = path
            .canonicalize()
            .ok()
            .or_else(|| Some(parent(&next).canonicalize().ok()?.join(next.file_name()?)))?;
        let stem = target.file_name()?.to_str()?.strip_suffix(&self.extension)?;
        Some(Self {
            base: target.parent()?.to_owned(),
            components: vec![vec![Piece::Literal(stem.to_owned())]],
            extension: self.extension.clone(),
        })
    }

    /// Returns the path of the active file for events of certain days and a source.
    pub(crate) fn render(&self, days: Days, source: &str) -> PathBuf {
        self.render_encoded(days, &safe_name::encode(source))
    }

    /// Returns the path of the active file with another name of the source, for the case that the
    /// first one is taken.
    pub(crate) fn render_apart(&self, days: Days, source: &str) -> PathBuf {
        self.render_encoded(days, &safe_name::encode_apart(source))
    }

    fn render_encoded(&self, days: Days, source: &str) -> PathBuf {
        let mut path = self.base.clone();
        for (index, pieces) in self.components.iter().enumerate() {
            let mut name = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => name.push_str(text),
                    Piece::Date | Piece::EventDate => {
                        let day = if *piece == Piece::Date { days.received } else { days.event };
                        let day = day.expect("days are those that the template has");
                        name.push_str(&day.to_string());
                    }
                    Piece::Source => name.push_str(source),
                }
            }
            if index + 1 == self.components.len() {
                name.push_str(&self.extension);
            }
            path.push(name);
        }
        path
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, BuildError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, braced) = rest.split_at(open);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        let end = braced.find('}').filter(|_| braced.starts_with('{'));
        let Some(end) = end else {
            return Err(BuildError::new(KEY, format!("has a single brace in {text:?}; {KNOWN}")));
        };
        pieces.push(match &braced[..=end] {
            "{date}" => Piece::Date,
            "{event_date}" => Piece::EventDate,
            "{source}" => Piece::Source,
            unknown => {
                return Err(BuildError::new(
                    KEY,
                    format!("has the unknown placeholder {unknown}; {KNOWN}"),
                ));
            }
        });
        rest = &braced[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

/// Splits the extension off the file name. It is required, since it separates the name from the
/// number of a rotated file and the compression suffix.
fn take_extension(name: &mut Vec<Piece>) -> Result<String, BuildError> {
    let missing = || BuildError::new(KEY, "must end in an extension, such as \".jsonl\"");
    let is_only_piece = name.len() == 1;
    let Some(Piece::Literal(text)) = name.last_mut() else { return Err(missing()) };
    let dot = text
        .rfind('.')
        .filter(|dot| text.len() > dot + 1 && !(is_only_piece && *dot == 0))
        .ok_or_else(missing)?;
    let extension = text.split_off(dot);
    if matches!(extension.as_str(), ".gz" | ".zst" | ".tmp")
        || extension[1..].bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(BuildError::new(
            KEY,
            format!(
                "must not end in {extension:?}, which marks rotated and compressed files; \
                 use \".jsonl\""
            ),
        ));
    }
    if text.is_empty() {
        name.pop();
    }
    Ok(extension)
}

fn check_length(pieces: &[Piece], extension: usize) -> Result<(), BuildError> {
    let length = |piece: &Piece| match piece {
        Piece::Literal(text) => text.len(),
        Piece::Date | Piece::EventDate => DATE_LENGTH,
        Piece::Source => safe_name::LONGEST,
    };
    let longest = pieces.iter().map(length).sum::<usize>() + extension + ADDED_LENGTH;
    if longest > MAX_NAME_LENGTH {
        return Err(BuildError::new(
            KEY,
            format!(
                "has a name that can become {longest} bytes long; file systems allow \
                 {MAX_NAME_LENGTH}"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[track_caller]
    fn check(path: &str, base: &str, rendered: &str) {
        let template = Template::parse(path).unwrap();
        let days = Days { received: Some(date(2026, 11, 22)), event: Some(date(2026, 11, 21)) };
        assert_eq!(template.base(), Path::new(base));
        assert_eq!(template.render(days, "a/b"), Path::new(rendered));
    }

    #[test]
    fn base_ends_before_the_first_placeholder() {
        check("data/events/{date}.jsonl", "data/events", "data/events/2026-11-22.jsonl");
        check("/var/{source}/x/{date}.log.jsonl", "/var", "/var/a%2Fb/x/2026-11-22.log.jsonl");
        check("../events.jsonl", "..", "../events.jsonl");
        check("events.jsonl", ".", "./events.jsonl");
        check("d/{date}/{source}-{date}.jsonl", "d", "d/2026-11-22/a%2Fb-2026-11-22.jsonl");
        check("d/{source}.jsonl", "d", "d/a%2Fb.jsonl");
        check("d/{date}/{event_date}.jsonl", "d", "d/2026-11-22/2026-11-21.jsonl");
    }

    #[track_caller]
    fn rejects(path: &str, expected: &str) {
        let error = Template::parse(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn invalid_templates_are_rejected_with_a_remedy() {
        rejects("", "`path` must not be empty; use");
        rejects("events/", "must end in the name of a file");
        rejects("{day}.jsonl", "unknown placeholder {day}; use {date}, {event_date} or");
        rejects("{date.jsonl", "single brace");
        rejects("date}.jsonl", "single brace");
        rejects("{date}/../x.jsonl", "must not contain \"..\" after a placeholder");
        rejects("events/..", "must not contain \"..\"");
        rejects("{date}", "must end in an extension");
        rejects("events/.jsonl", "must end in an extension");
        rejects("{date}.gz", "must not end in \".gz\"");
        rejects("x.000001", "must not end in \".000001\"");
        rejects("{source}{source}.jsonl", "bytes long");
    }
}
