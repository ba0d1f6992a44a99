//! Where events come from.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{self, BufReader};

use super::lines::Lines;

/// The buffer of one input, in bytes.
const BUFFER: usize = 1 << 16;

/// One event, or a stream of them, and what to call it.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) source: Source,
}

pub(super) enum Source {
    Event(Bytes),
    Stream(Stream),
}

/// A stream that isn't open yet.
pub(super) enum Stream {
    Stdin,
    File(PathBuf),
}

impl Stream {
    pub(super) async fn open(self) -> io::Result<Lines> {
        Ok(Lines::new(match self {
            Self::Stdin => Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
            Self::File(path) => Box::new(BufReader::with_capacity(BUFFER, File::open(path).await?)),
        }))
    }
}

/// The event of the command line, else the files, else standard input.
pub(super) fn choose(event: Option<Bytes>, files: Vec<PathBuf>) -> anyhow::Result<Vec<Input>> {
    if let Some(event) = event {
        return Ok(vec![Input { name: "the event".to_owned(), source: Source::Event(event) }]);
    }
    if files.is_empty() && std::io::stdin().is_terminal() {
        bail!(
            "there is nothing to send; give one event with --source, name files, or pipe events in (see --help)"
        );
    }
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
    files.into_iter().map(stream).collect()
}

/// A file that isn't there is better known before the first event is sent.
fn stream(path: PathBuf) -> anyhow::Result<Input> {
    if path == Path::new("-") {
        return Ok(Input {
            name: "standard input".to_owned(),
            source: Source::Stream(Stream::Stdin),
        });
    }
    fs::File::open(&path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Input { name: path.display().to_string(), source: Source::Stream(Stream::File(path)) })
}

/// How many bytes there are in all, where that can be known.
pub(super) fn total_size(inputs: &[Input]) -> Option<u64> {
    let size = |input: &Input| match &input.source {
        Source::Stream(Stream::File(path)) => {
            fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
        }
        _ => None,
    };
    inputs.iter().map(size).sum()
}
