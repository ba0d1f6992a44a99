//! File sinks of a configuration, which must not take each other's files.

use std::path::PathBuf;
use std::sync::Arc;

use observer_core::NoPrices;
use observer_sink_file::{FileConfig, FileSink, FileSinks, Overlap, folder_overlaps, overlaps};

use crate::config::parse::key_path::KeyPath;
use crate::config::{Config, ConfigError, Problem};
use crate::registry::of_type::{Found, sinks};

/// Refuses file sinks whose paths can name the same file, or a file among those of the journal or
/// of the state of sinks.
///
/// # Errors
/// If there are such sinks, or a file sink can't be built.
pub(crate) fn refuse_overlaps(config: &Config) -> Result<(), ConfigError> {
    let overlaps = overlaps_of(config)?.into_iter().map(|overlap| {
        let at = KeyPath::of(["sinks", &overlap.sinks[1], "path"]);
        Problem::new(at, explained(&overlap))
    });
    let misplaced = misplaced(config)?.into_iter().map(|(sink, folder)| {
        let at = KeyPath::of(["sinks", &sink, "path"]);
        let folder = folder.display();
        Problem::new(
            at,
            format!("lies in {folder}, where the observer keeps state; choose another folder"),
        )
    });
    let problems: Vec<_> = overlaps.chain(misplaced).collect();
    if problems.is_empty() { Ok(()) } else { Err(config.invalid(problems)) }
}

/// Returns the file sinks whose files lie in a folder with state of the observer, and that folder.
fn misplaced(config: &Config) -> Result<Vec<(String, PathBuf)>, ConfigError> {
    let folders = [config.journal.path.clone(), config.sinks_dir()];
    let folder_of = |found: Found<FileConfig>| {
        let folder = folders.iter().find(|folder| found.config.lies_below(folder))?;
        Some((found.context.name, folder.clone()))
    };
    Ok(file_sinks(config)?.into_iter().filter_map(folder_of).collect())
}

/// Warns about what [`refuse_overlaps`] refuses. No sink touches the files of others.
pub(crate) fn warn_of_overlaps(config: &Config) {
    for (sink, folder) in misplaced(config).unwrap_or_default() {
        tracing::warn!(
            sink,
            folder = %folder.display(),
            "a file sink writes into a folder where the observer keeps state"
        );
    }
    for warning in warnings(config) {
        tracing::warn!(warning, "two file sinks can give a file and a folder the same name");
    }
    for overlap in overlaps_of(config).unwrap_or_default() {
        tracing::warn!(
            sink = overlap.sinks[1],
            other = overlap.sinks[0],
            path = %overlap.path.display(),
            "two file sinks can name the same file; each writes files of its own"
        );
    }
}

/// Returns a warning for each pair of file sinks of which one can name a file as the other one
/// names the folder of a source.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let Ok(found) = file_sinks(config) else { return Vec::new() };
    let overlaps = folder_overlaps(found.iter().map(|found| (&*found.context.name, &found.config)));
    let warning = |Overlap { sinks: [first, second], path, .. }: Overlap| {
        let path = path.display();
        format!(
            "sinks.{first} and sinks.{second}: a producer can send a source whose folder has the \
             name of a file, such as {path}; its events then go to a folder with an escaped name; \
             give each file sink a folder of its own"
        )
    };
    overlaps.into_iter().map(warning).collect()
}

fn overlaps_of(config: &Config) -> Result<Vec<Overlap>, ConfigError> {
    let found = file_sinks(config)?;
    Ok(overlaps(found.iter().map(|found| (&*found.context.name, &found.config))))
}

fn explained(Overlap { sinks, path, .. }: &Overlap) -> String {
    let path = path.display();
    format!(
        "can name {path}, and so can `sinks.{}.path`; give each file sink names of its own",
        sinks[0]
    )
}

fn file_sinks(config: &Config) -> Result<Vec<Found<FileConfig>>, ConfigError> {
    // The sinks are only read, and a file sink has no prices.
    sinks::<FileConfig>(config, &(Arc::new(NoPrices) as Arc<_>))
}

/// Returns the files that match the path of a file sink and that it did not write, by sink, as far
/// as they can be read.
pub(crate) fn unowned(config: &Config) -> Vec<(String, Vec<PathBuf>)> {
    let Ok(found) = file_sinks(config) else { return Vec::new() };
    let siblings = FileSinks::default();
    let built: Vec<_> = found
        .iter()
        .filter_map(|found| FileSink::new_among(&found.config, &found.context, &siblings).ok())
        .collect();
    let unowned = found
        .into_iter()
        .filter_map(|Found { config, context, .. }| {
            let files = config.unowned_files(&context, &siblings).ok()?;
            (!files.is_empty()).then_some((context.name, files))
        })
        .collect();
    drop(built);
    unowned
}
