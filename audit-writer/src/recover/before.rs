//! How the boot before ended, and since when records of it may be missing.

use super::damage::Behind;
use super::{Before, RecoverError, Recovery, Repair, Trail, io};
use crate::ids::Seq;
use crate::record::SegmentLine;
use crate::spool::State;
use crate::time::Timestamp;
use crate::watermark::{self, Mark};

impl Recovery<'_> {
    /// What the boot before left: from its `stop`, from the watermark, and from what was found damaged.
    pub(super) fn before(&self, state: &State, trail: &Trail) -> Result<Before, RecoverError> {
        let mark = self.mark()?;
        if let Some(since) = mark.and_then(|mark| mark.spool_lost_since()) {
            // A boot that died has found it, and not yet declared it.
            return Ok(Before::SpoolLost(since));
        }
        let gone = mark.filter(|mark| mark.next_seq.0 > trail.tree.end());
        if let Some(mark) = gone.filter(|_| trail.damaged_since.is_none()) {
            Repair::Gone { from: Seq(trail.tree.end()), end: mark.next_seq }.tell();
        }
        let damaged =
            trail.damaged_since.into_iter().chain(gone.map(|mark| mark.since.min(trail.last_segment_ts)));
        let damaged = damaged.min();
        if trail.tree.is_empty() && damaged.is_none() {
            // The log was made, and nothing was served yet.
            return Ok(Before::None);
        }
        // A boot renews the mark once its first records are durable, and serves only then: one that did not live to
        // do it has lost nothing, and has declared what was lost before it.
        let newest = trail.newest_boot.as_deref();
        let served = mark.is_none_or(|mark| newest.is_none_or(|boot| mark.is_of(boot)));
        if state.stopped && served && damaged.is_none() {
            return Ok(Before::Stopped);
        }
        let lost = match mark {
            _ if state.stopped || !served => None,
            Some(mark) => mark.lost_since(&self.machine()?),
            None => Some(trail.last_segment_ts),
        };
        Ok(Before::Unclean(lost.into_iter().chain(damaged).min()))
    }

    /// Something stands behind the whole groups of a write-ahead log: says what of it the next boot must know of, if
    /// this one dies before it has declared it. `begin` is the segment's first record, where there is a whole group.
    pub(super) fn declare_lost(
        &self,
        trail: &mut Trail,
        behind: &Behind,
        begin: Option<&SegmentLine>,
    ) -> Result<(), RecoverError> {
        let mark = self.mark()?;
        let could_serve = begin.is_some_and(|begin| mark.is_none_or(|mark| mark.is_of(&begin.boot)));
        if behind.whole_groups == 0 && !could_serve {
            // Its boot died while it wrote its first records.
            return Ok(());
        }
        let begin = begin.map_or(trail.last_segment_ts, |begin| begin.ts);
        let believed = match &mark {
            Some(mark) => mark.lost_since(&self.machine()?),
            None => Some(begin),
        };
        let seen = behind.earliest.map_or(begin, |earliest| earliest.min(begin));
        let since = match believed {
            // Durable records are lost: they may be as old as any of the segment.
            _ if behind.whole_groups > 0 => seen,
            // What the torn group may hold came after the watermark, but for what can be seen to be older.
            Some(since) => behind.earliest.map_or(since, |earliest| earliest.min(since)),
            // Nothing was in flight, and all that was durable is here: the log itself was writing.
            None if mark.as_ref().is_some_and(|mark| mark.next_seq <= behind.end) => return Ok(()),
            None if behind.lifecycle_only => return Ok(()),
            // Nothing was in flight, and yet there are records that are not whole: the disk has lost them.
            None => seen,
        };
        trail.declare(since);
        if believed.is_none_or(|believed| since < believed) {
            let (disk, path) = (self.spool.disk(), self.spool.path());
            watermark::lower(disk, path, mark, since).map_err(io("lower the watermark"))?;
        }
        Ok(())
    }

    /// The spool was lost, and records with it since `since`: known to the next boot too, if this one dies before it
    /// has declared it.
    pub(super) fn declare_spool_lost(&self, since: Timestamp) -> Result<(), RecoverError> {
        watermark::spool_lost(self.spool.disk(), self.spool.path(), since).map_err(io("write the watermark"))
    }

    fn mark(&self) -> Result<Option<Mark>, RecoverError> {
        watermark::read(self.spool.disk(), self.spool.path()).map_err(io("read the watermark"))
    }

    fn machine(&self) -> Result<String, RecoverError> {
        self.spool.disk().machine_boot().map_err(io("ask for the machine's boot"))
    }
}
