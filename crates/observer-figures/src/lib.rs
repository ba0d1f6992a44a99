//! Figures, states and summaries of problems, computed from attempts.
//!
//! A *problem* is what producers call `sig_hash`; an *attempt* is one outcome at it. This crate
//! holds the computations behind the knowledge base, and no storage: every function is pure, takes
//! the present time as an argument where it needs it, and is the one place for its definition.
//!
//! ```
//! use observer_figures::{Comparison, Interval, Pairs, Spend, Verdict};
//!
//! let solved = Interval::wilson(274, 616).unwrap();
//! assert_eq!(solved.to_string(), "[0.406, 0.484]");
//! let cost = Spend::complete(6973.20, 616).per_solved(274).unwrap();
//! assert_eq!(cost.to_string(), "$25.45");
//! let pairs = Pairs { both: 206, only_a: 56, only_b: 68, neither: 286, ..Default::default() };
//! assert_eq!(Comparison::of(pairs).verdict, Verdict::Same);
//! ```
//!
//! # Modules
//!
//! - [`interval`]: confidence interval of a solved ratio
//! - [`compare`]: two models on their common problems
//! - [`rates`]: pass@k, pass^k, flip rate, cost per solved
//! - [`sketch`]: mergeable histogram of durations
//! - [`state`]: state of a problem, its transitions, and what a store keeps for them
//! - [`fingerprint`]: grouping of failures
//! - [`mod@next`]: the model to try next
//! - [`problem`], [`summary`]: the summary of a problem for a prompt, and its input
//! - [`clean`]: producer text for terminals, Markdown and prompts
//! - [`mod@format`]: amounts, durations and dates for people

mod bytes;
pub mod clean;
pub mod compare;
pub mod fingerprint;
pub mod format;
pub mod interval;
pub mod next;
pub mod problem;
pub mod rates;
pub mod sketch;
pub mod state;
pub mod summary;

pub use compare::{Comparison, Pairs, Verdict};
pub use fingerprint::Fingerprint;
pub use interval::Interval;
pub use jiff;
pub use next::{Next, Rival};
pub use problem::{Failure, ModelFigures, Problem, Worked};
pub use rates::{CostPerSolved, Spend};
pub use sketch::{Sketch, SketchError};
