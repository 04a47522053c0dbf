//! Holds a log against the model.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::model::{Boot, Ending, Model};
use super::read::{Line, rest};
use crate::record::{Brief, Kind};
use crate::time::Timestamp;

/// What a run has found, and which check found it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) check: &'static str,
    pub(super) message: String,
}

/// A failed check.
pub(super) fn failure<T>(check: &'static str, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { check, message: message.into() })
}

/// Bytes of the watermark's grain, and of what the clock counts while the writer goes round.
const SLACK_MICROS: u64 = 20_000;

/// A `gap` of the log.
#[derive(Debug, Deserialize)]
struct GapLine {
    boot: String,
    lost: Option<u64>,
    reason: String,
    from: Timestamp,
    to: Timestamp,
}

impl GapLine {
    /// Whether it says that a boot before lost what nobody can count.
    fn is_of_a_boot_before(&self) -> bool {
        matches!(&*self.reason, "crash" | "spool_lost")
    }

    /// Whether it declares that what was received at `ts` may be missing. Since when a request may have been in flight
    /// whose gateway lost its spool, nothing is left that could say.
    fn covers(&self, ts: Timestamp) -> bool {
        (self.from <= ts || self.reason == "spool_lost") && ts <= self.to
    }
}

/// A line, as far as the checks look at it.
struct Seen<'a> {
    brief: Brief<'a>,
    rest: &'a [u8],
    gap: Option<GapLine>,
}

/// Everything that the model says of the log's lines.
pub(super) fn check(model: &Model, lines: &[Line]) -> Result<(), Failure> {
    let mut seen = Vec::with_capacity(lines.len());
    for line in lines {
        let parsed = Brief::parse(line).map_err(|error| error.to_string());
        let brief = match parsed {
            Ok(brief) => brief,
            Err(error) => return failure("a line is a record", error),
        };
        let gap = (brief.kind == Kind::Gap).then(|| serde_json::from_slice(line)).transpose();
        let gap = gap.or_else(|error| failure("a gap is one", error.to_string()))?;
        seen.push(Seen { brief, rest: rest(line), gap });
    }
    check_past(model, lines)?;
    let on_log = check_records(model, &seen)?;
    for (at, boot) in model.boots.iter().enumerate() {
        check_losses(model, at, boot, on_log[at], &seen)?;
    }
    // How many were unfinished cannot be known once a spool was lost.
    if model.boots.iter().any(|boot| boot.spool_lost) { Ok(()) } else { check_unfinished(&seen) }
}

/// What was durable once is what it was.
pub(super) fn check_past(model: &Model, lines: &[Line]) -> Result<(), Failure> {
    for (seq, durable) in model.durable.iter().enumerate() {
        if lines.get(seq) != Some(durable) {
            let found = lines.get(seq).map_or("nothing".into(), |line| String::from_utf8_lossy(line));
            let message = format!("record {seq} was {}, and is {found}", String::from_utf8_lossy(durable));
            return failure("the log never changes its past", message);
        }
    }
    Ok(())
}

/// Of each boot's records a beginning is there, byte for byte, in its order, and all that was durable. How many of each.
fn check_records(model: &Model, seen: &[Seen<'_>]) -> Result<Vec<usize>, Failure> {
    let mut counts = Vec::new();
    let mut accounted = 0;
    for boot in &model.boots {
        let of_boot = seen.iter().filter(|line| line.brief.boot == boot.name);
        let records: Vec<_> = of_boot.filter(|line| line.brief.kind.passes_the_ring()).collect();
        accounted += records.len();
        for (at, line) in records.iter().enumerate() {
            let Some(captured) = boot.captured.get(at) else {
                let message = format!("boot {}: one more than the {at} handed over", boot.name);
                return failure("nothing is on the log twice", message);
            };
            if line.rest != captured.rest {
                let (found, ours) =
                    (String::from_utf8_lossy(line.rest), String::from_utf8_lossy(&captured.rest));
                let message = format!("boot {}, record {at}: handed over {ours}, found {found}", boot.name);
                return failure("records are there byte for byte, in order", message);
            }
        }
        let promised = if boot.spool_lost { 0 } else { boot.durable };
        if records.len() < promised {
            let message =
                format!("boot {}: of {promised} durable records {} are there", boot.name, records.len());
            return failure("what was durable is there", message);
        }
        if boot.ending == Ending::Stopped && records.len() < boot.captured.len() && !boot.spool_lost {
            let (there, all) = (records.len(), boot.captured.len());
            let message = format!("boot {} stopped: of {all} records {there} are there", boot.name);
            return failure("a stop loses nothing", message);
        }
        counts.push(records.len());
    }
    let of_all = seen.iter().filter(|line| line.brief.kind.passes_the_ring()).count();
    if accounted != of_all {
        return failure("each record is of a boot", format!("{of_all} records, {accounted} of known boots"));
    }
    Ok(counts)
}

/// What a boot lost is declared: by itself with its number, or by the boot that came after, within a gap's bounds.
fn check_losses(
    model: &Model,
    at: usize,
    boot: &Boot,
    on_log: usize,
    seen: &[Seen<'_>],
) -> Result<(), Failure> {
    let gaps: Vec<&GapLine> = seen.iter().filter_map(|line| line.gap.as_ref()).collect();
    if let Some(gap) = gaps.iter().find(|gap| gap.to < gap.from) {
        return failure("a gap ends after it begins", format!("{gap:?}"));
    }
    let own = gaps.iter().filter(|gap| gap.boot == boot.name && !gap.is_of_a_boot_before());
    let declared: u64 = own.filter(|gap| gap.reason != "unfinished").filter_map(|gap| gap.lost).sum();
    let declared = declared as usize;
    if declared > boot.lost.len() {
        let message = format!("boot {}: {declared} declared, {} lost", boot.name, boot.lost.len());
        return failure("no more is declared than was lost", message);
    }
    if boot.ending == Ending::Stopped && declared < boot.lost.len() && !boot.spool_lost {
        let message = format!("boot {} stopped: {declared} declared of {}", boot.name, boot.lost.len());
        return failure("what was lost is counted", message);
    }
    // The boot that serves next has declared it, or one that died after that.
    let serves = |next: &usize| model.boots[*next].began && !model.boots[*next].spool_lost;
    let Some(next) = (at + 1..model.boots.len()).find(serves) else { return Ok(()) };
    let names: BTreeSet<&str> = model.boots[at + 1..=next].iter().map(|boot| boot.name.as_str()).collect();
    let declaring: Vec<_> =
        gaps.iter().filter(|gap| gap.is_of_a_boot_before() && names.contains(gap.boot.as_str())).collect();
    // The end of a request whose `received` is there is counted with those that are unfinished.
    let missing = boot.captured[on_log..].iter();
    let missing = missing.filter(|record| record.received.is_none_or(|received| received >= on_log));
    let missing = missing.map(|record| record.ts);
    let missing: Vec<Timestamp> = missing
        .chain(boot.lost[declared..].iter().copied().flatten())
        .chain(boot.in_flight.iter().copied())
        .collect();
    if let Some(ts) = missing.iter().find(|ts| !declaring.iter().any(|gap| gap.covers(**ts))) {
        let message =
            format!("boot {}: what was received at {ts} is missing; gaps: {declaring:?}", boot.name);
        return failure("what is missing lies in a gap", message);
    }
    check_bounds(model, at, next, missing.len(), &declaring)
}

/// A boot that lost nothing leaves no gap, and none is wider than it must be.
fn check_bounds(
    model: &Model,
    at: usize,
    next: usize,
    missing: usize,
    declaring: &[&&GapLine],
) -> Result<(), Failure> {
    let boots = &model.boots[at..next];
    let boot = &boots[0];
    let only_killed = boots.iter().all(|boot| boot.ending == Ending::Killed && boot.untroubled);
    if boot.spool_lost || !boot.began {
        return Ok(());
    }
    if let (Ending::Stopped, Some(gap)) = (boot.ending, declaring.first()) {
        // A start that power ended may have said already that it serves.
        let starts_lost_nothing =
            boots[1..].iter().all(|boot| !boot.spool_lost && boot.ending == Ending::Killed);
        if starts_lost_nothing {
            return failure("a stop leaves no gap", format!("boot {}: {gap:?}", boot.name));
        }
    }
    if only_killed && boot.quiet {
        if let Some(gap) = declaring.first() {
            return failure("a boot that lost nothing leaves no gap", format!("boot {}: {gap:?}", boot.name));
        }
        assert_eq!(missing, 0, "the model is quiet only where nothing is owed");
    }
    if only_killed && let Some(gap) = declaring.iter().find(|gap| gap.reason == "crash") {
        let least = boot.watermark.as_micros().saturating_sub(SLACK_MICROS);
        if gap.from.as_micros() < least {
            let message = format!("boot {}: since {} nothing was owed: {gap:?}", boot.name, boot.watermark);
            return failure("no gap is wider than it must be", message);
        }
    }
    Ok(())
}

/// Requests that were received and never ended are counted by the boot that comes after.
fn check_unfinished(seen: &[Seen<'_>]) -> Result<(), Failure> {
    let mut open = BTreeSet::new();
    let mut to_count: Option<(u64, &str)> = None;
    for line in seen {
        let (brief, id) = (&line.brief, line.brief.request_id.as_deref());
        match (brief.kind, id) {
            (Kind::Received, Some(id)) => drop(open.insert(id.to_owned())),
            (Kind::Completed | Kind::Aborted, Some(id)) => drop(open.remove(id)),
            (Kind::Lifecycle, _) if brief.event.as_deref() == Some("start") => {
                if let Some((count, boot)) = to_count.filter(|(count, _)| *count > 0) {
                    return failure(
                        "unfinished requests are counted",
                        format!("boot {boot} left {count} out"),
                    );
                }
                to_count = Some((open.len() as u64, brief.boot));
                open.clear();
            }
            _ => {}
        }
        let Some(gap) = &line.gap else { continue };
        match (&*gap.reason, to_count) {
            // What was open when a spool was lost cannot be known.
            ("spool_lost", _) => to_count = None,
            ("unfinished", Some((count, boot))) if gap.lost == Some(count) && boot == gap.boot => {
                to_count = None;
            }
            ("unfinished", counted) => {
                return failure("unfinished requests are counted", format!("{counted:?} expected, {gap:?}"));
            }
            _ => {}
        }
    }
    match to_count.filter(|(count, _)| *count > 0) {
        Some((count, boot)) => {
            failure("unfinished requests are counted", format!("boot {boot} left {count} out"))
        }
        None => Ok(()),
    }
}
