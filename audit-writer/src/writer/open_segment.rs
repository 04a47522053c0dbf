//! The open segment: its write-ahead log, and the file under compression.
//!
//! The write-ahead log is what counts. The file under compression is derived from it: where anything is wrong with it,
//! it is made again.

use std::io;
use std::time::Instant;

use crate::disk::DiskFile;
use crate::ids::SegmentNo;
use crate::merkle::CompactRange;
use crate::record::Brief;
use crate::segment::{SegmentBuilder, SegmentSummary};
use crate::spool::Spool;
use crate::wal::{self, Wal};

/// The open segment.
pub(super) struct OpenSegment {
    pub(super) wal: Wal,
    pub(super) since: Instant,
    /// Records that passed the ring.
    pub(super) captured: u64,
    segment: SegmentNo,
    before: CompactRange,
    level: i32,
    file: Box<dyn DiskFile>,
    /// Bytes of it that are known to be written.
    file_len: u64,
    /// An append failed: what it left is to be cut off.
    torn: bool,
    /// None while it is to be made again.
    builder: Option<SegmentBuilder>,
    /// Compressed, not yet written.
    out: Vec<u8>,
    /// What it is, once it is complete.
    finished: Option<SegmentSummary>,
    /// It has its sealed name, durably.
    sealed: bool,
    /// It is being sealed, and may have its sealed name already: it takes no more lines, whatever is made again.
    sealing: bool,
}

impl OpenSegment {
    /// A new segment that continues the tree `before`.
    pub(super) fn create(
        spool: &Spool,
        segment: SegmentNo,
        before: CompactRange,
        level: i32,
    ) -> io::Result<OpenSegment> {
        let first_seq = crate::ids::Seq(before.end());
        let builder = SegmentBuilder::new(segment, before.clone(), level)?;
        let file = spool.create_building(segment)?;
        let wal = spool.create_wal(segment, first_seq)?;
        Ok(OpenSegment {
            wal,
            since: Instant::now(),
            captured: 0,
            segment,
            before,
            level,
            file,
            file_len: 0,
            torn: false,
            builder: Some(builder),
            out: Vec::new(),
            finished: None,
            sealed: false,
            sealing: false,
        })
    }

    /// Bytes of the lines so far, with their newlines.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.builder.as_ref().map_or(0, SegmentBuilder::raw_bytes)
    }

    /// Takes durable lines into the segment under compression. Nothing is written yet.
    pub(super) fn add<'a>(
        &mut self,
        lines: impl Iterator<Item = (&'a [u8], crate::segment::Facts<'a>)>,
    ) -> io::Result<()> {
        // Taken out: after an error, or a panic, in the middle it is made again from the write-ahead log.
        let Some(mut builder) = self.builder.take() else { return Err(to_be_made_again()) };
        for (line, facts) in lines {
            builder.add(line, &facts, &mut self.out)?;
        }
        self.builder = Some(builder);
        Ok(())
    }

    /// Writes what was compressed.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.file.truncate(self.file_len)?;
        }
        self.torn = true;
        self.file.append(&self.out)?;
        self.torn = false;
        self.file_len += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Completes the file, makes it durable and gives it its sealed name; what is done stays done where it is called
    /// again after an error. `None` where the segment has no record.
    pub(super) fn seal(
        &mut self,
        spool: &Spool,
        log: &str,
        boot: &str,
    ) -> io::Result<Option<SegmentSummary>> {
        self.sealing = true;
        if self.finished.is_none() {
            let Some(builder) = self.builder.take() else { return Err(to_be_made_again()) };
            let Some(summary) = builder.finish(log, boot, &mut self.out)? else { return Ok(None) };
            self.finished = Some(summary);
        }
        self.write_out()?;
        if !self.sealed {
            if let Err(error) = self.file.sync() {
                // Not trusted any more: made again from the write-ahead log.
                self.finished = None;
                return Err(error);
            }
            spool.seal(self.segment)?;
            self.sealed = true;
        }
        Ok(self.finished.clone())
    }

    /// The file that was sealed.
    pub(super) fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }

    /// Whether it takes no more lines: what is left to do is to give it its sealed name.
    pub(super) fn is_finished(&self) -> bool {
        self.sealing
    }

    /// Whether something is to be made again before anything is written.
    pub(super) fn is_broken(&self) -> bool {
        self.wal.is_lost() || (self.builder.is_none() && self.finished.is_none())
    }

    /// Trusts none of its files any more.
    pub(super) fn distrust(&mut self) {
        self.wal.distrust();
        self.builder = None;
        self.finished = None;
        self.sealed = false;
    }

    /// Makes again what cannot be trusted: the write-ahead log from its durable groups, and from those the file under
    /// compression.
    pub(super) fn mend(&mut self, spool: &Spool) -> io::Result<()> {
        if self.wal.is_lost() {
            spool.replace_wal(&mut self.wal, self.segment)?;
        }
        let groups = self.wal.durable_groups()?;
        let mut builder = SegmentBuilder::new(self.segment, self.before.clone(), self.level)?;
        let mut line = Vec::new();
        self.out.clear();
        for raw in &wal::scan(&groups).lines {
            let brief = Brief::parse(raw).map_err(io::Error::other)?;
            line.clear();
            line.extend_from_slice(raw);
            line.push(b'\n');
            builder.add(&line, &brief.facts(), &mut self.out)?;
        }
        self.file = spool.create_building(self.segment)?;
        (self.file_len, self.torn) = (0, false);
        self.finished = None;
        self.builder = Some(builder);
        self.write_out()
    }
}

fn to_be_made_again() -> io::Error {
    io::Error::other("the segment under compression is to be made again")
}
