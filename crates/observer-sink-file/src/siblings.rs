//! The file sinks of one program, which must not take each other's files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use observer_core::{SinkContext, Timestamp};

use crate::clock::WallClock;
use crate::config::{FileConfig, Settings};
use crate::ledger::Ledger;
use crate::names::listing::match_path;
use crate::names::overlap::{folder_overlap, overlap};
use crate::names::template::Template;
use crate::sync::lock;

/// File sinks of a program. A sink that is built with them knows the others' path templates.
///
/// Clones share their contents.
#[derive(Debug, Clone, Default)]
pub struct FileSinks {
    clock: WallClock,
    sinks: Arc<Mutex<Vec<Sibling>>>,
    /// Held between the creation of a file and its record.
    creation: Arc<Mutex<()>>,
}

/// Other sinks and counters of a sink.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) sinks: FileSinks,
    /// Name of the sink itself.
    pub(crate) name: String,
    pub(crate) counts: Arc<Counts>,
}

impl Surroundings {
    /// Returns the other running sinks.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.sinks.peers_of(&self.name)
    }
}

/// Counts of a running file sink.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSinkCounts {
    /// Name of the sink.
    pub name: String,
    /// Number of files that match the sink's path template and that the sink did not write.
    pub unowned_files: u64,
    /// Number of events whose own time was too far from their receipt for `{event_date}`.
    pub skewed_events: u64,
}

/// Path that two file sinks would both write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// Names of the two sinks.
    pub sinks: [String; 2],
    /// Example of a path of both.
    pub path: PathBuf,
}

#[derive(Debug)]
struct Sibling {
    peer: Peer,
    counts: Weak<Counts>,
}

/// Another file sink of the same program.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    name: String,
    template: Template,
    state_dir: PathBuf,
}

/// Counters of a sink.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) unowned: AtomicU64,
    pub(crate) skewed: AtomicU64,
}

impl FileSinks {
    /// Sets the wall clock by which the files of the sinks age; the default is that of the system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = WallClock(Arc::new(clock));
        self
    }

    pub(crate) fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// Returns the counts of the running sinks.
    #[must_use]
    pub fn counts(&self) -> Vec<FileSinkCounts> {
        let sinks = lock(&self.sinks);
        let counts = sinks.iter().filter_map(|sibling| {
            let counts = sibling.counts.upgrade()?;
            Some(FileSinkCounts {
                name: sibling.peer.name.clone(),
                unowned_files: counts.unowned.load(Ordering::Relaxed),
                skewed_events: counts.skewed.load(Ordering::Relaxed),
            })
        });
        counts.collect()
    }

    /// Adds a sink, in place of an earlier one of the same name.
    pub(crate) fn add(&self, context: &SinkContext, settings: &Settings, counts: &Arc<Counts>) {
        let mut sinks = lock(&self.sinks);
        sinks.retain(|sibling| {
            sibling.peer.name != context.name && sibling.counts.strong_count() > 0
        });
        let peer = Peer {
            name: context.name.clone(),
            template: settings.template.clone(),
            state_dir: context.state_dir.clone(),
        };
        sinks.push(Sibling { peer, counts: Arc::downgrade(counts) });
    }

    /// Excludes other sinks while a file is created and recorded.
    pub(crate) fn begin_creation(&self) -> MutexGuard<'_, ()> {
        lock(&self.creation)
    }

    /// Returns the running sinks except one.
    pub(crate) fn peers_of(&self, name: &str) -> Vec<Peer> {
        let sinks = lock(&self.sinks);
        let peers = sinks.iter().filter(|sibling| sibling.counts.strong_count() > 0);
        peers.map(|sibling| sibling.peer.clone()).filter(|peer| peer.name != name).collect()
    }
}

impl Peer {
    /// Returns whether a path matches the template of the sink.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        let relative = |base: &Path| {
            let base = std::path::absolute(base).ok()?;
            let path = std::path::absolute(path).ok()?;
            Some(path.strip_prefix(base).ok()?.to_str()?.to_owned())
        };
        relative(self.template.base())
            .is_some_and(|relative| match_path(&self.template, &relative).is_some())
    }

    /// Reads which files the sink wrote; `None` if its record can't be read.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        let (base, extension) = (self.template.base(), self.template.extension());
        Ledger::load(&self.state_dir, base, extension).ok().map(|loaded| loaded.ledger)
    }
}

/// Returns the pairs of file sinks whose path templates can name the same file. Invalid templates
/// are ignored.
#[must_use]
pub fn overlaps<'a>(sinks: impl IntoIterator<Item = (&'a str, &'a FileConfig)>) -> Vec<Overlap> {
    pairs(sinks, overlap)
}

/// Returns the pairs of file sinks of which one can name a file as the other one names a folder, if
/// a producer sends a source of that name. Invalid templates are ignored.
#[must_use]
pub fn folder_overlaps<'a>(
    sinks: impl IntoIterator<Item = (&'a str, &'a FileConfig)>,
) -> Vec<Overlap> {
    pairs(sinks, folder_overlap)
}

fn pairs<'a>(
    sinks: impl IntoIterator<Item = (&'a str, &'a FileConfig)>,
    common: impl Fn(&Template, &Template) -> Option<PathBuf>,
) -> Vec<Overlap> {
    let template = |config: &FileConfig| {
        let template = Template::parse(&config.path).ok()?;
        Some(template.resolved().unwrap_or(template))
    };
    let templates: Vec<_> =
        sinks.into_iter().filter_map(|(name, config)| Some((name, template(config)?))).collect();
    let mut overlaps = Vec::new();
    for (index, (first, template)) in templates.iter().enumerate() {
        for (second, other) in &templates[index + 1..] {
            if let Some(path) = common(template, other) {
                overlaps.push(Overlap { sinks: [(*first).to_owned(), (*second).to_owned()], path });
            }
        }
    }
    overlaps
}
