//! The summary of a problem that goes into a prompt.
//!
//! It is made without a model: verdict, what to avoid, what worked, what to try next, how much is
//! known. Short, chosen summaries raise success where raw failed attempts lower it (arXiv
//! 2602.08316, 2509.25140, 2602.04288).
//!
//! Text from producers is an injection path into an agent's prompt. It is cleaned, cut, quoted so
//! that it can't end its own quotation, and declared as data (see [`clean`](crate::clean)). Lines
//! are left out whole, the least useful first, until the rest fits.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::clean::Style;
use crate::problem::Problem;

mod lines;

/// Default of `max_chars`.
pub const DEFAULT_MAX_CHARS: usize = 1_000;

/// Summary of a problem without attempts.
pub const NO_ATTEMPTS: &str = "No attempts recorded. First try.";

/// Returns the summary of a problem in at most `max_chars` characters, empty if not even the
/// verdict fits. The same input gives the same text; `now` decides which dates show their year.
///
/// ```
/// use observer_figures::clean::Style;
/// use observer_figures::summary::{DEFAULT_MAX_CHARS, NO_ATTEMPTS, summary};
/// use observer_figures::{ModelFigures, Next, Problem};
///
/// let now = "2026-11-27T12:00:00Z".parse()?;
/// let mut problem = Problem { sig_hash: "03f203cc93b17365".into(), ..Default::default() };
/// assert_eq!(summary(&problem, Style::Prompt, now, DEFAULT_MAX_CHARS), NO_ATTEMPTS);
///
/// problem.models = vec![ModelFigures { model: "gpt-5".into(), attempts: 3, ..Default::default() }];
/// problem.attempts = 3;
/// problem.next = Next::choose(&problem.models, &[]);
/// assert_eq!(
///     summary(&problem, Style::Prompt, now, DEFAULT_MAX_CHARS),
///     "0 of 3 solved. gpt-5 failed 3×.\n\
///      Next: no evidence.\n\
///      3 attempts. hint_id: h24ae017b4c",
/// );
/// # Ok::<(), jiff::Error>(())
/// ```
#[must_use]
pub fn summary(problem: &Problem, style: Style, now: Timestamp, max_chars: usize) -> String {
    lines::compose(problem, style, now, max_chars)
}

/// Returns the id of a problem's summary, which an outcome carries back as `labels.hint_id`:
/// `h` and ten hexadecimal digits, the same for the same problem with the same attempts.
#[must_use]
pub fn hint_id(problem: &Problem) -> String {
    let newest = problem.newest.as_ref().map_or("", |(_, event)| event);
    let mut hash = Sha256::new();
    for text in ["hint 1", &problem.sig_hash, newest] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(problem.attempts.to_le_bytes());
    hash.update(problem.solved.to_le_bytes());
    let digest = hash.finalize();
    let digits = digest[..5].iter().map(|byte| format!("{byte:02x}"));
    format!("h{}", digits.collect::<String>())
}

#[cfg(test)]
mod tests;
