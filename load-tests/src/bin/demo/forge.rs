//! The strongest forger without the key: edits one record in a copy of the store, and then makes everything fit again.
//!
//! The frame is compressed anew, the index built anew, and every later segment is chained to the changed one. Only the
//! checkpoints stay as they are: they are signed, and the key is not in the store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use audit_writer::{
    ids::SegmentNo,
    merkle::{CompactRange, Hash},
    record::Brief,
    segment::{EXTENSION, FrameReader, SegmentBuilder, read_index},
};
use load_tests::folder;

/// What was changed.
pub(crate) struct Forgery {
    /// The record's number.
    pub(crate) seq: u64,
    /// The request's id.
    pub(crate) request_id: String,
}

/// One segment's file and its lines, newlines included.
struct Segment {
    path: PathBuf,
    log: String,
    boot: String,
    number: SegmentNo,
    lines: Vec<Vec<u8>>,
}

/// Replaces `find` by `replace` in the first record on `route` that holds it, from the segment `from` on, and rebuilds the
/// store `forged` around it.
pub(crate) fn forge(
    forged: &Path,
    from: SegmentNo,
    route: &str,
    find: &str,
    replace: &str,
) -> anyhow::Result<Forgery> {
    let mut forgery = None;
    let mut before = CompactRange::new(0);
    let mut renamed: Vec<(Hash, Hash)> = Vec::new();
    for mut segment in segments(forged)? {
        for (honest, rebuilt) in &renamed {
            rechain(&mut segment.lines, *honest, *rebuilt)?;
        }
        if forgery.is_none() && segment.number >= from {
            forgery = edit(&mut segment.lines, route, find, replace)?;
        }
        let honest = Hash::of(&fs::read(&segment.path)?);
        let (bytes, rebuilt, after) = rebuild(&segment, before)?;
        before = after;
        if forgery.is_some() {
            let path = segment.path.display();
            fs::write(&segment.path, bytes).with_context(|| format!("cannot write {path}"))?;
            renamed.push((honest, rebuilt));
        }
    }
    forgery.with_context(|| format!("the log holds no record of {route} with {find}"))
}

fn segments(store: &Path) -> anyhow::Result<Vec<Segment>> {
    let is_segment = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(EXTENSION));
    let mut found = Vec::new();
    for path in folder::files(store)?.into_iter().filter(is_segment) {
        let bytes = fs::read(&path)?;
        let index = read_index(&bytes[..]).with_context(|| format!("cannot read {}", path.display()))?.index;
        let mut reader = FrameReader::new()?;
        let mut lines = Vec::new();
        for frame in &index.frames {
            let (_, raw) = reader.read(&bytes[..], frame)?;
            lines.extend(raw.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        found.push(Segment { path, log: index.log, boot: index.boot, number: index.segment, lines });
    }
    // The date folder comes first in the path, and a later segment never has an earlier one.
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

/// Later segments name the file before them by its SHA-256, and tell of each segment that was stored: both are made to fit.
fn rechain(lines: &mut [Vec<u8>], honest: Hash, rebuilt: Hash) -> anyhow::Result<()> {
    let (honest, rebuilt) = (honest.to_string(), rebuilt.to_string());
    for line in lines {
        let text = std::str::from_utf8(line)?;
        if text.contains(&honest) {
            *line = text.replace(&honest, &rebuilt).into_bytes();
        }
    }
    Ok(())
}

fn edit(lines: &mut [Vec<u8>], route: &str, find: &str, replace: &str) -> anyhow::Result<Option<Forgery>> {
    for line in lines {
        let text = std::str::from_utf8(line)?;
        let brief = Brief::parse(text.trim_end().as_bytes())?;
        if brief.route.as_deref() == Some(route) && text.contains(find) {
            let Some(request_id) = brief.request_id else {
                bail!("a record of a request has its id: {text}")
            };
            let forgery = Forgery { seq: brief.seq.0, request_id: request_id.into_owned() };
            *line = text.replacen(find, replace, 1).into_bytes();
            return Ok(Some(forgery));
        }
    }
    Ok(None)
}

/// The segment's bytes from its lines, their SHA-256, and the tree after it.
fn rebuild(segment: &Segment, before: CompactRange) -> anyhow::Result<(Vec<u8>, Hash, CompactRange)> {
    let mut builder = SegmentBuilder::new(segment.number, before, 1)?;
    let mut bytes = Vec::new();
    for line in &segment.lines {
        let brief = Brief::parse(line.trim_ascii_end())?;
        builder.add(line, &brief.facts(), &mut bytes)?;
    }
    let summary = builder
        .finish(&segment.log, &segment.boot, &mut bytes)?
        .context("a segment holds at least one record")?;
    Ok((bytes, summary.sha256, summary.tree))
}

#[cfg(test)]
mod tests {
    use load_tests::folder::Folder;

    use super::*;

    fn line(seq: u64, kind: &str, rest: &str) -> Vec<u8> {
        let ts = "2026-11-24T09:12:03.123456Z";
        format!(
            "{{\"seq\":{seq},\"v\":1,\"kind\":\"{kind}\",\"ts\":\"{ts}\",\"boot\":\"9f3c01aa\",{rest}}}\n"
        )
        .into_bytes()
    }

    fn begin(seq: u64, segment: u64, previous: Hash) -> Vec<u8> {
        let names =
            format!(r#""event":"segment","log":"a.test/gw","segment":{segment},"prev_sha256":"{previous}""#);
        line(seq, "lifecycle", &names)
    }

    fn payment(seq: u64, status: u16) -> Vec<u8> {
        let rest = format!(
            r#""request_id":"id-{seq}","route":"payments","response":{{"status":{status},"bytes":9}}"#
        );
        line(seq, "completed", &rest)
    }

    fn write(
        folder: &Folder,
        number: u64,
        lines: Vec<Vec<u8>>,
        before: CompactRange,
    ) -> (Hash, CompactRange) {
        let path = folder.path().join(audit_writer::segment::file_name(SegmentNo(number)));
        let segment = Segment {
            path: path.clone(),
            log: "a.test/gw".to_owned(),
            boot: "9f3c01aa".to_owned(),
            number: SegmentNo(number),
            lines,
        };
        let (bytes, sha256, after) = rebuild(&segment, before).expect("a segment");
        fs::write(path, bytes).expect("a file");
        (sha256, after)
    }

    #[test]
    fn everything_fits_after_a_forgery_but_the_root() {
        let path = std::env::temp_dir().join(format!("sealgate-forge-{}", std::process::id()));
        let folder = Folder::fresh(&path).expect("a temporary folder");
        let lines = vec![begin(0, 0, Hash::ZERO), payment(1, 201), payment(2, 402)];
        let (first, tree) = write(&folder, 0, lines, CompactRange::new(0));
        let (_, honest) = write(&folder, 1, vec![begin(3, 1, first), payment(4, 201)], tree);

        let forgery = forge(&path, SegmentNo(0), "payments", r#""status":402"#, r#""status":201"#)
            .expect("there is one");

        assert_eq!((forgery.seq, forgery.request_id.as_str()), (2, "id-2"));
        let segments = segments(&path).expect("both can still be read");
        assert_eq!(segments[0].lines[2], payment(2, 201));
        let rebuilt = Hash::of(&fs::read(&segments[0].path).expect("a file"));
        assert_eq!(segments[1].lines[0], begin(3, 1, rebuilt), "the chain is mended");
        let (_, _, forged) =
            rebuild(&segments[1], rebuild(&segments[0], CompactRange::new(0)).expect("a segment").2)
                .expect("a segment");
        assert_eq!(
            read_index(&fs::read(&segments[1].path).expect("a file")[..])
                .expect("an index")
                .index
                .before
                .len(),
            2
        );
        assert_ne!(forged.root(), honest.root());
        assert!(forge(&path, SegmentNo(0), "payments", r#""status":402"#, "").is_err(), "there is none left");
    }
}
