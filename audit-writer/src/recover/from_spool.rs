//! The usual start: the spool knows its log, and how far the store has it.

use super::{Before, RecoverError, Recovered, Recovery, Repair, Trail, io};
use crate::checkpoint::Checkpoint;
use crate::ids::SegmentNo;
use crate::open_requests::{OpenAfter, OpenRequests};
use crate::segment::{Expected, SegmentSummary, derive};
use crate::spool::{Committed, Contents, State};
use crate::store::StoreError;
use crate::{disk, wal};

impl Recovery<'_> {
    pub(super) fn resume_from_spool(
        &self,
        state: &State,
        contents: &Contents,
    ) -> Result<Recovered, RecoverError> {
        let mut trail = match &state.committed {
            None => Trail::new(),
            Some(committed) => self.committed_trail(committed)?,
        };
        if let Some(open) = &state.open {
            (trail.open, trail.open_from) = (open.requests.clone(), open.size);
        }
        for &segment in &contents.building {
            self.spool.remove_building(segment).map_err(io("remove an unfinished segment"))?;
            Repair::Building { segment }.tell();
        }
        for &segment in &contents.sealed {
            if segment < trail.next_segment {
                self.spool.forget(segment).map_err(io("remove a shipped segment"))?;
                Repair::Shipped { segment }.tell();
                continue;
            }
            let summary = self.derive_sealed(segment, &mut trail, contents)?;
            trail.advance(summary);
        }
        for &segment in &contents.wals {
            if segment < trail.next_segment {
                self.spool.remove_wal(segment).map_err(io("remove a sealed write-ahead log"))?;
                Repair::Sealed { segment }.tell();
            } else {
                self.seal_wal(segment, &mut trail)?;
            }
        }
        if let Some(open) = state.open.as_ref().filter(|open| open.segment >= trail.next_segment) {
            return Err(RecoverError::SegmentsGone {
                path: self.spool.path().into(),
                sealed: open.segment,
                end: open.size,
                found: trail.tree.size(),
            });
        }
        // Until its marker is there, and a record was written after that, a log has not begun: not without the store.
        let is_begun = state.committed.is_some() || !trail.tree.is_empty() || trail.damaged_since.is_some();
        let mut store_lost = None;
        match self.check_store(state, &mut trail) {
            // The spool takes what comes until the store is back.
            Err(RecoverError::Store(error @ StoreError::Unavailable { .. })) if is_begun => {
                Repair::StoreAway { error: crate::error_chain(&error) }.tell();
            }
            other => store_lost = other?,
        }
        let before = match store_lost {
            Some(since) => Before::SpoolLost(trail.damaged_since.map_or(since, |other| other.min(since))),
            None => self.before(state, &trail)?,
        };
        if matches!(before, Before::SpoolLost(_)) {
            // The ends of what is open may have gone with it: the gap says so of all of them.
            trail.open = OpenRequests::default();
        }
        self.keep_open(&trail)?;
        Ok(trail.end(before))
    }

    /// Keeps what is open at the end of the newest segment: once that is shipped, its records are not here any more.
    fn keep_open(&self, trail: &Trail) -> Result<(), RecoverError> {
        let Some(segment) = trail.next_segment.previous() else { return Ok(()) };
        let open = OpenAfter { segment, size: trail.tree.size(), requests: trail.open.clone() };
        self.spool.update_state(|state| state.open = Some(open)).map_err(io("write the state"))
    }

    /// The trail after the newest segment that the store has, as the state remembers it.
    fn committed_trail(&self, committed: &Committed) -> Result<Trail, RecoverError> {
        let keys = [self.key.verifier_key().clone()];
        let checkpoint = Checkpoint::parse_and_verify(committed.checkpoint.as_bytes(), self.log(), &keys);
        let checkpoint = checkpoint.map_err(|source| RecoverError::StateCheckpoint {
            path: self.spool.path().into(),
            segment: committed.segment,
            source,
        })?;
        let trail = Trail::of(committed, checkpoint.size)?;
        let found = trail.tree.root()?;
        if found != checkpoint.root {
            let (path, segment) = (self.spool.path().into(), committed.segment);
            return Err(RecoverError::StateTree { path, segment, found, signed: checkpoint.root });
        }
        Ok(trail)
    }

    fn derive_sealed(
        &self,
        segment: SegmentNo,
        trail: &mut Trail,
        contents: &Contents,
    ) -> Result<SegmentSummary, RecoverError> {
        if segment != trail.next_segment {
            let (path, missing) = (self.spool.path().into(), trail.next_segment);
            return Err(RecoverError::SegmentMissing { path, missing, found: segment });
        }
        let path = self.spool.sealed_path(segment);
        let bytes = disk::read(self.spool.disk(), &path).map_err(io("read a sealed segment"))?;
        let (before, prev_sha256) = (trail.tree.clone(), trail.prev_sha256);
        let expected = Expected { log: self.log(), segment, before: &before, prev_sha256 };
        derive(&bytes[..], &expected, |brief, line| trail.follow(brief, line)).map_err(|source| {
            RecoverError::SealedDamaged {
                path,
                wal: if contents.wals.contains(&segment) {
                    format!(
                        "; `{}` is still there: with the file moved aside it is sealed again from that",
                        wal::file_name(segment)
                    )
                } else {
                    String::new()
                },
                source,
            }
        })
    }
}
