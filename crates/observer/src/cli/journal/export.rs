//! `observer journal export`: the events of a journal, as the archive has them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use observer_core::{Envelope, Event, Timestamp, Uuid};
use observer_journal::{Chunk, Damage, DamageKind, OfflineJournal, Record};
use serde_json::json;

use super::shown::{count, damage_json, list};
use crate::cli::Failed;

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  observer journal export > events.ndjson
  observer journal export --from 1000 --to 1999 --output events.ndjson
  observer journal export | observer emit --url http://other.example.com:3800

Each line is an envelope, {\"id\",\"seq\",\"received_at\",\"event\"}, as in the archive. What can't be read
is skipped, and told on standard error in the end. Nothing is changed in the journal.

Exit codes:
  0  every event that should be there is written
  1  some can't be read; all others are written
  2  wrong usage or configuration, no journal there, or an observer that runs";

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The first sequence number
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// The last sequence number
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// The file to write, in place of one that is there; without it standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the summary on standard error as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ExportArgs, stopped: &OfflineJournal) -> Result<ExitCode, Failed> {
    let (from, to) = (arguments.from, arguments.to.unwrap_or(u64::MAX));
    if from.is_some_and(|from| from > to) {
        return Err(Failed::usage(anyhow!("--from is larger than --to")));
    }
    let found = stopped.inspect()?;
    let first = from.unwrap_or(found.oldest);
    let written = match &arguments.output {
        None => match write(stopped, first, to, BufWriter::new(io::stdout().lock())) {
            // A reader that has seen enough is no failure.
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
            to_file().with_context(|| format!("can't export to {}", path.display()))?
        }
    };
    let damage: Vec<_> =
        found.damage.into_iter().filter(|damage| is_missed(damage, first, to)).collect();
    tell(written, first, to.min(found.oldest - 1), &damage, arguments.json);
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many events were written.
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
        let Some(chunk) = reader.read().context("can't read the journal")? else { break };
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

/// Whether events between the two may be missing because of it.
fn is_missed(damage: &Damage, first: u64, last: u64) -> bool {
    match &damage.records {
        Some(records) => *records.start() <= last && first <= *records.end(),
        None => matches!(damage.kind, DamageKind::Tail | DamageKind::Header),
    }
}

/// `gone` is the last one that was asked for and is older than the journal.
fn tell(events: u64, first: u64, gone: u64, damage: &[Damage], as_json: bool) {
    let gone = (first <= gone).then_some((first, gone));
    if as_json {
        let expired = gone.map(|(first, last)| json!({ "first_seq": first, "last_seq": last }));
        eprintln!(
            "{}",
            json!({ "events": events, "expired": expired, "damage": damage_json(damage) })
        );
        return;
    }
    eprintln!("{}", count(events, "event"));
    if let Some((first, last)) = gone {
        eprintln!("{first} to {last} are older than the journal");
    }
    if !damage.is_empty() {
        eprint!("skipped what can't be read:\n{}", list(damage));
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
