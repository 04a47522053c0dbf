//! One log: from its listing to its report.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::chain::{Chain, Standing};
use super::objects;
use super::pool;
use super::report::{Ago, FindingKind, LogReport, NoticeKind, Place};
use super::segment::{Checked, Commitment, SegmentCheck, Task};
use super::state::LogState;
use super::{Options, Progress, VerifyError};
use crate::archive::{ArchiveError, Listing, LogFolder, SpoolContents, read_bounded};
use crate::checkpoint::{Checkpoint, Keyring, LogName, MAX_CHECKPOINT};
use crate::ids::SegmentNo;
use crate::segment::read_index;
use crate::time::Timestamp;

/// A gateway that is running has put a segment into the store and is about to put its checkpoint: so long it is given.
const COMMIT_TAKES: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Verifies one log; gives its report, and its state for the next time where there is one to keep.
pub(super) fn verify(
    folder: &LogFolder,
    name: &LogName,
    keys: &Keyring,
    options: &Options,
    before: Option<&LogState>,
    spool: Option<&SpoolContents>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(LogReport, Option<LogState>), VerifyError> {
    let mut report = LogReport::new(name.as_str());
    let listing = match list(folder) {
        Ok(listing) => listing,
        Err(error) => {
            report.unreadable(folder.path(), error);
            return Ok((report, None));
        }
    };
    let place = Place::log(name.as_str());
    if keys.of(name).is_empty() {
        let message = "the keys files hold no key for this log";
        report.finding(FindingKind::UnknownKey, place.clone(), message);
    }
    report.notice(NoticeKind::NotWriteOnce, place, "the store is a directory");
    objects::check(&listing, name, keys, &mut report);
    // The gateway's own spool can tell a log that has just begun from one whose objects were all removed.
    let has_begun = spool.is_some_and(|spool| spool.committed.is_none());
    if listing.last().is_none() && !has_begun {
        let message =
            "there is neither a segment nor a checkpoint (a gateway seals its first within a minute)";
        report.finding(FindingKind::Missing, Place::log(name.as_str()), message);
    }

    let read = |bytes| progress(Progress::Read(bytes));
    let check = || SegmentCheck::new(name, keys.of(name), &listing, &read);
    let mut first = check().map_err(VerifyError::Worker)?;
    let (standing, signed_before) = begin(name, keys, options, before, &listing, &mut first, &mut report);
    let begins_at = standing.next;
    if before.is_some_and(|before| before.standing.next == begins_at) {
        // What is not read again was found good before.
        (report.segments.good, report.checkpoints.good) = (begins_at.0, begins_at.0);
    }
    let numbers = listing.last().map_or(0, |last| last.0 + 1);
    (report.segments.of, report.checkpoints.of) = (numbers, numbers);

    let bytes = listing.segments.range(begins_at..).map(|(_, object)| object.bytes).sum();
    progress(Progress::Log { name: name.as_str(), bytes });
    let mut chain = Chain::new(name.as_str(), standing, signed_before);
    let take = |checked: Checked| chain.take(checked, &mut report);
    pool::in_order(tasks(&listing, begins_at), options.threads, check, SegmentCheck::check, take)
        .map_err(VerifyError::Worker)?;

    objects::check_configs(&listing, name, chain.configs(), &mut report);
    let standing = chain.finish(options.now, &mut report);
    check_age(name, options, &mut report);
    if let Some(spool) = spool {
        compare_with_spool(folder, name, keys, spool, &mut report);
    }
    let state = keep(name, keys, &listing, standing);
    Ok((report, state))
}

/// Lists a log. Where it is growing, checkpoints of segments that were listed come a moment later.
fn list(folder: &LogFolder) -> Result<Listing, ArchiveError> {
    let mut listing = folder.list()?;
    let Some((&last, _)) = listing.segments.last_key_value() else { return Ok(listing) };
    let until = Instant::now() + COMMIT_TAKES;
    while !listing.checkpoints.contains_key(&last) {
        let mut earlier = std::mem::take(&mut listing.checkpoints);
        listing.list_checkpoints()?;
        // Of segments that came after the listing nothing is said.
        listing.checkpoints.split_off(&last.next());
        listing.checkpoints.append(&mut earlier);
        // Where more than the last is missing, no gateway is at work: waiting would not help.
        let lacks_more = last.previous().is_some_and(|before| !listing.checkpoints.contains_key(&before));
        if lacks_more || Instant::now() >= until {
            break;
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(listing)
}

/// One task for each number from `begins_at` on that a segment or a checkpoint has.
fn tasks(listing: &Listing, begins_at: SegmentNo) -> impl Iterator<Item = Task> {
    let mut segments = listing.segments.range(begins_at..).peekable();
    let mut checkpoints = listing.checkpoints.range(begins_at..).peekable();
    std::iter::from_fn(move || {
        let number = match (segments.peek(), checkpoints.peek()) {
            (Some((segment, _)), Some((checkpoint, _))) => **segment.min(checkpoint),
            (Some((segment, _)), None) => **segment,
            (None, Some((checkpoint, _))) => **checkpoint,
            (None, None) => return None,
        };
        let object = segments.next_if(|(segment, _)| **segment == number).map(|(_, object)| *object);
        let checkpoint = checkpoints.next_if(|(checkpoint, _)| **checkpoint == number).is_some();
        Some(Task { number, object, checkpoint })
    })
}

/// Where verification begins: after what was verified before, or at the first segment of the time that is asked for, or
/// at the beginning; with the checkpoint that stands there.
fn begin(
    name: &LogName,
    keys: &Keyring,
    options: &Options,
    before: Option<&LogState>,
    listing: &Listing,
    check: &mut SegmentCheck<'_>,
    report: &mut LogReport,
) -> (Standing, Option<Checkpoint>) {
    let mut signed_at = |number: SegmentNo, report: &mut LogReport| {
        let there = listing.checkpoints.contains_key(&number);
        let checked = check.check(Task { number, object: None, checkpoint: there });
        report.absorb(checked.remarks);
        match checked.commitment {
            Commitment::Signed(checkpoint) => Some(checkpoint),
            Commitment::Unproven | Commitment::Absent => None,
        }
    };
    if let Some((before, known)) =
        before.and_then(|before| Some((before, before.checkpoint(name, keys).ok()?)))
        && let Some(last) = before.standing.next.previous()
    {
        let found = signed_at(last, report);
        if found.as_ref() == Some(&known) {
            return (before.standing.clone(), found);
        }
        let place = Place::log(name.as_str()).segment(last);
        let (kind, message) = match &found {
            Some(found) if found.size == known.size => (
                FindingKind::Split,
                format!(
                    "it now signs {} for size {}, before it signed {}",
                    found.root, found.size, known.root
                ),
            ),
            Some(found) => (
                FindingKind::Rollback,
                format!("checkpoint {last} was of size {}, now it is of size {}", known.size, found.size),
            ),
            None => (
                FindingKind::Rollback,
                format!("checkpoint {last}, size {}, was verified before and is not there now", known.size),
            ),
        };
        report.finding(kind, place, message);
        return (Standing::beginning(), None);
    }
    match options
        .since
        .and_then(|since| first_since(listing, since))
        .and_then(|first| Some((first, first.previous()?)))
    {
        Some((first, last)) => (Standing::at(first), signed_at(last, report)),
        None => (Standing::beginning(), None),
    }
}

/// The first segment that may hold records of `since` or later, looking back from the last by what the indexes say. An
/// index that cannot be read is read with its segment.
fn first_since(listing: &Listing, since: Timestamp) -> Option<SegmentNo> {
    let is_before = |number: SegmentNo, date| {
        let file = std::fs::File::open(listing.segment_path(number, date)).ok()?;
        Some(read_index(&file).ok()?.index.max_ts < since)
    };
    let older =
        listing.segments.iter().rev().find(|(number, object)| is_before(**number, object.date) == Some(true));
    older.map(|(number, _)| number.next())
}

/// Holds a log against the spool of its own gateway: what that knows as committed must be in the store, and what it has
/// beyond the store is counted.
fn compare_with_spool(
    folder: &LogFolder,
    name: &LogName,
    keys: &Keyring,
    spool: &SpoolContents,
    report: &mut LogReport,
) {
    report.spool = Some(spool.end_seq().map_or(0, |end| end.0.saturating_sub(report.size.unwrap_or(0))));
    let Some((number, committed)) = &spool.committed else { return };
    let path = folder.path().join("checkpoints").join(number.digits());
    let stored = match read_bounded(&path, MAX_CHECKPOINT as u64) {
        Ok(stored) if stored == committed.as_bytes() => return,
        Ok(stored) => Checkpoint::parse_and_verify(&stored, name, keys.of(name)).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return report.unreadable(&path, error),
    };
    let known = Checkpoint::parse_and_verify(committed.as_bytes(), name, keys.of(name)).ok();
    let place = Place::log(name.as_str()).segment(*number);
    match (known, stored) {
        (Some(known), Some(stored)) if known.size == stored.size => {
            let message = format!(
                "the gateway committed {} for size {}, the store has {}",
                known.root, known.size, stored.root
            );
            report.finding(FindingKind::Split, place, message);
        }
        (Some(_), _) => {
            let message =
                format!("checkpoint {number}, which the gateway has committed, is not in the store");
            report.finding(FindingKind::Rollback, place, message);
        }
        (None, _) => {
            let message = format!("the checkpoint {number} that the spool remembers does not verify");
            report.finding(FindingKind::BadSignature, place, message);
        }
    }
}

fn check_age(name: &LogName, options: &Options, report: &mut LogReport) {
    let Some(max_age) = options.max_age else { return };
    let place = Place::log(name.as_str());
    match report.newest {
        Some(newest) if options.now.since(newest) > max_age => {
            let age = Ago(options.now.since(newest).as_secs());
            let message =
                format!("the newest record is of {newest}, {age} ago, more than {}", Ago(max_age.as_secs()));
            report.finding(FindingKind::Stale, place, message);
        }
        Some(_) => {}
        None => report.finding(FindingKind::Stale, place, "there is no record"),
    }
}

/// What to keep for the next time: only a log that was followed to a signed checkpoint.
fn keep(name: &LogName, keys: &Keyring, listing: &Listing, standing: Standing) -> Option<LogState> {
    let last = standing.next.previous()?;
    let note = read_bounded(&listing.checkpoint_path(last), MAX_CHECKPOINT as u64).ok()?;
    let note = String::from_utf8(note).ok()?;
    let checkpoint = Checkpoint::parse_and_verify(note.as_bytes(), name, keys.of(name)).ok()?;
    (standing.tree.is_some() && standing.size == checkpoint.size).then_some(LogState { note, standing })
}
