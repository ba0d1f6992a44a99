//! End of the journal, and its state after it is opened again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::reference::{Segment, block_size, opened};
use super::steps::{Ending, Step};
use super::world::{Rejected, World};
use crate::fs::FileSystem;
use crate::segment::SegmentName;
use crate::segment::format::{BLOCKS_OFFSET, HEADER_SIZE, TRAILER_SIZE, Trailer};
use crate::testing::try_open;
use crate::{Chunk, Record, Recovery};

impl World {
    pub(super) fn reopen(&mut self, ending: Ending, lost: Option<(u8, u8)>, step: &Step) {
        match ending {
            Ending::Closed => {
                if lost.is_none() {
                    self.arm(step);
                }
                self.close();
                if self.disk.is_off() {
                    self.ended_by(step);
                    self.disk.restart();
                }
            }
            Ending::Killed => {
                self.disk.kill();
                self.tally.kills += 1;
            }
            Ending::PowerCut => {
                self.disk.cut_power();
                self.lost_power = true;
                self.tally.power_cuts += 1;
            }
        }
        if ending != Ending::Closed {
            self.journal = None;
            self.disk.restart();
            if lost.is_none() {
                self.arm(step);
            }
        }
        if let Some((segments, of_255)) = lost {
            // A later power cut must not bring these files back.
            self.disk.sync_dir(Path::new("j")).unwrap();
            self.lose(segments, of_255);
            self.arm(step);
        }
        self.open(lost.is_some(), step);
    }

    /// Opens the journal, repeatedly if a fault occurs. `is_lossy` if its end was removed.
    pub(super) fn open(&mut self, is_lossy: bool, step: &Step) {
        loop {
            self.pass(1_000);
            let result = try_open(self.options());
            self.disk.clear_faults();
            match result {
                Ok((journal, _)) if self.disk.is_off() => drop(journal),
                Ok((journal, recovery)) => {
                    self.journal = Some(journal);
                    self.tally.opened += 1;
                    return self.opened(&recovery, is_lossy);
                }
                Err(error) => assert!(self.has_fault(), "error without a fault: {error}"),
            }
            // The failed opening may have begun and stored an epoch.
            let may_be = self.candidates.clone();
            let heads = self.possible_heads(is_lossy);
            let with_epoch = may_be
                .iter()
                .flat_map(|stored| heads.iter().map(|head| opened(stored, *head, self.now()).0));
            let with_epoch: Vec<_> =
                with_epoch.filter(|positions| !may_be.contains(positions)).collect();
            self.candidates.extend(with_epoch);
            self.is_fault_free = false;
            if self.disk.is_off() {
                self.ended_by(step);
                self.disk.restart();
            }
        }
    }

    fn possibly_committed(&self, is_lossy: bool) -> impl Iterator<Item = &Rejected> {
        let first_seq = self.reference.head + 1;
        let may = move |rejected: &&Rejected| {
            !rejected.is_old && (self.lost_power || !rejected.is_undone)
        };
        self.rejected
            .iter()
            .filter(move |rejected| rejected.first_seq == first_seq && (is_lossy || may(rejected)))
    }

    /// Returns the possible heads: without or with one of the rejected groups.
    fn possible_heads(&self, is_lossy: bool) -> Vec<u64> {
        let head = self.reference.head;
        let rejected =
            self.possibly_committed(is_lossy).map(|rejected| head + rejected.records.len() as u64);
        std::iter::once(head).chain(rejected).collect()
    }

    fn opened(&mut self, recovery: &Recovery, is_lossy: bool) {
        let head = self.journal().head();
        assert_eq!(recovery.head, head);
        assert!(
            self.possible_heads(is_lossy).contains(&head),
            "the head is {head} instead of {}",
            self.reference.head
        );
        if head > self.reference.head {
            self.committed_though_rejected(is_lossy);
        }
        self.rejected.iter_mut().for_each(|rejected| rejected.is_old = true);
        assert_eq!((&recovery.lost, &recovery.quarantined), (&vec![], &vec![]));
        assert!(!recovery.positions_lost);
        let may_be_torn = self.may_be_torn || self.lost_power || is_lossy;
        assert!(
            may_be_torn || recovery.torn_bytes == 0,
            "torn bytes without a fault: {recovery:?}"
        );

        let positions = self.journal().state.readers().positions.clone();
        let found = (positions.clone(), recovery.new_epoch);
        let expected: Vec<_> =
            self.candidates.iter().map(|stored| opened(stored, head, self.now())).collect();
        assert!(expected.contains(&found), "{found:#?} is not one of {expected:#?}");
        assert!(is_lossy || !recovery.new_epoch, "a new epoch began without a loss");
        self.tally.epochs += u64::from(recovery.new_epoch);
        (self.reference.current, self.reference.durable) = (positions.clone(), positions.clone());
        self.candidates = vec![positions];

        self.opened_segments(is_lossy);
        self.hold();
        self.resume();
        (self.is_certain, self.is_fault_free, self.lost_power, self.may_be_torn) =
            (true, true, false, false);
        (self.failed_at, self.reference.wanted) = (None, None);
        self.check_records();
    }

    /// Checks and adds the group that was committed although it was rejected.
    fn committed_though_rejected(&mut self, is_lossy: bool) {
        let first_seq = self.reference.head + 1;
        let Some(Chunk::Records { records, .. }) =
            self.journal().reader(self.reference.head).read().unwrap()
        else {
            panic!("a group is committed completely or not at all")
        };
        let is_rejected =
            self.possibly_committed(is_lossy).any(|rejected| rejected.records == records);
        assert!(is_rejected, "{records:?} were never appended");
        self.add_acknowledged(first_seq, records);
        self.tally.committed_though_rejected += 1;
    }

    fn opened_segments(&mut self, is_lossy: bool) {
        let found = self.segments();
        let is_fault_free = self.is_certain && self.is_fault_free && !self.has_fault() && !is_lossy;
        let known = self
            .reference
            .unsynced_removals
            .iter()
            .chain(&self.reference.segments)
            .map(|segment| segment.first_seq);
        let known: BTreeSet<_> = known.collect();
        // After a fault, a segment may have been created for the rejected group.
        let last =
            [Some(self.reference.head + 1), self.blocks.last_key_value().map(|(first, _)| *first)];
        for Segment { first_seq, .. } in &found {
            let is_known =
                known.contains(first_seq) || (!is_fault_free && last.contains(&Some(*first_seq)));
            assert!(is_known, "there was never a segment that begins at {first_seq}");
        }
        let bound = self
            .reference
            .segments
            .first()
            .map_or(self.reference.head + 1, |segment| segment.first_seq);
        let oldest = found.first().map_or(self.reference.head + 1, |segment| segment.first_seq);
        assert!(
            is_lossy || !self.is_certain || oldest <= bound,
            "the oldest record is {oldest}, but {bound} should be there"
        );
        self.tally.reappeared += u64::from(oldest < bound);
        if self.reference.unsynced_removals.is_empty() && is_fault_free {
            // A power cut may undo an unsynced truncation.
            let as_seen = |segment: &Segment| Segment {
                size: if self.lost_power { 0 } else { segment.size },
                ..*segment
            };
            let [found, expected] =
                [&found, &self.reference.segments].map(|segments| segments.iter().map(as_seen));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        let on_disk: Vec<_> = self.logs().into_iter().map(|(name, ..)| name.first_seq).collect();
        assert_eq!(
            on_disk,
            found.iter().map(|segment| segment.first_seq).collect::<Vec<_>>(),
            "there is a file that belongs to no segment"
        );
        self.reference.segments = found;
        self.reference.unsynced_removals.clear();
        self.reference.is_open = self.logs().last().is_some_and(|(_, _, bytes)| {
            let salt =
                self.journal().state.segments().back().expect("the last segment has a file").salt();
            bytes
                .last_chunk::<TRAILER_SIZE>()
                .is_none_or(|trailer| Trailer::decode(salt, trailer).is_none())
        });
    }

    /// Returns the files of the segments, oldest first.
    fn logs(&self) -> Vec<(SegmentName, PathBuf, Vec<u8>)> {
        let named = |(path, bytes): (PathBuf, _)| {
            Some((SegmentName::parse(path.file_name()?.to_str()?)?, path, bytes))
        };
        let mut logs: Vec<_> = self.disk.files().into_iter().filter_map(named).collect();
        logs.sort();
        logs
    }

    /// Removes segments at the end, and truncates the one before them.
    fn lose(&mut self, segments: u8, of_255: u8) {
        let mut logs = self.logs();
        // Earlier generations are lost, too.
        for pair in logs.windows(2).filter(|pair| pair[0].0.first_seq == pair[1].0.first_seq) {
            self.disk.put(&pair[0].1, None);
        }
        logs.reverse();
        logs.dedup_by_key(|(name, ..)| name.first_seq);
        logs.reverse();
        let mut bound = u64::MAX;
        for _ in 0..segments {
            if let Some((name, path, _)) = logs.pop() {
                self.disk.put(&path, None);
                bound = name.first_seq;
            }
        }
        let mut head = 0;
        if let Some((name, path, mut bytes)) = logs.pop() {
            bytes.truncate(bytes.len() * usize::from(of_255) / 255);
            let size = bytes.len() as u64;
            self.disk.put(&path, Some(bytes));
            // A file without a header is no segment. If none is left, the journal is empty.
            if size >= HEADER_SIZE as u64 || !logs.is_empty() {
                head = self.whole_blocks(name.first_seq..bound, size);
            }
        }
        self.reference.head = self.reference.head.min(head);
        self.records.split_off(&(self.reference.head + 1));
        self.blocks.split_off(&(self.reference.head + 1));
    }

    /// Returns the last record of the complete blocks in the first `size` bytes of a segment.
    fn whole_blocks(&self, segment: Range<u64>, size: u64) -> u64 {
        let mut end = BLOCKS_OFFSET;
        let fits = |(first, last): &(&u64, &u64)| {
            end += block_size(
                self.records.range(**first..=**last).map(|(_, record): (_, &Record)| record),
            );
            end <= size
        };
        self.blocks
            .range(segment.clone())
            .take_while(fits)
            .last()
            .map_or(segment.start - 1, |(_, last)| *last)
    }
}
