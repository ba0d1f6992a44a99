//! A sink that writes events to files in JSON Lines: one envelope per line.
//!
//! Each line is the output of [`Envelope::write_json`](observer_core::Envelope::write_json), and
//! lines are in journal order. `tail -F`, `jq` and log shippers can read a file while it grows. In
//! the observer's configuration the sink has `type = "file"` (see [`FileConfig`]). In a program
//! that embeds the crate:
//!
//! ```
//! use std::sync::Arc;
//!
//! use observer_core::{Batch, Envelope, Event, EventSink, SinkContext, Timestamp, Uuid};
//! use observer_sink_file::{Compression, FileConfig, FileSink};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().to_str().ok_or("not UTF-8")?;
//! let config = FileConfig::new(format!("{folder}/events/{{date}}.jsonl"))
//!     .rotate_at_size(256 << 20)
//!     .compression(Compression::Zstd);
//! let state_dir = format!("{folder}/state");
//! let context = SinkContext::new("archive", state_dir);
//! let sink = FileSink::new(&config, &context)?;
//!
//! let envelope = Envelope {
//!     id: Uuid::from_u128(7),
//!     seq: 1,
//!     received_at: Timestamp::from_second(1_795_341_600)?,
//!     event: Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#)?,
//! };
//! sink.deliver(&Batch::new(1, vec![Arc::new(envelope)])).await?;
//! sink.close().await?;
//!
//! let line = std::fs::read_to_string(format!("{folder}/events/2026-11-22.jsonl"))?;
//! assert!(line.ends_with("\"event\":{\"source\":\"bot\",\"event_kind\":\"ok\",\"ok\":true}}\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! An accepted batch is in the files, and it is durable after the next flush. After a crash or a
//! power cut no line is lost, torn or duplicated. The sink records its position and the sizes of
//! its files in its state folder. At the next start it uses them to find the lines that were
//! written later, and it skips the events of those lines when the pipeline delivers them again. If
//! the position is lost, the sink reads the ends of the newest files instead. Then only the last
//! 4 MiB of each file are protected against duplicates.
//!
//! The sink also records which files it wrote, and changes or deletes no other file. Files of
//! versions without this record are adopted at the first start. See [`FileSinks`] for several sinks
//! of one program.
//!
//! # File names
//!
//! - `{date}` is the day of receipt. The file of a day is closed when an event of a later day
//!   arrives. `{event_date}` is the day of the event's own time, within bounds; its file is closed
//!   when the day is over and no event came for an hour.
//! - `{source}` is one part of one name. Bytes other than letters, digits, `-`, `_` and most dots
//!   are percent-encoded; a long value is cut and ends in a hash. Whatever an event contains, its
//!   line stays below the folders that precede the first placeholder, and symbolic links below
//!   these folders are not followed. On case-insensitive file systems, `Bot` and `bot` share a
//!   file.
//! - A rotated file keeps its name and gets a number: `2026-11-22.jsonl` becomes
//!   `2026-11-22.000001.jsonl`, then `.000002`. Sorted by name, files are in the order in which
//!   they were written, with the active file last. The active file has the name of the template, as
//!   `tail -F` and log shippers expect; they recognise a rotated file by its inode. Only if another
//!   file has this name, or a late event belongs to a day that was compressed, the active file has
//!   a number from the start. The sink never overwrites a file.
//! - A compressed file gets the suffix `.gz` or `.zst` and keeps the modification time of the
//!   original.
//! - Both modes of logrotate work. With `create`, the sink notices that its file was renamed and
//!   opens a new one. `copytruncate` may lose lines between its two steps, as with any program.
//! - An open file that another program changed in any other way is left alone, and the sink
//!   continues in a numbered file.
//!
//! # Limitations
//!
//! Events and flushes close files. The file of a silent source stays active, and is not compressed,
//! unless a day is part of its name; it is deleted by its age. The sink looks for old files at its
//! start and then during flushes: after a file was closed, and otherwise once an hour.
//!
//! # Modules
//!
//! - `config` parses and checks the configuration.
//! - `sink` runs the thread that executes commands one after the other.
//! - `writer` is the state of that thread: active files, the sidecar, recovery after a crash.
//! - `ledger` records which files the sink wrote, and decides whether a file is one of them.
//! - `adoption` finds the files of earlier versions and of strangers.
//! - `janitor` compresses and deletes closed files on another thread.
//! - `placement` gives events their days; `clock` says when files are old.
//! - `names` maps the path template to file names and back.
//! - `access` creates files and folders with their modes; `siblings` are the other sinks.

mod access;
mod adoption;
mod check;
mod checksum;
mod clock;
mod compression;
mod config;
mod disk;
mod error;
mod janitor;
mod ledger;
mod names;
mod placement;
mod siblings;
mod sink;
mod sync;
mod writer;

pub use compression::Compression;
pub use config::{FileConfig, Retain, Rotate};
pub use siblings::{FileSinkCounts, FileSinks, Overlap, folder_overlaps, overlaps};
pub use sink::FileSink;
