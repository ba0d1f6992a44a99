//! Blocks of an event stream (WHATWG HTML, section 9.2.6), without the field `retry`.

/// Block of an event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Last id of the block, if it has one.
    pub(super) id: Option<String>,
    /// Type of the event.
    pub(super) kind: String,
    /// Lines of data; empty in a block without an event.
    pub(super) data: String,
}

/// Parser of blocks from bytes that arrive in any parts.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    unread: Vec<u8>,
    /// Number of bytes that are parsed.
    parsed: usize,
    block: Block,
}

impl Blocks {
    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.parsed);
        self.parsed = 0;
        self.unread.extend_from_slice(bytes);
    }

    /// Returns the next block that is complete.
    pub(super) fn next(&mut self) -> Option<Block> {
        loop {
            let rest = &self.unread[self.parsed..];
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let line = String::from_utf8_lossy(line).into_owned();
            self.parsed += end + 1;
            if line.is_empty() {
                return Some(std::mem::take(&mut self.block));
            }
            self.add(&line);
        }
    }

    fn add(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.block.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.block.kind),
            "data" => {
                if !self.block.data.is_empty() {
                    self.block.data.push('\n');
                }
                self.block.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "id: 1-2\n\n:\n\nid: 1-3\r\nevent: outcome\r\ndata: {\"é\":1}\r\n\r\n\
                          data: a\ndata:b\n\nid: 1-4\n";

    #[test]
    fn blocks_are_the_same_however_the_bytes_arrive() {
        let block = |id: Option<&str>, kind: &str, data: &str| Block {
            id: id.map(str::to_owned),
            kind: kind.to_owned(),
            data: data.to_owned(),
        };
        let expected = [
            block(Some("1-2"), "", ""),
            Block::default(),
            block(Some("1-3"), "outcome", "{\"é\":1}"),
            block(None, "", "a\nb"),
        ];
        for size in 1..=STREAM.len() {
            let (mut blocks, mut found) = (Blocks::default(), Vec::new());
            for part in STREAM.as_bytes().chunks(size) {
                blocks.push(part);
                found.extend(std::iter::from_fn(|| blocks.next()));
            }
            assert_eq!(found, expected, "{size}");
        }
    }
}
