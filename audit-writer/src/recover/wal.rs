//! A write-ahead log that a boot left: its whole groups are sealed as they are.

use super::damage::look_behind;
use super::{RecoverError, Recovery, Repair, Trail, io};
use crate::ids::{SegmentNo, Seq};
use crate::record::{Brief, SegmentLine};
use crate::segment::{SegmentBuilder, SegmentSummary};
use crate::wal::{self, Scan};

impl Recovery<'_> {
    /// Seals the whole groups of a write-ahead log, as they are. What stands behind them is a torn group, or damage.
    pub(super) fn seal_wal(&self, segment: SegmentNo, trail: &mut Trail) -> Result<(), RecoverError> {
        let path = || self.spool.path().join(wal::file_name(segment));
        if segment != trail.next_segment {
            return Err(RecoverError::WalOutOfPlace { path: path(), segment, expected: trail.next_segment });
        }
        let bytes = self.spool.read_wal(segment).map_err(io("read a write-ahead log"))?;
        let scan = wal::scan(&bytes);
        let begin = self.check_begin(segment, &scan, trail)?;
        if let Some(torn) = scan.stopped {
            let end = Seq(trail.tree.end() + scan.lines.len() as u64);
            let behind = look_behind(&bytes[scan.good_bytes..], end);
            self.declare_lost(trail, &behind, begin.as_ref())?;
            if behind.whole_groups > 0 {
                Repair::Damaged {
                    segment,
                    at: scan.good_bytes,
                    bytes: bytes.len(),
                    reason: torn,
                    groups: behind.whole_groups,
                    end: behind.end,
                    kept: self.keep_aside(segment, &bytes)?,
                }
                .tell();
            } else {
                Repair::Torn { segment, at: scan.good_bytes, bytes: bytes.len(), reason: torn }.tell();
            }
        }
        let Some(begin) = begin else {
            self.spool.remove_wal(segment).map_err(io("remove an empty write-ahead log"))?;
            Repair::Empty { segment }.tell();
            return Ok(());
        };
        let sealed = self.seal_lines(segment, &begin, &scan, trail).map_err(io("seal a write-ahead log"))?;
        if let Some(summary) = sealed {
            trail.advance(summary);
        }
        Ok(())
    }

    /// The record that begins the segment, where there is any: it must go on from what came before.
    fn check_begin(
        &self,
        segment: SegmentNo,
        scan: &Scan<'_>,
        trail: &Trail,
    ) -> Result<Option<SegmentLine>, RecoverError> {
        let path = || self.spool.path().join(wal::file_name(segment));
        let (Some(first), Some(found)) = (scan.lines.first(), scan.first_seq) else { return Ok(None) };
        let expected = Seq(trail.tree.end());
        if found != expected {
            return Err(RecoverError::WalNumbers { path: path(), found, expected });
        }
        let foreign = |found: String| RecoverError::WalForeign {
            path: path(),
            expected: format!(
                "segment {segment} of log {} after a file with SHA-256 {}",
                self.log(),
                trail.prev_sha256
            ),
            found,
        };
        let begin = SegmentLine::parse(first)
            .ok_or_else(|| foreign("with a record that begins no segment".to_owned()))?;
        let ours = begin.segment == segment && begin.prev_sha256 == trail.prev_sha256;
        if !ours || begin.log != self.log().as_str() {
            let SegmentLine { log, segment, prev_sha256, .. } = &begin;
            let found = format!("segment {segment} of log {log} after a file with SHA-256 {prev_sha256}");
            return Err(foreign(found));
        }
        Ok(Some(begin))
    }

    fn seal_lines(
        &self,
        segment: SegmentNo,
        begin: &SegmentLine,
        scan: &Scan<'_>,
        trail: &mut Trail,
    ) -> std::io::Result<Option<SegmentSummary>> {
        let mut builder = SegmentBuilder::new(segment, trail.tree.clone(), self.compression_level)?;
        let mut file = self.spool.create_building(segment)?;
        let (mut line, mut out) = (Vec::new(), Vec::new());
        for raw in &scan.lines {
            let brief = Brief::parse(raw).map_err(std::io::Error::other)?;
            line.clear();
            line.extend_from_slice(raw);
            line.push(b'\n');
            builder.add(&line, &brief.facts(), &mut out)?;
            file.append(&out)?;
            out.clear();
            trail.follow(&brief, raw);
        }
        let summary = builder.finish(self.log().as_str(), &begin.boot, &mut out)?;
        file.append(&out)?;
        file.sync()?;
        self.spool.seal(segment)?;
        self.spool.clear_sealed(segment);
        Ok(summary)
    }
}
