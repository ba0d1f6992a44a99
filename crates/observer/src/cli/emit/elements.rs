//! JSON arrays of events, read as lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Reader that turns each element of an outermost JSON array into a line. Other input stays as it
/// is, and so does the number of bytes.
///
/// Only brackets, commas and strings are recognised. Malformed elements are left to those who parse
/// the lines.
pub(super) struct Elements<R> {
    reader: R,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte that is not white space.
    Start,
    /// In input that is not an array.
    Lines,
    /// In an array, at the depth of brackets and braces, of which the array's own is the first.
    Array { depth: usize, text: Text },
}

/// Place within a string of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash.
    Escape,
}

impl<R> Elements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, place: Place::Start }
    }
}

impl Place {
    fn convert(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if *self == Self::Lines {
                return;
            }
            *byte = self.step(*byte);
        }
    }

    /// Moves past a byte, and returns what takes its place.
    fn step(&mut self, byte: u8) -> u8 {
        let Self::Array { depth, text } = self else {
            return self.begin(byte);
        };
        *text = match (*text, byte) {
            (Text::Inside, b'\\') => Text::Escape,
            (Text::Inside, b'"') => Text::Outside,
            (Text::Inside | Text::Escape, _) => Text::Inside,
            (Text::Outside, b'"') => Text::Inside,
            (Text::Outside, _) => Text::Outside,
        };
        if *text != Text::Outside {
            return byte;
        }
        match (byte, *depth) {
            (b'[' | b'{', _) => *depth += 1,
            (b']' | b'}', 1) => {
                *self = Self::Start;
                return b'\n';
            }
            (b']' | b'}', _) => *depth -= 1,
            (b',', 1) => return b'\n',
            (b'\n' | b'\r', _) => return b' ',
            _ => {}
        }
        byte
    }

    fn begin(&mut self, byte: u8) -> u8 {
        match byte {
            b'[' => *self = Self::Array { depth: 1, text: Text::Outside },
            // White space, or a part of a byte order mark.
            b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => return byte,
            _ => {
                *self = Self::Lines;
                return byte;
            }
        }
        b' '
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Elements<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        self.place.convert(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines that are not blank.
    fn lines(input: &str) -> Vec<String> {
        let mut whole = input.as_bytes().to_vec();
        Place::Start.convert(&mut whole);
        let mut parts = input.as_bytes().to_vec();
        let mut place = Place::Start;
        parts.chunks_mut(1).for_each(|part| place.convert(part));
        assert_eq!(whole, parts, "{input}");
        let text = String::from_utf8(whole).unwrap();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn each_element_of_an_array_is_a_line() {
        for (input, expected) in [
            ("[]", &[][..]),
            ("[{\"a\":1},{\"b\":[2,3]}]", &["{\"a\":1}", "{\"b\":[2,3]}"]),
            ("\n[\n  {\n    \"a\": [1,\n 2]\n  },\n  {}\n]\n", &["{     \"a\": [1,  2]   }", "{}"]),
            (r#"[{"a":"],[\"}"},{"b":"\\"}]"#, &[r#"{"a":"],[\"}"}"#, r#"{"b":"\\"}"#]),
            ("[1,\"x\"][2]", &["1", "\"x\"", "2"]),
            ("[{}]\n{\"b\":[\n1]}", &["{}", "{\"b\":[", "1]}"]),
        ] {
            assert_eq!(lines(input), expected, "{input}");
        }
    }

    #[test]
    fn lines_stay_as_they_are() {
        for input in ["", "{\"a\":[1,2]}\n{\"b\":\"[\"}\n", "\n x\n[1,2]\n", "{\n\"a\":1}\n"] {
            let mut bytes = input.as_bytes().to_vec();
            Place::Start.convert(&mut bytes);
            assert_eq!(bytes, input.as_bytes());
        }
    }
}
