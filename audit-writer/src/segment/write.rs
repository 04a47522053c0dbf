//! Writing a segment: lines in, compressed frames out.

use std::io;

use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::{FRAME_TARGET, Facts, INDEX_FRAMING, INDEX_MAGIC, Index, IndexBuilder, SKIPPABLE_MAGIC};
use crate::ids::{SegmentNo, Seq};
use crate::merkle::{CompactRange, Hash};
use crate::time::Timestamp;

/// Compresses one segment as its records come. The caller owns the file: what [`add`](SegmentBuilder::add) and
/// [`finish`](SegmentBuilder::finish) append to their `out` is to be written, in order.
pub struct SegmentBuilder {
    segment: SegmentNo,
    before: CompactRange,
    first_ts: Option<Timestamp>,
    index: IndexBuilder,
    compressor: Compressor<'static>,
    raw: Vec<u8>,
    /// Room for a frame; kept, for to clear it anew for each frame would cost as much as a hash.
    compressed: Vec<u8>,
    raw_bytes: u64,
    written: u64,
    file: Sha256,
}

/// What a finished segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub segment: SegmentNo,
    /// SHA-256 of its whole file.
    pub sha256: Hash,
    /// Bytes of its file.
    pub bytes: u64,
    /// `ts` of its first record, which gives its date.
    pub first_ts: Timestamp,
    /// The boot that wrote it: 8 hex digits.
    pub boot: String,
    /// Its records.
    pub count: u64,
    /// The tree of all records up to its last.
    pub tree: CompactRange,
}

impl SegmentBuilder {
    /// A segment that continues the tree `before`, compressed with zstd at `level`.
    ///
    /// # Errors
    /// zstd refuses the level, or has no memory.
    pub fn new(segment: SegmentNo, before: CompactRange, level: i32) -> io::Result<SegmentBuilder> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(SegmentBuilder {
            segment,
            first_ts: None,
            index: IndexBuilder::new(Seq(before.end())),
            before,
            compressor,
            raw: Vec::with_capacity(FRAME_TARGET + FRAME_TARGET / 8),
            compressed: Vec::new(),
            raw_bytes: 0,
            written: 0,
            file: Sha256::new(),
        })
    }

    /// Its number.
    pub fn segment(&self) -> SegmentNo {
        self.segment
    }

    /// The number of the next record.
    pub fn next_seq(&self) -> Seq {
        self.index.next_seq()
    }

    /// Bytes of the lines so far, with their newlines.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Takes the next line, which ends in its newline; appends a frame to `out` when one is full.
    ///
    /// # Errors
    /// zstd fails; the builder is then of no use any more.
    pub fn add(&mut self, line: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        debug_assert!(line.ends_with(b"\n"));
        self.first_ts.get_or_insert(facts.ts);
        let leaf = crate::merkle::leaf_hash(&line[..line.len() - 1]);
        self.index.add(facts, leaf, line.len());
        self.raw.extend_from_slice(line);
        self.raw_bytes += line.len() as u64;
        if self.raw.len() >= FRAME_TARGET { self.end_frame(out) } else { Ok(()) }
    }

    fn end_frame(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let bound = zstd::zstd_safe::compress_bound(self.raw.len());
        if self.compressed.len() < bound {
            self.compressed.resize(bound, 0);
        }
        let len = self.compressor.compress_to_buffer(&self.raw, &mut self.compressed[..])?;
        self.raw.clear();
        let frame = &self.compressed[..len];
        out.extend_from_slice(frame);
        self.index.end_frame(self.written, len as u64, Hash::of(frame));
        self.file.update(frame);
        self.written += len as u64;
        Ok(())
    }

    /// Closes the last frame and appends it and the index frame to `out`. `None` where no record was added.
    ///
    /// # Errors
    /// zstd fails.
    pub fn finish(mut self, log: &str, boot: &str, out: &mut Vec<u8>) -> io::Result<Option<SegmentSummary>> {
        self.end_frame(out)?;
        let Some(first_ts) = self.first_ts else { return Ok(None) };
        let mut tree = self.before.clone();
        tree.append(self.index.range()).expect("the index continues the tree that it began with");
        let count = self.index.range().len();
        let Some(index) = self.index.finish(log, self.segment, boot, &self.before) else { return Ok(None) };
        let frame = index_frame(&index);
        self.file.update(&frame);
        out.extend_from_slice(&frame);
        Ok(Some(SegmentSummary {
            segment: self.segment,
            sha256: Hash(self.file.finalize().into()),
            bytes: self.written + frame.len() as u64,
            first_ts,
            boot: boot.to_owned(),
            count,
            tree,
        }))
    }
}

/// The index frame that holds `index`.
fn index_frame(index: &Index) -> Vec<u8> {
    let j = index.to_bytes();
    let len = u32::try_from(j.len()).expect("an index is bounded by its segment, far below 4 GiB");
    let mut frame = Vec::with_capacity(j.len() + INDEX_FRAMING as usize);
    frame.extend_from_slice(&SKIPPABLE_MAGIC);
    frame.extend_from_slice(&(len + 12).to_le_bytes());
    frame.extend_from_slice(&j);
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&INDEX_MAGIC);
    frame
}
