//! A record by its number: the segment is found by halving, so that a long log costs few indexes.

use super::reader::Reader;
use super::{Filter, Hit, SearchError, Summary};
use crate::archive::LogView;
use crate::ids::{SegmentNo, Seq};
use crate::wal;

/// Finds the record `seq` of a log.
///
/// # Errors
/// See [`SearchError`].
pub fn find(view: &LogView, seq: Seq) -> Result<(Option<Hit>, Summary), SearchError> {
    let mut reader = Reader::new(Filter::default()).map_err(SearchError::Reader)?;
    reader.stats.segments = view.segments();
    let hit = stored(view, seq, &mut reader).or_else(|| unsealed(view, seq, &mut reader));
    let (found, stats) = (u64::from(hit.is_some()), reader.stats);
    Ok((hit, Summary { found, limited: false, stats, troubles: reader.into_troubles() }))
}

fn stored(view: &LogView, seq: Seq, reader: &mut Reader) -> Option<Hit> {
    let listing = view.store.as_ref()?;
    let numbers: Vec<SegmentNo> = listing.segments.keys().copied().collect();
    let mut range = 0..numbers.len();
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        let number = numbers[middle];
        let path = listing.segment_path(number, listing.segments[&number].date);
        let Some((file, index)) = reader.open(&path) else {
            // Halving goes wrong across a segment that cannot be read: the ones around it are tried one by one.
            return numbers[range].iter().filter(|&&other| other != number).find_map(|&number| {
                let path = listing.segment_path(number, listing.segments[&number].date);
                let (file, index) = reader.open(&path)?;
                let frame = index.index.frames.into_iter().find(|frame| holds(frame, seq))?;
                reader.frame(&path, &file, &frame, seq, &view.name).into_iter().find(|hit| hit.seq == seq)
            });
        };
        if seq < index.index.first_seq {
            range.end = middle;
        } else if seq >= index.index.end_seq() {
            range.start = middle + 1;
        } else {
            let frame = index.index.frames.into_iter().find(|frame| holds(frame, seq))?;
            return reader
                .frame(&path, &file, &frame, seq, &view.name)
                .into_iter()
                .find(|hit| hit.seq == seq);
        }
    }
    None
}

fn unsealed(view: &LogView, seq: Seq, reader: &mut Reader) -> Option<Hit> {
    let spool = view.spool.as_ref()?;
    let waiting = spool.sealed.iter().find_map(|(_, path, file)| {
        let index = reader.index(path, file)?;
        let frame = index.index.frames.into_iter().find(|frame| holds(frame, seq))?;
        let hit = reader.frame(path, file, &frame, seq, &view.name).into_iter().find(|hit| hit.seq == seq)?;
        Some(Hit { unsealed: true, ..hit })
    });
    waiting.or_else(|| {
        spool.wals.iter().find_map(|(_, bytes)| {
            let lines = wal::scan(bytes).lines;
            reader.lines(&lines, seq, &view.name).into_iter().find(|hit| hit.seq == seq)
        })
    })
}

fn holds(frame: &crate::segment::Frame, seq: Seq) -> bool {
    seq.0.checked_sub(frame.first_seq.0).is_some_and(|at| at < frame.count)
}
