//! `observer kb rebuild`: writes the file of the knowledge base anew.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use observer_core::redact::RedactionCounts;
use observer_core::{Position, Pricing, SinkSettings};
use observer_journal::{OfflineJournal, OpenError};
use observer_kb::{KbConfig, KbError, Rebuild, RebuildError};
use observer_sink_file::FileConfig;

use super::events::{Events, FileEvents, JournalEvents, Read};
use super::files::{self, Input};
use super::merge::Merge;
use super::report::Report;
use crate::cli::failure::Failure;
use crate::cli::output::print_as;
use crate::registry::of_type::{self, Found};
use crate::{Config, options};

pub(super) const REBUILD_EXAMPLES: &str = "\
Examples:
  observer kb rebuild
  observer kb rebuild /backup/events
  observer kb rebuild 'observer-data/events/2026-*.jsonl.zst' export.ndjson
  zcat events-*.gz | observer kb rebuild -

Stop the observer first. Without a PATH, the files of the `file` sinks in the configuration are
read. The journal is always read too, if there is one, so that the sink continues after its last
event. Each line is an envelope, {\"id\",\"seq\",\"received_at\",\"event\"}, as archives,
`observer journal export` and `observer query --ndjson` have them; gzip and Zstandard are recognised.
An event counts once, however often it is read. The filter and the prices of the configuration apply.

The new file is written beside the old one, which stays until the new one is complete. It also stays
if the new one has fewer events, unless --allow-fewer is given.

Exit codes:
  0  the file is replaced, and everything was read
  1  some lines are unreadable, and the file is replaced without them; or it is not replaced
  2  invalid usage or configuration, a missing file, or a running observer";

#[derive(Debug, Args)]
pub(super) struct RebuildArgs {
    /// Archive or export, folder or pattern of them, or `-` for standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Replace the old file even if the new one has fewer events
    #[arg(long)]
    allow_fewer: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: RebuildArgs,
    config: &Config,
    prices: Arc<dyn Pricing>,
) -> Result<ExitCode, Failure> {
    let kb = of_type::sinks::<KbConfig>(config, &prices)?.into_iter().next().ok_or_else(|| {
        Failure::usage(anyhow!("there is no knowledge base; add `[sinks.kb]` with `type = \"kb\"`"))
    })?;
    let journal = open_journal(config)?;
    let inputs = if arguments.paths.is_empty() {
        archives(config, &prices)?
    } else {
        files::find(&arguments.paths).map_err(Failure::usage)?
    };
    if inputs.is_empty() && journal.is_none() {
        let path = config.journal.path.display();
        let error = anyhow!("there is nothing to read: no archive, and no journal at {path}");
        return Err(Failure::usage(error));
    }
    let Found { config: kb, context, settings } = kb;
    let mut rebuild = Rebuild::begin(kb, &context).map_err(begin_failure)?;
    let mut report = Report { old_events: rebuild.old_events(), ..Report::default() };
    let sources = Sources::open(config, &inputs, journal.as_ref())?;
    let position = sources.read(&settings, &mut rebuild, &mut report)?;
    report.set_stored(rebuild.stored()?);

    let fewer = report.old_events.filter(|old| report.stored < *old && !arguments.allow_fewer);
    if fewer.is_none() {
        rebuild.finish(position)?;
        report.replaced = true;
        report.set_position(position);
    }
    print_as(arguments.json, &if arguments.json { report.to_json() } else { report.to_string() })?;
    if let Some(old) = fewer {
        let new = report.stored;
        return Err(Failure::from(anyhow!(
            "the file stays as it is: the new one has {new} events, and the old one {old}; name \
             further archives, or pass --allow-fewer"
        )));
    }
    Ok(if report.unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the journal and holds its lock, so that no observer starts meanwhile; `None` if there is
/// none.
fn open_journal(config: &Config) -> Result<Option<OfflineJournal>, Failure> {
    match OfflineJournal::open(options::journal(config)).and_then(OfflineJournal::hold) {
        Ok(journal) => Ok(Some(journal)),
        Err(OpenError::Missing { .. }) => Ok(None),
        Err(error @ OpenError::InUse { .. }) => {
            Err(Failure::usage(anyhow!("{error}; stop the observer first")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the files of the `file` sinks.
fn archives(config: &Config, prices: &Arc<dyn Pricing>) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for Found { config: archive, context, .. } in of_type::sinks::<FileConfig>(config, prices)? {
        let files = archive.files().with_context(|| format!("sinks.{}", context.name))?;
        inputs.extend(files.into_iter().map(Input::File));
    }
    inputs.sort();
    inputs.dedup();
    Ok(inputs)
}

/// Distinguishes what the operator has to stop or move away from other errors.
fn begin_failure(error: RebuildError) -> Failure {
    match error {
        RebuildError::File(
            KbError::InUse { .. } | KbError::Foreign { .. } | KbError::Newer { .. },
        ) => Failure::usage(error),
        error => error.into(),
    }
}

/// Sources of a rebuild.
struct Sources {
    events: Vec<Events>,
    /// Epoch of the journal.
    epoch: Option<u64>,
    /// Last record of the journal, once it is read.
    head: Arc<AtomicU64>,
    /// Bytes that were read.
    bytes: Arc<AtomicU64>,
    /// Bytes to read, if that is known.
    total: Option<u64>,
}

impl Sources {
    fn open(
        config: &Config,
        inputs: &[Input],
        journal: Option<&OfflineJournal>,
    ) -> Result<Self, Failure> {
        let (bytes, head) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let redactor = config.load_redactor(&RedactionCounts::default())?;
        let options = config.ingest.parse_options(redactor);
        let mut events = Vec::new();
        let mut total = files::total_size(inputs);
        let mut epoch = None;
        // Of an event that is in both, the first source counts, and the journal knows the epoch.
        if let Some(journal) = journal {
            epoch = journal.epoch()?;
            total = total.map(|total| total + size_of_segments(journal));
            let events_of =
                JournalEvents::new(journal, options.clone(), bytes.clone(), head.clone())?;
            events.push(Events::Journal(Box::new(events_of)));
        }
        events.extend(inputs.iter().map(|input| {
            let file = FileEvents::new(input.clone(), options.clone(), bytes.clone());
            Events::File(Box::new(file))
        }));
        Ok(Self { events, epoch, head, bytes, total })
    }

    /// Adds all events. Returns the end of the journal.
    fn read(
        self,
        settings: &SinkSettings,
        rebuild: &mut Rebuild,
        report: &mut Report,
    ) -> anyhow::Result<Option<Position>> {
        let progress = progress(self.total);
        let mut merge = Merge::new(self.events)?;
        while let Some(read) = merge.next()? {
            match read {
                Read::Unreadable(unreadable) => report.add(unreadable),
                Read::Event(envelope, epoch) => {
                    report.read += 1;
                    if settings.filter.matches(&envelope.event) {
                        rebuild.add(envelope, epoch)?;
                    } else {
                        report.filtered += 1;
                    }
                }
            }
            if report.read.is_multiple_of(1_024) {
                progress.set_position(self.bytes.load(Ordering::Relaxed));
                progress.set_message(format!("{} events", report.read));
            }
        }
        progress.finish_and_clear();
        let seq = self.head.load(Ordering::Relaxed);
        Ok(self.epoch.filter(|_| seq > 0).map(|epoch| Position { epoch, seq }))
    }
}

fn size_of_segments(journal: &OfflineJournal) -> u64 {
    let entries = std::fs::read_dir(journal.dir()).into_iter().flatten().flatten();
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
    segments.filter_map(|segment| segment.metadata().ok()).map(|file| file.len()).sum()
}

/// Returns a progress bar on standard error, which shows nothing if that is no terminal.
fn progress(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {binary_bytes}/{binary_total_bytes} {msg} ({eta} left)",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("both templates are valid"))
}
