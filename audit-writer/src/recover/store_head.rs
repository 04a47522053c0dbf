//! The store's head against the spool: who is ahead, and whether both tell one history.

use super::{Marker, RecoverError, Recovery, Repair, Trail, checkpoint_of, io};
use crate::checkpoint::Checkpoint;
use crate::ids::SegmentNo;
use crate::merkle::Hash;
use crate::segment::{Expected, derive};
use crate::spool::State;
use crate::store::{self, Content, Layout};
use crate::time::Timestamp;

impl Recovery<'_> {
    /// The store holds this log, and its head is what this spool committed, or has and has not yet noted. Where the
    /// store holds a segment more, which goes on from there, it is taken over: since when the spool has lost something.
    pub(super) fn check_store(
        &self,
        state: &State,
        trail: &mut Trail,
    ) -> Result<Option<Timestamp>, RecoverError> {
        let layout = self.layout();
        if !self.check_marker(&layout)? {
            return self.without_marker(state, trail, &layout).map(|()| None);
        }
        if state.committed.is_none() {
            self.settle_marker(&layout)?;
        }
        let newest = store::newest_checkpoint(self.store, &layout)?;
        self.check_head(state, trail, &layout, newest)?;
        let next = newest.map_or(SegmentNo(0), SegmentNo::next);
        let since = state.committed.as_ref().map_or(Timestamp::default(), |committed| committed.first_ts);
        self.check_uncommitted(trail, &layout, next, since)
    }

    /// No marker: the boot that was to create the log died before it had, or the store is not the one.
    fn without_marker(&self, state: &State, trail: &Trail, layout: &Layout) -> Result<(), RecoverError> {
        let (store, log) = (self.store.location(), self.log().clone());
        let nothing_written = trail.tree.is_empty() && trail.damaged_since.is_none();
        if state.committed.is_none() && nothing_written {
            return if self.create_log {
                self.put_marker(layout)
            } else {
                Err(RecoverError::NoSuchLog { store, log })
            };
        }
        let committed = state.committed.as_ref().map_or(0, |committed| committed.segment.0 + 1);
        Err(RecoverError::StoreLost { store, log, committed, pending: trail.pending.len() })
    }

    pub(super) fn put_marker(&self, layout: &Layout) -> Result<(), RecoverError> {
        let marker =
            Marker { v: 1, log: self.log().clone(), keys: vec![self.key.verifier_key().to_string()] };
        let bytes = serde_json::to_vec(&marker).expect("a marker has string keys only");
        Ok(self.store.put_new(&layout.marker(), Content::Bytes(&bytes))?)
    }

    /// Puts the marker that is there again, which does nothing but what an earlier try may have left out: the boot that
    /// made it may have died before its name was durable.
    pub(super) fn settle_marker(&self, layout: &Layout) -> Result<(), RecoverError> {
        let Some(bytes) = self.store.get(&layout.marker())? else { return Ok(()) };
        Ok(self.store.put_new(&layout.marker(), Content::Bytes(&bytes))?)
    }

    fn check_head(
        &self,
        state: &State,
        trail: &Trail,
        layout: &Layout,
        newest: Option<SegmentNo>,
    ) -> Result<(), RecoverError> {
        let committed = state.committed.as_ref();
        if let Some(committed) =
            committed.filter(|committed| newest.is_none_or(|newest| newest < committed.segment))
        {
            let theirs = newest.map_or("none".to_owned(), |newest| newest.to_string());
            let store = self.store.location();
            return Err(RecoverError::SpoolAhead { store, ours: committed.segment, theirs });
        }
        let Some(newest) = newest else { return Ok(()) };
        if let Some(committed) = committed {
            // What this spool has committed comes first: where the store holds another one there, the log is split,
            // whatever follows.
            let ours = Checkpoint::parse_unverified(committed.checkpoint.as_bytes()).ok();
            let theirs = self.checkpoint(layout, committed.segment)?;
            if let Some(ours) = ours.filter(|ours| *ours != theirs) {
                return Err(split(committed.segment, &ours, &theirs));
            }
            if committed.segment == newest {
                return Ok(());
            }
        }
        let theirs = self.checkpoint(layout, newest)?;
        let Some(summary) = trail.pending.iter().find(|summary| summary.segment == newest) else {
            let ours = trail.next_segment.previous();
            return Err(RecoverError::SpoolBehind {
                ours: ours.map_or("none".to_owned(), |ours| ours.to_string()),
                our_root: trail.tree.root()?,
                our_size: trail.tree.size(),
                theirs: newest,
                their_root: theirs.root,
                their_size: theirs.size,
            });
        };
        let ours = checkpoint_of(self.log(), summary)?;
        if ours == theirs { Ok(()) } else { Err(split(newest, &ours, &theirs)) }
    }

    /// A segment of the store that has no checkpoint yet, the only one that there can be: ours, to be taken over, or
    /// another history's.
    pub(super) fn check_uncommitted(
        &self,
        trail: &mut Trail,
        layout: &Layout,
        segment: SegmentNo,
        not_before: Timestamp,
    ) -> Result<Option<Timestamp>, RecoverError> {
        let Some(name) = store::find_segment(self.store, layout, segment, not_before)? else {
            return Ok(None);
        };
        let Some(bytes) = self.store.get(&name)? else { return Ok(None) };
        let place = trail.pending.iter().position(|summary| summary.segment == segment);
        if place.is_some_and(|place| trail.pending[place].sha256 == Hash::of(&bytes)) {
            return Ok(None);
        }
        let (before, prev_sha256) = match place {
            None => (&trail.tree, trail.prev_sha256),
            Some(0) => (&trail.base.0, trail.base.1),
            Some(place) => (&trail.pending[place - 1].tree, trail.pending[place - 1].sha256),
        };
        let expected = Expected { log: self.log(), segment, before, prev_sha256 };
        let theirs =
            derive(&bytes[..], &expected, |_, _| ()).map_err(|source| RecoverError::ForeignSegment {
                store: self.store.location(),
                segment,
                root: before.root().unwrap_or(Hash::ZERO),
                size: before.size(),
                source,
            })?;
        if let Some(place) = place {
            let ours = checkpoint_of(self.log(), &trail.pending[place])?;
            return Err(split(segment, &ours, &checkpoint_of(self.log(), &theirs)?));
        }
        let since = theirs.first_ts;
        self.declare_spool_lost(since)?;
        self.spool.adopt(segment, &bytes).map_err(io("take a segment over from the store"))?;
        Repair::Adopted { segment, records: theirs.count }.tell();
        trail.advance(theirs);
        Ok(Some(since))
    }

    /// Whether the marker is there; that it names this log and our key.
    pub(super) fn check_marker(&self, layout: &Layout) -> Result<bool, RecoverError> {
        let Some(bytes) = self.store.get(&layout.marker())? else { return Ok(false) };
        let (store, log) = (self.store.location(), self.log().clone());
        let marker: Marker = match serde_json::from_slice(&bytes) {
            Ok(marker) => marker,
            Err(error) => return Err(RecoverError::Marker { store, log, problem: error.to_string() }),
        };
        if marker.v != 1 || marker.log != log {
            let problem = format!("it is version {} of log {}", marker.v, marker.log);
            return Err(RecoverError::Marker { store, log, problem });
        }
        let found = self.key.verifier_key().to_string();
        if !marker.keys.contains(&found) {
            return Err(RecoverError::WrongKey { store, log, expected: marker.keys.join(", "), found });
        }
        Ok(true)
    }

    /// A checkpoint of the store, which must be ours.
    pub(super) fn checkpoint(&self, layout: &Layout, segment: SegmentNo) -> Result<Checkpoint, RecoverError> {
        let bytes = self.store.get(&layout.checkpoint(segment))?.unwrap_or_default();
        let keys = [self.key.verifier_key().clone()];
        Checkpoint::parse_and_verify(&bytes, self.log(), &keys).map_err(|source| {
            RecoverError::ForeignCheckpoint { store: self.store.location(), segment, source }
        })
    }
}

/// Two checkpoints after one segment that are not the same.
pub(super) fn split(segment: SegmentNo, ours: &Checkpoint, theirs: &Checkpoint) -> RecoverError {
    RecoverError::Split {
        segment,
        ours: ours.root,
        our_size: ours.size,
        theirs: theirs.root,
        their_size: theirs.size,
    }
}
