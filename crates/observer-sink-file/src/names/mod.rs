//! Names of files: how the path template and an event make one, and how a listing reads them back.
//!
//! ```text
//! observer-data/events / 2026-11-22 / bot . 000001 . jsonl . zst
//! └ base                └ folder     │     │        │       └ compression
//!                                    │     │        └ extension
//!                                    │     └ number of a rotated file
//!                                    └ stem
//! ```
//!
//! - [`template`] parses `path` and renders the path of the active file.
//! - [`safe_name`] encodes a producer's text as part of a file name.
//! - [`series`] numbers the rotated files of one active file.
//! - [`listing`] finds the files on disk that match a template.
//! - [`overlap`] compares two templates.

pub(crate) mod listing;
pub(crate) mod overlap;
pub(crate) mod safe_name;
pub(crate) mod series;
pub(crate) mod template;
