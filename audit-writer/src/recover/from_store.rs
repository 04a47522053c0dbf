//! An empty spool: the log begins, or its spool is lost and the store's head says where to go on.

use super::store_head::split;
use super::{Before, RecoverError, Recovered, Recovery, Trail, checkpoint_of, committed, io};
use crate::ids::SegmentNo;
use crate::merkle::CompactRange;
use crate::record::SegmentLine;
use crate::segment::{BadSegment, Expected, FrameReader, derive, read_index};
use crate::spool::Committed;
use crate::store::{self, Layout, StoreError};
use crate::time::Timestamp;
use crate::watermark;

impl Recovery<'_> {
    /// An empty spool: the log begins here, or its spool is lost.
    pub(super) fn resume_from_store(&self) -> Result<Recovered, RecoverError> {
        let layout = self.layout();
        let away = |error| match error {
            error @ StoreError::Unavailable { .. } if !self.create_log => RecoverError::StoreAway(error),
            error => error.into(),
        };
        if self.create_log {
            self.store.prepare()?;
        }
        let there = match self.check_marker(&layout) {
            Err(RecoverError::Store(error)) => return Err(away(error)),
            other => other?,
        };
        if !there {
            return self.create(&layout);
        }
        let Some(newest) = store::newest_checkpoint(self.store, &layout)? else {
            self.settle_marker(&layout)?;
            // Nothing says when the log began: what is lost may be as old as anything.
            return self.go_on_without_spool(&layout, Trail::new(), None);
        };
        let checkpoint = self.checkpoint(&layout, newest)?;
        let (bytes, place) = self.stored_segment(&layout, newest)?;
        let bad = |source| RecoverError::StoreSegment { segment: newest, place: place.clone(), source };
        let begin = first_line(&bytes).map_err(bad)?;
        let index = read_index(&bytes[..]).map_err(bad)?.index;
        let before = CompactRange::from_hashes(0, index.first_seq.0, index.before)?;
        let expected =
            Expected { log: self.log(), segment: newest, before: &before, prev_sha256: begin.prev_sha256 };
        let summary = derive(&bytes[..], &expected, |_, _| ()).map_err(bad)?;
        let ours = checkpoint_of(self.log(), &summary)?;
        if ours != checkpoint {
            return Err(split(newest, &ours, &checkpoint));
        }
        let note = checkpoint.sign([self.key]).map_err(|source| RecoverError::ForeignCheckpoint {
            store: self.store.location(),
            segment: newest,
            source,
        })?;
        let committed = committed(&summary, note);
        let trail = Trail::of(&committed, checkpoint.size)?;
        self.go_on_without_spool(&layout, trail, Some(committed))
    }

    /// The spool is made again, as far as the store tells. In this order: whatever this boot does not live to do, the
    /// next one does, and knows that the spool was lost.
    fn go_on_without_spool(
        &self,
        layout: &Layout,
        mut trail: Trail,
        committed: Option<Committed>,
    ) -> Result<Recovered, RecoverError> {
        let since = trail.last_segment_ts;
        self.declare_spool_lost(since)?;
        self.spool.update_state(|state| state.committed = committed).map_err(io("write the state"))?;
        // A segment whose checkpoint the lost boot did not live to put is adopted, never numbered anew.
        let next = trail.next_segment;
        let adopted = self.check_uncommitted(&mut trail, layout, next, since)?;
        Ok(trail.end(Before::SpoolLost(adopted.unwrap_or(since))))
    }

    /// The spool remembers first that a log is to begin: a marker without a spool is a spool that was lost.
    fn create(&self, layout: &Layout) -> Result<Recovered, RecoverError> {
        if !self.create_log {
            return Err(RecoverError::NoSuchLog { store: self.store.location(), log: self.log().clone() });
        }
        watermark::begin(self.spool.disk(), self.spool.path()).map_err(io("write the watermark"))?;
        self.spool.update_state(|_| {}).map_err(io("write the state"))?;
        self.put_marker(layout)?;
        Ok(Trail::new().end(Before::None))
    }

    fn stored_segment(&self, layout: &Layout, segment: SegmentNo) -> Result<(Vec<u8>, String), RecoverError> {
        let missing = || RecoverError::StoreSegment {
            segment,
            place: self.store.location(),
            source: BadSegment::Content { problem: "it is not there, but its checkpoint is".to_owned() },
        };
        let name =
            store::find_segment(self.store, layout, segment, Timestamp::default())?.ok_or_else(missing)?;
        let bytes = self.store.get(&name)?.ok_or_else(missing)?;
        Ok((bytes, format!("{}/{name}", self.store.location())))
    }
}

/// The record that begins a segment, as it stands in its first frame.
fn first_line(bytes: &[u8]) -> Result<SegmentLine, BadSegment> {
    let index = read_index(bytes)?.index;
    let problem = |problem: &str| BadSegment::Content { problem: problem.to_owned() };
    let frame = index.frames.first().ok_or_else(|| problem("it has no frames"))?;
    let mut reader = FrameReader::new()?;
    let (_, raw) = reader.read(bytes, frame)?;
    let line = raw.split(|b| *b == b'\n').next().unwrap_or_default();
    SegmentLine::parse(line).ok_or_else(|| problem("it does not begin with a `segment` record"))
}
