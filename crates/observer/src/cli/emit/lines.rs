//! Lines of a stream, one at a time, in bounded memory.

use std::mem;

use bytes::Bytes;
use tokio::io::{self, AsyncBufRead, AsyncBufReadExt};

/// The longest line that is sent, in bytes: far more than an observer takes, and no danger to
/// memory.
pub(super) const MAX_LINE: usize = 16 << 20;

/// One line of a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Without the white space around it.
    Event(Bytes),
    /// Nothing but white space.
    Blank,
    /// Longer than [`MAX_LINE`].
    TooLong,
}

/// A stream as lines.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    longest: usize,
    number: usize,
    bytes_read: u64,
    /// The line that has begun: as much of it as is kept, and how long it is so far.
    begun: (Vec<u8>, usize),
}

impl Lines {
    pub(super) fn new(reader: Box<dyn AsyncBufRead + Unpin>) -> Self {
        Self { reader, longest: MAX_LINE, number: 0, bytes_read: 0, begun: (Vec::new(), 0) }
    }

    /// The next line, with its number from 1. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> io::Result<Option<(usize, Line)>> {
        let (line, length) = &mut self.begun;
        let mut ended = false;
        while !ended {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                break;
            }
            let feed = chunk.iter().position(|byte| *byte == b'\n');
            let taken = feed.map_or(chunk.len(), |at| at + 1);
            *length += taken;
            if *length <= self.longest {
                line.extend_from_slice(&chunk[..taken]);
            } else {
                *line = Vec::new();
            }
            ended = feed.is_some();
            self.reader.consume(taken);
        }
        let (line, length) = mem::take(&mut self.begun);
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes_read += length as u64;
        let line = match trimmed(&line, self.number) {
            _ if length > self.longest => Line::TooLong,
            [] => Line::Blank,
            text => Line::Event(Bytes::copy_from_slice(text)),
        };
        Ok(Some((self.number, line)))
    }

    /// How many bytes the lines so far had.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

/// Without white space, and on the first line without a byte order mark, which some editors put
/// there.
fn trimmed(line: &[u8], number: usize) -> &[u8] {
    let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(input: &'static str, expected: &[(usize, Line)]) {
        let reader = io::BufReader::with_capacity(3, input.as_bytes());
        let mut lines = Lines { longest: 8, ..Lines::new(Box::new(reader)) };
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, expected, "{input:?}");
        assert_eq!(lines.bytes_read(), input.len() as u64);
    }

    #[tokio::test]
    async fn lines_keep_their_numbers_whatever_stands_between_them() {
        let event = |text: &'static str| Line::Event(Bytes::from_static(text.as_bytes()));
        check("", &[]).await;
        check(
            "\u{feff}{a}\r\n\n \t\n {b}",
            &[(1, event("{a}")), (2, Line::Blank), (3, Line::Blank), (4, event("{b}"))],
        )
        .await;
        check(
            "1234567\n12345678\n{c}\n",
            &[(1, event("1234567")), (2, Line::TooLong), (3, event("{c}"))],
        )
        .await;
    }
}
