//! Comparison of two templates: whether they can name the same file, also by the numbers of rotated
//! files.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::compression::Compression;
use crate::names::safe_name::{INDEX_DIGITS, LONGEST};
use crate::names::template::{Piece, Template};

/// Class of characters at one place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    One(char),
    /// Digit of a day, with an example.
    Digit(char),
    /// At least one digit of a number.
    Digits,
    /// At least one character of an encoded source.
    Source,
}

/// Tokens of the folders of a template, and those of its file names: without a number and with one.
struct Levels {
    folders: Vec<Vec<Token>>,
    names: [Vec<Token>; 2],
}

/// Day in examples.
const DAY: &str = "2026-11-27";

/// Returns a path that both templates can name, if there is one.
pub(crate) fn overlap(a: &Template, b: &Template) -> Option<PathBuf> {
    let (first, second) = (levels(a)?, levels(b)?);
    if first.folders.len() != second.folders.len() {
        return None;
    }
    let folders = first.folders.iter().zip(&second.folders).map(|(a, b)| common_name(a, b));
    let folders = folders.collect::<Option<Vec<_>>>()?;
    let mut pairs = first.names.iter().flat_map(|a| second.names.iter().map(move |b| (a, b)));
    let name = pairs.find_map(|(a, b)| common_name(a, b))?;
    let mut path = PathBuf::from(std::path::MAIN_SEPARATOR_STR);
    path.extend(folders);
    path.push(name);
    Some(path)
}

/// Returns a path that one template can name as a file and the other one as a folder, if there is
/// one.
pub(crate) fn folder_overlap(a: &Template, b: &Template) -> Option<PathBuf> {
    let (first, second) = (levels(a)?, levels(b)?);
    file_as_folder(&first, &second).or_else(|| file_as_folder(&second, &first))
}

/// Returns a path of a file of `files` that can be a folder of `folders`.
fn file_as_folder(files: &Levels, folders: &Levels) -> Option<PathBuf> {
    let (name, above) = folders.folders.get(..=files.folders.len())?.split_last()?;
    let mut path = PathBuf::from(std::path::MAIN_SEPARATOR_STR);
    for (a, b) in files.folders.iter().zip(above) {
        path.push(common_name(a, b)?);
    }
    let suffixes = Compression::ALL;
    let names = suffixes.iter().flat_map(|compression| {
        let suffix: Vec<_> = compression.suffix().chars().map(Token::One).collect();
        files.names.iter().map(move |name| [&**name, &suffix].concat())
    });
    path.push(names.into_iter().find_map(|file| common_name(&file, name))?);
    Some(path)
}

/// Returns the tokens of each component of the absolute path, or `None` if the path can't be
/// resolved.
fn levels(template: &Template) -> Option<Levels> {
    let mut folders: Vec<Vec<Token>> = Vec::new();
    for component in resolve(template.base())?.components() {
        if let Component::Normal(name) = component {
            folders.push(name.to_str()?.chars().map(Token::One).collect());
        }
    }
    let (name, between) = template.components().split_last()?;
    folders.extend(between.iter().map(|pieces| tokens(pieces)));
    let stem = tokens(name);
    let mut number = vec![Token::One('.')];
    number.extend([Token::Digit('0'); INDEX_DIGITS - 1]);
    number.push(Token::Digits);
    let extension: Vec<_> = template.extension().chars().map(Token::One).collect();
    let names = [[&*stem, &extension].concat(), [&*stem, &number, &extension].concat()];
    Some(Levels { folders, names })
}

fn tokens(pieces: &[Piece]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => tokens.extend(text.chars().map(Token::One)),
            Piece::Source => tokens.push(Token::Source),
            Piece::Date | Piece::EventDate => {
                let token = |char| if char == '-' { Token::One(char) } else { Token::Digit(char) };
                tokens.extend(DAY.chars().map(token));
            }
        }
    }
    tokens
}

/// Returns the absolute path of a folder, of which an existing part has no links.
pub(crate) fn resolve(folder: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(folder).ok()?;
    let resolved = folder.ancestors().find_map(|ancestor| {
        let rest = folder.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    Some(clean(&resolved.unwrap_or(folder)))
}

/// Removes `..` from an absolute path.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            component => clean.push(component),
        }
    }
    clean
}

/// Returns a name that both sequences of tokens match.
fn common_name(a: &[Token], b: &[Token]) -> Option<String> {
    let mut dead = HashSet::new();
    let mut name = String::new();
    search((a, false), (b, false), &mut name, &mut dead).then_some(name)
}

/// Rest of a sequence, and whether its first token, a source or number, has matched a character.
type Rest<'a> = (&'a [Token], bool);

fn search(a: Rest<'_>, b: Rest<'_>, name: &mut String, dead: &mut HashSet<[usize; 4]>) -> bool {
    if can_end(a) && can_end(b) {
        return true;
    }
    let state = [a.0.len(), usize::from(a.1), b.0.len(), usize::from(b.1)];
    if name.len() > 2 * LONGEST || !dead.insert(state) {
        return false;
    }
    for (token_a, next_a) in steps(a) {
        for (token_b, next_b) in steps(b) {
            let Some(char) = common(token_a, token_b) else { continue };
            name.push(char);
            if search(next_a, next_b, name, dead) {
                return true;
            }
            name.pop();
        }
    }
    false
}

fn can_end((rest, has_matched): Rest<'_>) -> bool {
    rest.is_empty() || (rest.len() == 1 && has_matched)
}

/// Returns the tokens that the next character may match, each with the rest after it.
fn steps<'a>((rest, has_matched): Rest<'a>) -> Vec<(Token, Rest<'a>)> {
    let mut steps = Vec::new();
    if has_matched {
        steps.extend(self::steps((&rest[1..], false)));
    }
    match rest.first() {
        Some(token @ (Token::Source | Token::Digits)) => steps.push((*token, (rest, true))),
        Some(token) => steps.push((*token, (&rest[1..], false))),
        None => {}
    }
    steps
}

fn common(a: Token, b: Token) -> Option<char> {
    let is_encoded = |char: char| char.is_ascii_alphanumeric() || "-_.%~".contains(char);
    let as_digit = |token| if token == Token::Digits { Token::Digit('1') } else { token };
    match (as_digit(a), as_digit(b)) {
        (Token::One(a), Token::One(b)) => (a == b).then_some(a),
        (Token::One(char), Token::Digit(_)) | (Token::Digit(_), Token::One(char)) => {
            char.is_ascii_digit().then_some(char)
        }
        (Token::One(char), Token::Source) | (Token::Source, Token::One(char)) => {
            is_encoded(char).then_some(char)
        }
        (Token::Digit(char), _) | (_, Token::Digit(char)) => Some(char),
        (Token::Source | Token::Digits, _) | (_, Token::Digits) => Some('a'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: Option<&str>) {
        let parse = |path: &str| Template::parse(&format!("/nowhere/{path}")).unwrap();
        let (a, b) = (parse(a), parse(b));
        for (a, b) in [(&a, &b), (&b, &a)] {
            let found = overlap(a, b);
            let found = found.as_deref().map(|path| path.strip_prefix("/nowhere").unwrap());
            assert_eq!(found, expected.map(Path::new));
        }
    }

    #[test]
    fn templates_overlap_if_they_can_name_the_same_file() {
        check("all/{date}.jsonl", "{source}/{date}.jsonl", Some("all/2026-11-27.jsonl"));
        check("{date}.jsonl", "{source}.jsonl", Some("2026-11-27.jsonl"));
        check("{event_date}.jsonl", "{date}.jsonl", Some("2026-11-27.jsonl"));
        check("x.jsonl", "x.jsonl", Some("x.jsonl"));
        check("a/../x.jsonl", "x.jsonl", Some("x.jsonl"));
        check("a-{source}.jsonl", "{source}-b.jsonl", Some("a-b.jsonl"));
        check("{source}/{source}.jsonl", "x/y.jsonl", Some("x/y.jsonl"));
        check("2026-01-01.jsonl", "{date}.jsonl", Some("2026-01-01.jsonl"));
        check("all/{date}.jsonl", "one/{date}.jsonl", None);
        check("{date}.jsonl", "{date}.ndjson", None);
        check("{date}.jsonl", "x/{date}.jsonl", None);
        check("a-{source}.jsonl", "b-{source}.jsonl", None);
        check("{source}.a.jsonl", "{source}.b.jsonl", None);
        check("{date}-x.jsonl", "{date}.jsonl", None);
        check("not a source.jsonl", "{source}.jsonl", None);
    }

    #[test]
    fn source_can_give_a_folder_the_name_of_a_file() {
        let parse = |path: &str| Template::parse(&format!("/nowhere/{path}")).unwrap();
        for (a, b, expected) in [
            ("all.jsonl", "{source}/{date}.jsonl", Some("all.jsonl")),
            ("{source}.jsonl", "{source}/{date}.jsonl", Some("a.jsonl")),
            ("ev/{date}.jsonl", "ev/{source}/{date}.jsonl", Some("ev/2026-11-27.jsonl")),
            ("x/all.jsonl", "{source}/{source}/y.jsonl", Some("x/all.jsonl")),
            ("all.jsonl", "x-{source}/{date}.jsonl", None),
            ("all.jsonl", "ev/{source}/{date}.jsonl", None),
            ("all.jsonl", "{source}.jsonl", None),
            ("all.jsonl", "{date}/{source}.jsonl", None),
            ("a b.jsonl", "{source}/{date}.jsonl", None),
            ("all.jsonl", "{source}-x/{date}.jsonl", None),
            ("all.jsonl", "{source}.gz/{date}.jsonl", Some("all.jsonl.gz")),
        ] {
            let (a, b) = (parse(a), parse(b));
            for (a, b) in [(&a, &b), (&b, &a)] {
                let found = folder_overlap(a, b);
                let found = found.as_deref().map(|path| path.strip_prefix("/nowhere").unwrap());
                assert_eq!(found, expected.map(Path::new));
            }
        }
    }

    #[test]
    fn templates_overlap_by_the_numbers_of_rotated_files() {
        check("{date}.jsonl", "{date}.000001.jsonl", Some("2026-11-27.000001.jsonl"));
        check("all.jsonl", "all.000002.jsonl", Some("all.000002.jsonl"));
        check("all.jsonl", "all.1234567.jsonl", Some("all.1234567.jsonl"));
        check("x/all.jsonl", "{source}/all.000002.jsonl", Some("x/all.000002.jsonl"));
        check("{date}.jsonl", "{date}.{source}.jsonl", Some("2026-11-27.000001.jsonl"));
        check("all.jsonl", "all.12345.jsonl", None);
        check("all.jsonl", "all.{date}.jsonl", None);
        check("all.jsonl", "all.000001.ndjson", None);
        check("all.jsonl", "all.000001.000002.jsonl", None);
        check("all.jsonl", "x/all.000001.jsonl", None);
    }
}
