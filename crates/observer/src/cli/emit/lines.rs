//! Reader of single lines with bounded memory.

use std::mem;

use bytes::Bytes;
use tokio::io::{self, AsyncBufRead, AsyncBufReadExt};

/// Maximum length of a line, in bytes. It is far above the limit of an observer and bounds memory.
pub(super) const MAX_LINE: usize = 16 << 20;

/// Line of a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Line without surrounding white space.
    Event(Bytes),
    /// Line of white space only.
    Blank,
    /// Line longer than [`MAX_LINE`].
    TooLong,
}

/// Stream of lines.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    max_line: usize,
    number: usize,
    bytes_read: u64,
    /// Buffered start of the current line, and its length so far.
    partial: (Vec<u8>, usize),
}

impl Lines {
    pub(super) fn new(reader: Box<dyn AsyncBufRead + Unpin>) -> Self {
        Self { reader, max_line: MAX_LINE, number: 0, bytes_read: 0, partial: (Vec::new(), 0) }
    }

    /// Returns the next line with its number, from 1.
    ///
    /// # Errors
    /// If the stream can't be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses no input.
    pub(super) async fn next(&mut self) -> io::Result<Option<(usize, Line)>> {
        let (line, length) = &mut self.partial;
        let mut ended = false;
        while !ended {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                break;
            }
            let line_feed = chunk.iter().position(|byte| *byte == b'\n');
            let taken = line_feed.map_or(chunk.len(), |at| at + 1);
            *length += taken;
            if *length <= self.max_line {
                line.extend_from_slice(&chunk[..taken]);
            } else {
                *line = Vec::new();
            }
            ended = line_feed.is_some();
            self.reader.consume(taken);
        }
        let (line, length) = mem::take(&mut self.partial);
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes_read += length as u64;
        let line = match trim(&line, self.number) {
            _ if length > self.max_line => Line::TooLong,
            [] => Line::Blank,
            text => Line::Event(Bytes::copy_from_slice(text)),
        };
        Ok(Some((self.number, line)))
    }

    /// Returns the size of the lines returned so far, in bytes.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

/// Removes surrounding white space and, on the first line, a byte order mark.
fn trim(line: &[u8], number: usize) -> &[u8] {
    let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(input: &'static str, expected: &[(usize, Line)]) {
        let reader = io::BufReader::with_capacity(3, input.as_bytes());
        let mut lines = Lines { max_line: 8, ..Lines::new(Box::new(reader)) };
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, expected, "{input:?}");
        assert_eq!(lines.bytes_read(), input.len() as u64);
    }

    #[tokio::test]
    async fn blank_and_too_long_lines_count_as_lines() {
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
