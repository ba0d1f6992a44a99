//! Encoding of a fold.
//!
//! One byte of version, eight bytes of a hash of the rules, then variable-length integers (LEB128,
//! signed ones in zigzag form) in the order of the code below. Times are nanoseconds since 1970 in
//! two integers: seconds, and the rest. A fold of other rules is refused, since thresholds are
//! reflected in it.

use jiff::Timestamp;

use super::Rules;
use super::fold::{Course, Flaky, Fold, Mark, Run};
use super::scopes::{self, Scopes, hash};
use super::version::{self, Seen, Version};
use crate::bytes::{Reader, put, put_signed};

/// Version of the encoding and of the rules' meaning.
const VERSION: u8 = 1;

/// Error of [`Fold::decode`]. In each case the fold has to be computed anew from the attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// A version that this program does not know.
    #[error("state has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Thresholds have changed since.
    #[error("state was computed with other thresholds")]
    Rules,
    /// Bytes that no fold encodes to.
    #[error("state is damaged")]
    Damaged,
}

impl Fold {
    /// Returns the encoding that [`decode`](Self::decode) reads, in less than 2 KiB.
    #[must_use]
    pub fn encode(&self, rules: RulesId) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(VERSION);
        out.extend(rules.0);
        put(&mut out, self.attempts);
        put(&mut out, self.solved);
        if let Some(course) = &self.course {
            put_course(&mut out, course);
        }
        out
    }

    /// Reads an encoded fold.
    ///
    /// # Errors
    ///
    /// If the version is unknown, the thresholds are others, or the bytes are damaged.
    pub fn decode(encoded: &[u8], rules: RulesId) -> Result<Self, FoldError> {
        let mut reader = Reader(encoded);
        match reader.byte() {
            Some(VERSION) => {}
            Some(version) => return Err(FoldError::Version(version)),
            None => return Err(FoldError::Damaged),
        }
        if reader.take(8).ok_or(FoldError::Damaged)? != rules.0 {
            return Err(FoldError::Rules);
        }
        get_fold(&mut reader).filter(|_| reader.is_empty()).ok_or(FoldError::Damaged)
    }
}

/// Hash of the thresholds that a fold reflects. Folds of other thresholds are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RulesId([u8; 8]);

impl Rules {
    /// Returns the hash of the thresholds that a fold reflects; the minimum is none of them.
    #[must_use]
    pub fn id(&self) -> RulesId {
        let Self { new_for, broken_attempts, flaky_within, fixed_successes, fixed_after, .. } =
            self;
        let numbers = [
            new_for.as_nanos(),
            (*broken_attempts).into(),
            flaky_within.as_nanos(),
            (*fixed_successes).into(),
            fixed_after.as_nanos(),
        ];
        RulesId(hash(numbers.iter().flat_map(|number| number.to_le_bytes())).to_le_bytes())
    }
}

fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    put_signed(out, at.as_second());
    put_signed(out, at.subsec_nanosecond().into());
}

fn put_mark(out: &mut Vec<u8>, mark: Mark) {
    put_time(out, mark.at);
    put(out, mark.event);
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    put(out, value.is_some().into());
    if let Some(value) = value {
        write(out, value);
    }
}

fn put_course(out: &mut Vec<u8>, course: &Course) {
    let Course { first, last, newest, many, run, flaky, scopes, seen } = course;
    put_mark(out, *first);
    put_mark(out, *last);
    put(out, *newest);
    put_option(out, *many, put_mark);
    put_run(out, run);
    put_option(out, *flaky, |out, flaky| {
        put_mark(out, flaky.began);
        put_time(out, flaky.until);
    });
    put(out, scopes.successes.len() as u64);
    for &(scope, at) in &scopes.successes {
        out.extend(scope.to_le_bytes());
        put_time(out, at);
    }
    put(out, seen.hashes.len() as u64);
    seen.hashes.iter().for_each(|hash| out.extend(hash.to_le_bytes()));
}

fn put_run(out: &mut Vec<u8>, run: &Run) {
    match run {
        Run::Failures { first, regressed, was_fixed, new_since } => {
            put(out, 0);
            put_mark(out, *first);
            put_option(out, *regressed, put_mark);
            put(out, u64::from(*was_fixed));
            put_mark(out, *new_since);
        }
        Run::Successes { first, count, enough, version, after_failure } => {
            put(out, 1);
            put_mark(out, *first);
            put(out, (*count).into());
            put_option(out, *enough, put_mark);
            put_option(out, version.as_ref(), |out, version| {
                out.extend(version.hash.to_le_bytes());
                put(out, version.parts.len() as u64);
                version.parts.iter().for_each(|&part| put(out, part));
            });
            put(out, u64::from(*after_failure));
        }
    }
}

fn get_fold(reader: &mut Reader<'_>) -> Option<Fold> {
    let (attempts, solved) = (reader.get()?, reader.get()?);
    let course = if attempts > 0 { Some(get_course(reader)?) } else { None };
    (solved <= attempts).then_some(Fold { attempts, solved, course })
}

fn get_course(reader: &mut Reader<'_>) -> Option<Course> {
    Some(Course {
        first: get_mark(reader)?,
        last: get_mark(reader)?,
        newest: reader.get()?,
        many: get_option(reader, get_mark)?,
        run: get_run(reader)?,
        flaky: get_option(reader, |reader| {
            Some(Flaky { began: get_mark(reader)?, until: get_time(reader)? })
        })?,
        scopes: Scopes {
            successes: get_list(reader, scopes::LIMIT, |reader| {
                Some((get_hash(reader)?, get_time(reader)?))
            })?,
        },
        seen: Seen { hashes: get_list(reader, version::LIMIT, get_hash)? },
    })
}

fn get_run(reader: &mut Reader<'_>) -> Option<Run> {
    match reader.get()? {
        0 => Some(Run::Failures {
            first: get_mark(reader)?,
            regressed: get_option(reader, get_mark)?,
            was_fixed: get_bool(reader)?,
            new_since: get_mark(reader)?,
        }),
        1 => Some(Run::Successes {
            first: get_mark(reader)?,
            count: reader.get()?.try_into().ok()?,
            enough: get_option(reader, get_mark)?,
            version: get_option(reader, |reader| {
                let hash = get_hash(reader)?;
                Some(Version { hash, parts: get_list(reader, version::PARTS, Reader::get)? })
            })?,
            after_failure: get_bool(reader)?,
        }),
        _ => None,
    }
}

fn get_bool(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.get()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn get_option<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<Option<T>> {
    if get_bool(reader)? { read(reader).map(Some) } else { Some(None) }
}

fn get_list<'a, T>(
    reader: &mut Reader<'a>,
    limit: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let length = usize::try_from(reader.get()?).ok().filter(|&length| length <= limit)?;
    (0..length).map(|_| read(reader)).collect()
}

fn get_hash(reader: &mut Reader<'_>) -> Option<u64> {
    reader.take(8)?.try_into().ok().map(u64::from_le_bytes)
}

fn get_time(reader: &mut Reader<'_>) -> Option<Timestamp> {
    let second = reader.get_signed()?;
    let nanosecond = reader.get_signed()?.try_into().ok()?;
    Timestamp::new(second, nanosecond).ok()
}

fn get_mark(reader: &mut Reader<'_>) -> Option<Mark> {
    Some(Mark { at: get_time(reader)?, event: reader.get()? })
}
