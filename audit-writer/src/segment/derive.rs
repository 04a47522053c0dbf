//! A segment derived again from its records: nothing that its index says is believed.

use std::io;

use sha2::{Digest, Sha256};

use super::{BadSegment, FrameReader, IndexBuilder, ReadAt, SegmentSummary, read_index};
use crate::checkpoint::LogName;
use crate::ids::SegmentNo;
use crate::merkle::{CompactRange, Hash, leaf_hash};
use crate::record::{Brief, SegmentLine};

/// What a segment must be, to continue a log.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The log's name.
    pub log: &'a LogName,
    /// Its number.
    pub segment: SegmentNo,
    /// The tree of all records before it.
    pub before: &'a CompactRange,
    /// SHA-256 of the file before it.
    pub prev_sha256: Hash,
}

/// Reads a whole segment frame by frame, and derives what it is. Each record is handed to `each` with its line, in
/// order, before it is known whether the segment is good.
///
/// # Errors
/// It cannot be read; or its frames, records or index are not those of the segment that is expected.
pub fn derive<R: ReadAt + ?Sized>(
    source: &R,
    expected: &Expected<'_>,
    mut each: impl FnMut(&Brief<'_>, &[u8]),
) -> Result<SegmentSummary, BadSegment> {
    let index_frame = read_index(source)?;
    let mut reader = FrameReader::new()?;
    let mut builder = IndexBuilder::new(crate::ids::Seq(expected.before.end()));
    let mut file = Sha256::new();
    let mut begin: Option<SegmentLine> = None;
    let mut offset = 0;
    for frame in &index_frame.index.frames {
        let wrong = |problem: &str| BadSegment::Frame { offset, problem: problem.to_owned() };
        if frame.offset != offset {
            return Err(wrong("is not where the index says"));
        }
        let (compressed, raw) = reader.read(source, frame)?;
        let lines = raw.strip_suffix(b"\n").ok_or_else(|| wrong("does not end with a whole line"))?;
        for line in lines.split(|b| *b == b'\n') {
            let brief = Brief::parse(line).map_err(|bad| wrong(&format!("holds a line that {bad}")))?;
            if brief.seq != builder.next_seq() {
                return Err(wrong(&format!("holds record {}, not {}", brief.seq, builder.next_seq())));
            }
            match &begin {
                Some(begin) if begin.boot != brief.boot => return Err(wrong("holds records of two boots")),
                Some(_) => {}
                None => {
                    begin = Some(SegmentLine::parse(line).ok_or_else(|| wrong("does not begin a segment"))?)
                }
            }
            builder.add(&brief.facts(), leaf_hash(line), line.len() + 1);
            each(&brief, line);
        }
        builder.end_frame(offset, frame.len, Hash::of(compressed));
        file.update(compressed);
        offset += frame.len;
    }
    let wrong = |problem: String| BadSegment::Content { problem };
    let begin = begin.ok_or_else(|| wrong("it has no records".to_owned()))?;
    if begin.log != expected.log.as_str() || begin.segment != expected.segment {
        let (log, segment) = (&begin.log, begin.segment);
        let (expected_log, expected_segment) = (expected.log, expected.segment);
        return Err(wrong(format!(
            "it is segment {segment} of log {log}, not segment {expected_segment} of {expected_log}"
        )));
    }
    if begin.prev_sha256 != expected.prev_sha256 {
        let (found, ours) = (begin.prev_sha256, expected.prev_sha256);
        return Err(wrong(format!("it follows a file with SHA-256 {found}, not {ours}")));
    }
    let mut tree = expected.before.clone();
    tree.append(builder.range()).map_err(|error| wrong(error.to_string()))?;
    let count = builder.range().len();
    let index = builder.finish(expected.log.as_str(), expected.segment, &begin.boot, expected.before);
    let same = index.is_some_and(|index| index.to_bytes() == index_frame.bytes);
    if !same || offset != index_frame.offset {
        return Err(wrong("its index is not that of its records".to_owned()));
    }
    let mut rest = vec![0; usize::try_from(source.size()? - offset).map_err(io::Error::other)?];
    source.read_exact_at(&mut rest, offset)?;
    file.update(&rest);
    Ok(SegmentSummary {
        segment: expected.segment,
        sha256: Hash(file.finalize().into()),
        bytes: offset + rest.len() as u64,
        first_ts: begin.ts,
        boot: begin.boot,
        count,
        tree,
    })
}
