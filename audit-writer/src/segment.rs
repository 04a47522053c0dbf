//! A segment: records as zstd frames of whole lines, then one skippable frame that holds the index
//! (`docs/format.md`, "Segment").
//!
//! ```text
//! data frame | data frame | … | index frame
//!
//! index frame   offset  bytes
//!               0       4      5A 2A 4D 18   magic of a skippable frame (RFC 8878, section 3.1.2), little-endian
//!               4       4      F             what follows, in bytes: len(J) + 12
//!               8       len(J) J             the index, compact JSON
//!               8+len   4      len(J)        little-endian
//!               12+len  8      "SEALIDX1"
//! ```
//!
//! The index is a pure function of the records and of the tree before: [`IndexBuilder`] makes it for the writer, and
//! makes it again for `verify`. Nothing here trusts an index that was read.

mod derive;
mod index;
mod read;
mod write;

pub use derive::{Expected, derive};
pub use index::{Facts, Frame, Index, IndexBuilder, Sets};
pub use read::{BadSegment, FrameReader, IndexFrame, ReadAt, read_index};
pub use write::{SegmentBuilder, SegmentSummary};

use crate::ids::SegmentNo;
use crate::time::Timestamp;

/// Raw bytes of lines after which a data frame is closed.
pub const FRAME_TARGET: usize = 1 << 20;
/// Raw bytes that a data frame may hold.
pub const FRAME_MAX: usize = 4 << 20;
/// log2 of the largest window of a data frame: 8 MiB.
pub const WINDOW_LOG_MAX: u32 = 23;
/// Distinct values that the index lists of a field; past them it says null.
pub const SET_MAX: usize = 1024;

const SKIPPABLE_MAGIC: [u8; 4] = [0x5A, 0x2A, 0x4D, 0x18];
const INDEX_MAGIC: [u8; 8] = *b"SEALIDX1";
/// Bytes of an index frame beside J.
const INDEX_FRAMING: u64 = 20;

/// The ending of a segment's file name.
pub const EXTENSION: &str = ".ndjson.zst";

/// `NNNNNNNNNN.ndjson.zst`.
pub fn file_name(segment: SegmentNo) -> String {
    format!("{}{EXTENSION}", segment.digits())
}

/// The object's name below the log: `segments/date=YYYY-MM-DD/NNNNNNNNNN.ndjson.zst`; the date is that of the
/// segment's first record.
pub fn object_name(segment: SegmentNo, first_ts: Timestamp) -> String {
    format!("segments/date={}/{}", &first_ts.to_string()[..10], file_name(segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;
    use crate::merkle::{CompactRange, Hash, leaf_hash};
    use crate::record::{Brief, Kind};

    fn line(seq: u64, ts: Timestamp, pad: usize) -> Vec<u8> {
        let pad = "x".repeat(pad);
        format!(
            r#"{{"seq":{seq},"v":1,"kind":"completed","ts":"{ts}","boot":"9f3c01aa","route":"r{}","response":{{"status":200}},"pad":"{pad}"}}{}"#,
            seq % 3,
            "\n"
        )
        .into_bytes()
    }

    fn build(first: u64, lines: &[Vec<u8>]) -> (Vec<u8>, SegmentSummary) {
        let mut before = CompactRange::new(0);
        (0..first).for_each(|n| before.push(leaf_hash(&n.to_le_bytes())));
        let mut builder = SegmentBuilder::new(SegmentNo(3), before, 1).expect("level 1 exists");
        let mut file = Vec::new();
        for line in lines {
            let brief = Brief::parse(&line[..line.len() - 1]).expect("a record");
            builder.add(line, &brief.facts(), &mut file).expect("zstd compresses");
        }
        let summary =
            builder.finish("a.test/gw", "9f3c01aa", &mut file).expect("zstd compresses").expect("not empty");
        (file, summary)
    }

    #[test]
    fn what_was_written_is_read_back_frame_by_frame() {
        let lines: Vec<_> = (0..100)
            .map(|n| line(7 + n, Timestamp::from_micros(1_800_000_000_000_000 + n), 50_000))
            .collect();
        let (file, summary) = build(7, &lines);
        assert_eq!((summary.count, summary.bytes), (100, file.len() as u64));
        assert_eq!(summary.sha256, Hash::of(&file));

        let IndexFrame { offset, bytes, index } = read_index(&file[..]).expect("an index");
        assert_eq!(bytes, index.to_bytes());
        assert_eq!((index.first_seq, index.end_seq(), index.frames.len()), (Seq(7), Seq(107), 5));
        assert_eq!(index.sets.route.as_deref(), Some(&["r0".into(), "r1".into(), "r2".into()][..]));
        assert_eq!(index.sets.kind.as_deref(), Some(&[Kind::Completed.to_string()][..]));
        assert_eq!(index.frames.last().map(|f| f.offset + f.len), Some(offset));

        let mut reader = FrameReader::new().expect("memory");
        let mut raw = Vec::new();
        for frame in &index.frames {
            let (compressed, lines) = reader.read(&file[..], frame).expect("a frame");
            assert_eq!(Hash::of(compressed), frame.sha256);
            raw.extend_from_slice(lines);
        }
        assert_eq!(raw, lines.concat());
        // zstd itself passes over the index.
        assert_eq!(zstd::stream::decode_all(&file[..]).expect("zstd reads a segment"), raw);
    }

    #[test]
    fn a_segment_without_records_is_none() {
        let builder = SegmentBuilder::new(SegmentNo(0), CompactRange::new(0), 1).expect("level 1 exists");
        assert_eq!(
            builder.finish("a.test/gw", "9f3c01aa", &mut Vec::new()).expect("nothing to compress"),
            None
        );
    }

    #[test]
    fn any_flipped_byte_of_a_frame_or_of_the_index_frame_is_seen() {
        let lines: Vec<_> =
            (0..3).map(|n| line(n, Timestamp::from_micros(1_800_000_000_000_000), 1)).collect();
        let (file, _) = build(0, &lines);
        let good = read_index(&file[..]).expect("an index");
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x20;
            let seen = match read_index(&bad[..]) {
                Err(_) => true,
                Ok(found) if found.bytes != good.bytes || found.offset != good.offset => true,
                Ok(found) => match FrameReader::new().expect("memory").read(&bad[..], &found.index.frames[0])
                {
                    Err(_) => true,
                    Ok((compressed, _)) => Hash::of(compressed) != found.index.frames[0].sha256,
                },
            };
            assert!(seen, "byte {at}");
        }
    }

    #[test]
    fn hostile_bytes_are_no_index_and_no_frame() {
        let (file, _) = build(0, &[line(0, Timestamp::from_micros(1_800_000_000_000_000), 1)]);
        for end in 0..file.len() {
            assert!(read_index(&file[..end]).is_err(), "cut to {end}");
        }
        let mut huge = file.clone();
        let at = huge.len() - 12;
        huge[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read_index(&huge[..]).is_err());

        let mut frame = read_index(&file[..]).expect("an index").index.frames.remove(0);
        let mut reader = FrameReader::new().expect("memory");
        for (len, offset) in
            [(0, 0), (5, 0), (frame.len - 1, 0), (frame.len + 1, 0), (u64::MAX, 0), (frame.len, u64::MAX)]
        {
            (frame.len, frame.offset) = (len, offset);
            assert!(reader.read(&file[..], &frame).is_err(), "len {len} offset {offset}");
        }
        let bomb = zstd::encode_all(&vec![0u8; FRAME_MAX + 1][..], 1).expect("zstd compresses");
        frame.len = bomb.len() as u64;
        frame.offset = 0;
        assert!(reader.read(&bomb[..], &frame).is_err());
    }

    #[test]
    fn past_1024_distinct_values_a_set_says_null() {
        let mut builder = IndexBuilder::new(Seq(0));
        let routes: Vec<_> = (0..=SET_MAX).map(|n| format!("r{n}")).collect();
        for route in &routes {
            let facts = Facts {
                ts: Timestamp::from_micros(5),
                kind: Kind::Gap,
                actor: None,
                route: Some(route),
                status: Some(200),
                gap: Some(Some(2)),
            };
            builder.add(&facts, Hash::ZERO, 10);
        }
        builder.end_frame(0, 9, Hash::ZERO);
        let index = builder.finish("a", SegmentNo(0), "00000000", &CompactRange::new(0)).expect("one frame");
        assert_eq!((index.sets.route, index.sets.actor, index.lost), (None, Some(Vec::new()), 2050));
    }
}
