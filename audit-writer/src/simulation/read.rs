//! The whole log as it lies on a disk, in store and spool, read without the code that wrote it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::disk::{SPOOL, STORE, name_of};
use crate::ids::SegmentNo;
use crate::wal;

/// A line without its newline.
pub(super) type Line = Vec<u8>;

/// The files of a disk: their bytes, and whether they are protected.
pub(super) type Files = BTreeMap<PathBuf, (Vec<u8>, bool)>;

/// The lines of the segments that are in the store under a checkpoint.
pub(super) fn stored(files: &Files) -> Result<Vec<Line>, String> {
    let committed = checkpoints(files).len() as u64;
    let segments = segments(files, |path| path.starts_with(STORE))?;
    in_order(segments.into_iter().filter(|(number, _)| number.0 < committed).collect())
}

/// The lines of the whole log: of the store, of the spool's sealed segments, and of whole groups of its write-ahead log.
pub(super) fn whole(files: &Files) -> Result<Vec<Line>, String> {
    let mut segments = segments(files, |_| true)?;
    for (path, (bytes, _)) in files.iter().filter(|(path, _)| path.starts_with(SPOOL)) {
        if let Some(number) = wal::parse_file_name(name_of(path)) {
            let lines = wal::scan(bytes).lines.into_iter().map(<[u8]>::to_vec);
            segments.entry(number).or_insert_with(|| lines.collect());
        }
    }
    in_order(segments)
}

/// The checkpoints in the store, by the last part of their names.
pub(super) fn checkpoints(files: &Files) -> BTreeMap<String, Vec<u8>> {
    let found = files.iter().filter(|(path, _)| {
        path.starts_with(STORE)
            && path.parent().is_some_and(|above| above.ends_with("checkpoints"))
            && SegmentNo::from_digits(name_of(path)).is_some()
    });
    found.map(|(path, (bytes, _))| (name_of(path).to_owned(), bytes.clone())).collect()
}

fn segments(files: &Files, of: impl Fn(&PathBuf) -> bool) -> Result<BTreeMap<SegmentNo, Vec<Line>>, String> {
    let mut segments = BTreeMap::new();
    for (path, (bytes, _)) in files.iter().filter(|(path, _)| of(path)) {
        let name = name_of(path);
        let number = name.strip_suffix(crate::segment::EXTENSION).and_then(SegmentNo::from_digits);
        let Some(number) = number else { continue };
        let raw = zstd::stream::decode_all(&bytes[..])
            .map_err(|error| format!("{} is no segment: {error}", path.display()))?;
        let raw = raw.strip_suffix(b"\n").unwrap_or(&raw);
        segments.insert(number, raw.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect());
    }
    Ok(segments)
}

fn in_order(segments: BTreeMap<SegmentNo, Vec<Line>>) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (number, (found, of_segment)) in segments.into_iter().enumerate() {
        if of_segment.is_empty() {
            continue;
        }
        if found.0 != number as u64 {
            return Err(format!("segment {found} is there, but not segment {number}"));
        }
        lines.extend(of_segment);
    }
    for (seq, line) in lines.iter().enumerate() {
        let expected = format!("{{\"seq\":{seq},");
        if !line.starts_with(expected.as_bytes()) {
            let text = String::from_utf8_lossy(line);
            return Err(format!("record {seq} is {}", &text[..text.len().min(120)]));
        }
    }
    Ok(lines)
}

/// A line but for its number.
pub(super) fn rest(line: &[u8]) -> &[u8] {
    let comma = line.iter().position(|b| *b == b',').unwrap_or_default();
    &line[comma..]
}
