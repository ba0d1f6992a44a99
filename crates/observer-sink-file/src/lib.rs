//! A sink of the observer that writes events to files, one envelope of JSON on each line.

mod check;
mod compress;
mod config;
mod disk;
mod error;
mod files;
mod janitor;
mod listing;
mod open_file;
mod recovery;
mod retention;
mod safe_name;
mod series;
mod sidecar;
mod sink;
mod tail;
mod template;
mod writer;

pub use config::{Compression, FileConfig, Retain, Rotate};
pub use sink::FileSink;
