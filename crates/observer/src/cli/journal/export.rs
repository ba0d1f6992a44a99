//! `observer journal export`: writes the events of a journal in the format of the archive.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use observer_core::{Envelope, Event, Timestamp, Uuid};
use observer_journal::{Chunk, Damage, DamageKind, OfflineJournal, Record};
use serde_json::json;

use super::damage::{damage_json, list};
use crate::cli::failure::Failure;
use crate::cli::output::{count, print_error};

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  observer journal export > events.ndjson
  observer journal export --from 1000 --to 1999 --output events.ndjson
  observer journal export | observer emit --url http://other.example.com:3800

Each line is an envelope, {\"id\",\"seq\",\"received_at\",\"event\"}, as in the archive. Unreadable
records are skipped and listed on standard error at the end. The journal is not changed.

Exit codes:
  0  every event of the range is written
  1  some events are unreadable; all others are written
  2  invalid usage or configuration, a missing journal, or a running observer";

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// First sequence number to export
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// Last sequence number to export
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// File to write, overwriting an existing one; by default standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the summary on standard error as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ExportArgs, stopped: &OfflineJournal) -> Result<ExitCode, Failure> {
    let (from, to) = (arguments.from, arguments.to.unwrap_or(u64::MAX));
    if from.is_some_and(|from| from > to) {
        return Err(Failure::usage(anyhow!("--from is larger than --to; exchange them")));
    }
    let inspection = stopped.inspect()?;
    let first = from.unwrap_or(inspection.oldest);
    let written = match &arguments.output {
        None => match write(stopped, first, to, BufWriter::new(io::stdout().lock())) {
            // A reader that closes the pipe early is not an error.
            Err(error) if is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
            written => written?.0,
        },
        Some(path) => {
            let to_file = || {
                let (events, file) =
                    write(stopped, first, to, BufWriter::new(File::create(path)?))?;
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                anyhow::Ok(events)
            };
            to_file().with_context(|| format!("{} can't be written", path.display()))?
        }
    };
    let damage: Vec<_> =
        inspection.damage.into_iter().filter(|damage| affects(damage, first, to)).collect();
    print_summary(written, first, to.min(inspection.oldest - 1), &damage, arguments.json);
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the events in the range, and returns their number and the writer.
fn write<W: Write>(
    stopped: &OfflineJournal,
    first: u64,
    last: u64,
    mut out: W,
) -> anyhow::Result<(u64, W)> {
    let mut reader = stopped.reader(first - 1)?;
    let mut line = Vec::new();
    let mut events = 0;
    while reader.next_seq() <= last {
        let Some(chunk) = reader.read().context("the journal can't be read")? else { break };
        let Chunk::Records { first_seq, records } = chunk else { continue };
        for (seq, record) in (first_seq..=last).zip(records) {
            line.clear();
            envelope(seq, record).write_json(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
            events += 1;
        }
    }
    out.flush()?;
    Ok((events, out))
}

fn envelope(seq: u64, record: Record) -> Envelope {
    let micros = i64::try_from(record.received_at).unwrap_or(i64::MAX);
    let received_at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    Envelope {
        id: Uuid::from_bytes(record.id),
        seq,
        received_at,
        event: Event::from_parsed(record.payload),
    }
}

/// Returns whether the damage may affect events in the range.
fn affects(damage: &Damage, first: u64, last: u64) -> bool {
    match &damage.records {
        Some(records) => *records.start() <= last && first <= *records.end(),
        None => matches!(damage.kind, DamageKind::Tail | DamageKind::Header),
    }
}

/// Prints a summary on standard error. `last_expired` is the last sequence number of the range that
/// is older than the journal.
fn print_summary(events: u64, first: u64, last_expired: u64, damage: &[Damage], as_json: bool) {
    let expired = (first <= last_expired).then_some((first, last_expired));
    if as_json {
        let expired = expired.map(|(first, last)| json!({ "first_seq": first, "last_seq": last }));
        let summary =
            json!({ "events": events, "expired": expired, "damage": damage_json(damage) });
        print_error(&summary.to_string());
        return;
    }
    print_error(&count(events, "event"));
    if let Some((first, last)) = expired {
        print_error(&format!("events {first} to {last} are older than the journal"));
    }
    if !damage.is_empty() {
        print_error(format!("skipped unreadable data:\n{}", list(damage)).trim_end());
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
