//! An empty spool: the log begins, or its spool is lost and the store's head says where to go on.

use super::{
    Before, Head, Marker, RecoverError, Recovered, Recovery, checkpoint_of, committed, io, recovered,
};
use crate::ids::SegmentNo;
use crate::merkle::CompactRange;
use crate::record::SegmentLine;
use crate::segment::{BadSegment, Expected, FrameReader, derive, read_index};
use crate::store::{self, Content, Layout, StoreError};
use crate::time::Timestamp;

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
            self.spool.update_state(|_| {}).map_err(io("write the state"))?;
            return Ok(recovered(Head::new(), Vec::new(), Before::SpoolLost(Timestamp::now())));
        };
        let checkpoint = self.checkpoint(&layout, newest)?;
        let (bytes, place) = self.stored_segment(&layout, newest)?;
        let bad = |source| RecoverError::Segment { segment: newest, place: place.clone(), source };
        let begin = first_line(&bytes).map_err(bad)?;
        let index = read_index(&bytes[..]).map_err(bad)?.index;
        let before = CompactRange::from_hashes(0, index.first_seq.0, index.before)?;
        let expected =
            Expected { log: self.log(), segment: newest, before: &before, prev_sha256: begin.prev_sha256 };
        let summary = derive(&bytes[..], &expected).map_err(bad)?;
        let ours = checkpoint_of(self.log(), &summary)?;
        if ours != checkpoint {
            return Err(RecoverError::Split {
                segment: newest,
                ours: ours.root,
                our_size: ours.size,
                theirs: checkpoint.root,
                their_size: checkpoint.size,
            });
        }
        let note = checkpoint.sign([self.key]).map_err(|source| RecoverError::ForeignCheckpoint {
            store: self.store.location(),
            segment: newest,
            source,
        })?;
        let committed = committed(&summary, note);
        let mut head = Head::of(&committed, checkpoint.size)?;
        let lost_since = index.max_ts;
        // A segment whose checkpoint the lost boot did not live to put is adopted, never numbered anew.
        let mut pending = Vec::new();
        let next = newest.next();
        if store::find_segment(self.store, &layout, next)?.is_some() {
            let (bytes, place) = self.stored_segment(&layout, next)?;
            let expected = Expected {
                log: self.log(),
                segment: next,
                before: &head.tree,
                prev_sha256: head.prev_sha256,
            };
            let summary = derive(&bytes[..], &expected).map_err(|source| RecoverError::Segment {
                segment: next,
                place,
                source,
            })?;
            self.spool.adopt(next, &bytes).map_err(io("take a segment over from the store"))?;
            head.advance(&summary);
            pending.push(summary);
        }
        self.spool.update_state(|state| state.committed = Some(committed)).map_err(io("write the state"))?;
        Ok(recovered(head, pending, Before::SpoolLost(lost_since)))
    }

    fn create(&self, layout: &Layout) -> Result<Recovered, RecoverError> {
        if !self.create_log {
            return Err(RecoverError::NoSuchLog { store: self.store.location(), log: self.log().clone() });
        }
        let marker =
            Marker { v: 1, log: self.log().clone(), keys: vec![self.key.verifier_key().to_string()] };
        let bytes = serde_json::to_vec(&marker).expect("a marker has string keys only");
        self.store.put_new(&layout.marker(), Content::Bytes(&bytes))?;
        self.spool.update_state(|_| {}).map_err(io("write the state"))?;
        Ok(recovered(Head::new(), Vec::new(), Before::None))
    }

    fn stored_segment(&self, layout: &Layout, segment: SegmentNo) -> Result<(Vec<u8>, String), RecoverError> {
        let missing = || RecoverError::Segment {
            segment,
            place: self.store.location(),
            source: BadSegment::Content { problem: "it is not there, but its checkpoint is".to_owned() },
        };
        let name = store::find_segment(self.store, layout, segment)?.ok_or_else(missing)?;
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
