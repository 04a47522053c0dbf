//! What the boots of a log have counted, from one segment to the next, against what they say
//! ([`tally`](super::super::tally) holds the definition).

use serde::{Deserialize, Serialize};

use super::super::report::{FindingKind, LogReport};
use super::super::tally::{Claim, Tally};
use super::Chain;
use crate::ids::SegmentNo;

/// Time between heartbeats where a boot's `start` does not say.
const DEFAULT_HEARTBEAT_MS: u64 = 5 * 60 * 1000;

/// What one boot has counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::verify) struct Boot {
    boot: String,
    /// Records that passed its ring; not known where its first segments were not read and no counters came since.
    ring: Option<u64>,
    /// Losses that the gaps declare that were read.
    lost: u64,
    /// The `lost` that it claimed last.
    claimed_lost: u64,
    /// The `refused` that it claimed last.
    #[serde(default)]
    claimed_refused: u64,
    /// Whether those are all gaps since it began.
    from_its_begin: bool,
    pub(super) stopped: bool,
    pub(super) heartbeat_interval_ms: u64,
}

impl Chain {
    /// Sums up what the boot has counted, and holds its claims against it.
    pub(super) fn count(&mut self, number: SegmentNo, boot: [u8; 8], tally: &Tally, report: &mut LogReport) {
        let boot = String::from_utf8_lossy(&boot).into_owned();
        let begins_here = self.standing.boot.is_some() || number == SegmentNo(0);
        let mut current = self.standing.boot.take().filter(|before| before.boot == boot).unwrap_or(Boot {
            boot,
            ring: begins_here.then_some(0),
            lost: 0,
            claimed_lost: 0,
            claimed_refused: 0,
            from_its_begin: begins_here,
            stopped: false,
            heartbeat_interval_ms: DEFAULT_HEARTBEAT_MS,
        });
        let place = |claim: Claim| self.place(number).records(claim.seq, 1);
        if let Some(claim) = tally.durable {
            // Where the segments before were not read, counting begins with what the first counters say.
            let counted = *current.ring.get_or_insert(u64::try_from(claim.before).unwrap_or(0));
            if claim.before != i128::from(counted) {
                let message = format!(
                    "durable says that {} records of boot {} passed the ring before segment {number}, counted are {counted}",
                    claim.before, current.boot
                );
                report.finding(FindingKind::Accounting, place(claim), message);
            }
        }
        let declared = i128::from(current.lost);
        let too_few = tally.least_lost.filter(|claim| claim.before < declared);
        let undeclared = tally.lost_at_stop.filter(|claim| claim.before > declared && current.from_its_begin);
        if let Some(claim) = too_few.or(undeclared) {
            let message = format!(
                "lost says that boot {} lost {} records before segment {number}, its gaps there declare {declared}",
                current.boot, claim.before
            );
            report.finding(FindingKind::Accounting, place(claim), message);
        }
        let rising = [
            ("lost", tally.lost, &mut current.claimed_lost),
            ("refused", tally.refused, &mut current.claimed_refused),
        ];
        for (name, claims, claimed) in rising {
            if let Some((seq, value)) = claims.first.filter(|(_, value)| value < claimed) {
                let message = format!("{name} goes back from {claimed} to {value}");
                report.finding(FindingKind::Accounting, self.place(number).records(seq, 1), message);
            }
            *claimed = claims.last.unwrap_or(*claimed);
        }
        current.ring = current.ring.map(|ring| ring.saturating_add(tally.ring));
        current.lost = current.lost.saturating_add(tally.lost_of_boot);
        current.stopped = if tally.ring > 0 || tally.stopped { tally.stopped } else { current.stopped };
        current.heartbeat_interval_ms = tally.heartbeat_interval_ms.unwrap_or(current.heartbeat_interval_ms);
        for &(seq, config) in &tally.configs {
            let place = self.place(number).records(seq, 1);
            self.configs.entry(config).or_insert(place);
        }
        self.standing.boot = Some(current);
        self.standing.declared_lost = self.standing.declared_lost.saturating_add(tally.declared_lost);
        self.standing.declared_lost_unknown += tally.declared_lost_unknown;

        self.count_open(number, tally, report);
        self.check_stored(number, tally, report);
    }

    /// What boots before have left open is counted by the gap that says so, which comes before all that is received in
    /// its segment; then what was received and what ended there.
    fn count_open(&mut self, number: SegmentNo, tally: &Tally, report: &mut LogReport) {
        let place = self.place(number);
        let standing = &mut self.standing;
        if tally.spool_lost {
            let first = standing.open.values().min().copied();
            let before = standing.without_trace.map_or(0, |(count, _)| count);
            let first = standing.without_trace.map(|(_, first)| first).or(first);
            standing.without_trace = first.map(|first| (before + standing.open.len() as u64, first));
            standing.open.clear();
            standing.open_is_whole = true;
        }
        if let Some((seq, said)) = tally.unfinished {
            let counted = standing.open.len() as u64;
            if standing.open_is_whole && said != Some(counted) {
                let said = said.map_or("null".to_owned(), |said| said.to_string());
                let message = format!(
                    "the gap says that {said} requests of boots before are unfinished, counted are {counted} that were received and have no end"
                );
                report.finding(FindingKind::Accounting, place.records(seq, 1), message);
            }
            standing.open.clear();
            standing.open_is_whole = true;
        }
        if !standing.open.is_empty() {
            for key in &tally.ended {
                standing.open.remove(key);
            }
        }
        standing.open.extend(&tally.open);
    }
}
