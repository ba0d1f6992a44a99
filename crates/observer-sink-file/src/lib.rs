//! A sink of the observer that writes events to files, one envelope of JSON on each line.
//!
//! What stands in a file is what [`Envelope::write_json`](observer_core::Envelope::write_json)
//! makes, in the journal's order. `tail -F`, `jq` and log shippers read it as it grows. In the
//! observer's configuration the sink is `type = "file"`, see [`FileConfig`]; in a program of your
//! own:
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
//! let context = SinkContext { name: "archive".to_owned(), state_dir: format!("{folder}/state").into() };
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
//! # What is promised
//!
//! A batch that was accepted is in the files, and durable after the next flush. After a crash or a
//! power cut no line is lost, none is torn, and none stands there twice: the sink keeps its
//! position and the sizes of its files in its state folder, finds by them what was written since,
//! and leaves that out when it comes again. An event that is sent again on purpose (a dead letter,
//! a replay) is written again. When the state folder is lost, the ends of the newest files are read
//! instead, and more than the last 4 MiB of each may come twice.
//!
//! # Names
//!
//! - `{date}` is the UTC day of receipt. The file of a day is closed when an event of a later one
//!   comes.
//! - `{source}` is one part of one name: bytes other than letters, digits, `-`, `_` and most dots
//!   are percent-encoded, over-long ones are cut and end in a hash. Whatever an event says, its
//!   line stays below the folders that stand before the first placeholder, and links below them are
//!   not followed. On file systems that don't tell `Bot` from `bot`, neither does the sink.
//! - A rotated file keeps its name, with a number: `2026-11-22.jsonl` becomes
//!   `2026-11-22.000001.jsonl`, then `.000002`. Sorted by name, files stand in the order in which
//!   they were written, the active one last. The active file always has the name of the template,
//!   as `tail -F` and log shippers expect; they know a rotated file by its inode. Nothing is ever
//!   overwritten.
//! - `.gz` or `.zst` is added to closed files when they are packed. The packed file keeps the time
//!   of its last line.
//! - With logrotate, either way works: `create` (the sink notices that its file was renamed and
//!   opens a new one) and `copytruncate`, which may lose lines between its two steps, as it always
//!   may.
//!
//! # What it does not do
//!
//! Files are closed by events, not by a clock: the file of a source that has gone silent stays
//! active, and is neither packed nor deleted, unless `{date}` is part of its name. Old files are
//! looked for at the start and then with flushes, at most once an hour unless one was closed. Owner
//! and mode of files are those of the process.

mod check;
mod compression;
mod config;
mod disk;
mod error;
mod janitor;
mod names;
mod sink;
mod writer;

pub use compression::Compression;
pub use config::{FileConfig, Retain, Rotate};
pub use sink::FileSink;
