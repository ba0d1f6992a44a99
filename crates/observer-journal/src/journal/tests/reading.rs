//! Readers that go along while more is written.

use crate::Chunk;
use crate::fs::Memory;
use crate::testing::{fill, open, options, record};

#[test]
fn a_reader_at_the_head_reads_on_as_more_comes() {
    let (journal, _) = open(options(Memory::default()).segment_size(4096));
    let mut reader = journal.reader(0);
    for number in 1..=200 {
        assert_eq!(reader.read().unwrap(), None);
        fill(&journal, number..=number);
        assert_eq!(reader.next_seq(), number);
        assert_eq!(reader.read().unwrap(), Some(Chunk::Records { first_seq: number, records: vec![record(number)] }));
    }
}
