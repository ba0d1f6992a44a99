//! Inputs of `observer emit`.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{self, AsyncBufRead, AsyncRead, BufReader};

use super::elements::Elements;
use super::lines::Lines;

/// Buffer size of an input, in bytes.
const BUFFER: usize = 1 << 16;

/// Source of events, with its name in messages.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) source: Source,
}

pub(super) enum Source {
    Event(Bytes),
    Stream(Stream),
}

/// Stream of events that isn't open yet.
pub(super) enum Stream {
    Stdin,
    File(PathBuf),
}

impl Stream {
    pub(super) async fn open(self) -> io::Result<Lines> {
        Ok(Lines::new(match self {
            Self::Stdin => buffered(io::stdin()),
            Self::File(path) => buffered(File::open(path).await?),
        }))
    }
}

fn buffered(reader: impl AsyncRead + Unpin + 'static) -> Box<dyn AsyncBufRead + Unpin> {
    Box::new(BufReader::with_capacity(BUFFER, Elements::new(reader)))
}

/// Returns the event from flags, else the files, else standard input.
///
/// # Errors
/// If a file can't be opened, or no input is given at a terminal.
pub(super) fn choose(event: Option<Bytes>, files: Vec<PathBuf>) -> anyhow::Result<Vec<Input>> {
    if let Some(event) = event {
        return Ok(vec![Input { name: "the event".to_owned(), source: Source::Event(event) }]);
    }
    if files.is_empty() && std::io::stdin().is_terminal() {
        bail!(
            "no events to send; pass --source for one event, name files, or pipe events to \
             standard input (see --help)"
        );
    }
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
    files.into_iter().map(stream).collect()
}

/// Opens the file once, so that a missing file is reported before the first event is sent.
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

/// Returns the total size of the inputs in bytes, or `None` if one of them has no known size.
pub(super) fn total_size(inputs: &[Input]) -> Option<u64> {
    let size = |input: &Input| match &input.source {
        Source::Stream(Stream::File(path)) => {
            fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
        }
        _ => None,
    };
    inputs.iter().map(size).sum()
}
