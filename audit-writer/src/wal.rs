//! The write-ahead log of the open segment: groups of lines, each whole or not there.
//!
//! ```text
//! group   offset  bytes
//!         0       4      length   of what follows the checksum: 12 + the lines' bytes
//!         4       4      crc32c   of what follows (RFC 3720, appendix B.4)
//!         8       8      first_seq
//!         16      4      count
//!         20      …      the lines, each with its newline
//! ```
//!
//! All little-endian. A group is durable once it was appended and synced. A reader takes whole groups with a good
//! checksum and dense numbers, and stops at the first that is not: [`scan`]. The writer's thread owns the file.

use std::io;
use std::path::Path;

use crate::disk::{self, Disk, DiskFile};
use crate::ids::{SegmentNo, Seq};
use crate::record::{Brief, Entry};

const HEADER: usize = 20;
/// Of the group's length and checksum.
const FRAMING: usize = 8;
/// A longer group is none: the writer's are far below.
const MAX_GROUP: usize = 256 << 20;

/// `wal-NNNNNNNNNN`.
pub fn file_name(segment: SegmentNo) -> String {
    format!("wal-{}", segment.digits())
}

/// The number in a name that [`file_name`] gave.
pub fn parse_file_name(name: &str) -> Option<SegmentNo> {
    name.strip_prefix("wal-").and_then(SegmentNo::from_digits)
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Wal {
    file: Box<dyn DiskFile>,
    /// Bytes of the groups that are durable.
    durable_len: u64,
    /// The number after the last durable record.
    next_seq: Seq,
    trust: Trust,
}

/// What may be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It ends with a durable group.
    Sound,
    /// An append failed: what it left is to be cut off.
    Torn,
    /// A sync failed: the kernel may have dropped what was written, and will not say so again. Nothing is written any
    /// more; what was durable before can be read.
    Lost,
}

impl Wal {
    /// A new file, whose name is durable when this returns. Its first record will have the number `first_seq`.
    pub(crate) fn create(
        disk: &dyn Disk,
        directory: &Path,
        segment: SegmentNo,
        first_seq: Seq,
    ) -> io::Result<Wal> {
        let file = disk.create(&directory.join(file_name(segment)))?;
        disk.sync_dir(directory)?;
        Ok(Wal { file, durable_len: 0, next_seq: first_seq, trust: Trust::Sound })
    }

    /// A new file in the place of this one, with the groups that are durable.
    pub(crate) fn replace(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        segment: SegmentNo,
    ) -> io::Result<()> {
        let groups = self.durable_groups()?;
        self.file = disk::replace(disk, &directory.join(file_name(segment)), &groups)?;
        self.trust = Trust::Sound;
        Ok(())
    }

    /// Appends a group and makes it durable.
    pub(crate) fn append(&mut self, group: &Group) -> io::Result<()> {
        match self.trust {
            Trust::Sound => {}
            Trust::Torn => self.file.truncate(self.durable_len)?,
            Trust::Lost => return Err(io::Error::other("the write-ahead log is not to be trusted any more")),
        }
        self.trust = Trust::Torn;
        self.file.append(group.bytes())?;
        self.trust = Trust::Lost;
        self.file.sync()?;
        self.trust = Trust::Sound;
        self.durable_len += group.bytes().len() as u64;
        self.next_seq = group.next_seq();
        Ok(())
    }

    /// From now on it must be [`replace`](Wal::replace)d before anything is appended.
    pub(crate) fn distrust(&mut self) {
        self.trust = Trust::Lost;
    }

    /// Whether it must be replaced.
    pub(crate) fn is_lost(&self) -> bool {
        self.trust == Trust::Lost
    }

    /// The number after the last durable record.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// The bytes of the groups that are durable, read from the file and checked, also where its name is gone.
    pub(crate) fn durable_groups(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.file.read_back()?;
        bytes.truncate(usize::try_from(self.durable_len).map_err(io::Error::other)?);
        let scan = scan(&bytes);
        let end = scan.first_seq.map_or(self.next_seq, |first| Seq(first.0 + scan.lines.len() as u64));
        if scan.good_bytes as u64 != self.durable_len || end != self.next_seq {
            let (good, all) = (scan.good_bytes, self.durable_len);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("of {all} durable bytes of the write-ahead log {good} can be read back"),
            ));
        }
        Ok(bytes)
    }
}

/// A group under construction; its buffer is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Group {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    first_seq: Seq,
}

impl Group {
    /// Begins an empty group whose first record gets the number `first_seq`.
    pub(crate) fn begin(&mut self, first_seq: Seq) {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        self.ends.clear();
        self.first_seq = first_seq;
    }

    /// Numbers a record and adds its line.
    pub(crate) fn push(&mut self, entry: &Entry) {
        entry.number(self.next_seq(), &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The number that the next record gets.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.ends.len() as u64)
    }

    /// Completes the header.
    pub(crate) fn seal(&mut self) {
        let length = (self.bytes.len() - FRAMING) as u32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&self.first_seq.0.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&(self.ends.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[FRAMING..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// The whole group, as it goes to the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines, each with its newline.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = HEADER;
        self.ends.iter().map(move |&end| {
            let line = &self.bytes[begin..end];
            begin = end;
            line
        })
    }
}

/// The whole groups at the begin of a file's bytes, and why there are no more.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The number of the first line, where there is one.
    pub first_seq: Option<Seq>,
    /// The lines of all whole groups, without their newlines.
    pub lines: Vec<&'a [u8]>,
    /// Bytes of the whole groups.
    pub good_bytes: usize,
    /// What ended the scan, where it was not the end of the file.
    pub stopped: Option<Torn>,
}

/// Why a group was not taken. At the end of a file it is what a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// The file ends within it.
    #[error("the file ends within the group")]
    Cut,
    /// The checksum is another.
    #[error("the group's checksum is {found:08x}, that of its bytes {expected:08x}")]
    Checksum {
        /// That of the bytes.
        expected: u32,
        /// The one that is written.
        found: u32,
    },
    /// It does not follow the group before.
    #[error("the group begins with record {found}, not with {expected}")]
    Number {
        /// The number after the group before.
        expected: Seq,
        /// The one that is written.
        found: Seq,
    },
    /// Its lines are not what its header says.
    #[error("the group's lines are not the records that its header names")]
    Lines,
}

/// Reads whole groups, and stops at the first that is none.
pub fn scan(bytes: &[u8]) -> Scan<'_> {
    let mut scan = Scan { first_seq: None, lines: Vec::new(), good_bytes: 0, stopped: None };
    while scan.good_bytes < bytes.len() {
        let expected = scan.first_seq.map(|first| Seq(first.0 + scan.lines.len() as u64));
        match read_group(&bytes[scan.good_bytes..], expected) {
            Ok((first_seq, lines, length)) => {
                scan.first_seq.get_or_insert(first_seq);
                scan.lines.extend(lines);
                scan.good_bytes += length;
            }
            Err(torn) => {
                scan.stopped = Some(torn);
                break;
            }
        }
    }
    scan
}

/// A whole group at the begin of `bytes` whose records come after `not_before`: the number after its last record, and
/// its bytes. What a reader finds so behind a group that is none was not left by a crash.
pub(crate) fn group_at(bytes: &[u8], not_before: Seq) -> Option<(Seq, usize)> {
    /// No log counts on so far within one file.
    const FAR: u64 = 1 << 32;
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    let first_seq = u64::from_le_bytes(*bytes.get(FRAMING..)?.first_chunk::<8>()?);
    // Most bytes are no header: seen here, before any checksum is made.
    let plausible = length <= bytes.len() - FRAMING
        && (not_before.0..not_before.0.saturating_add(FAR)).contains(&first_seq);
    let (first_seq, lines, length) = plausible.then(|| read_group(bytes, None).ok()).flatten()?;
    Some((Seq(first_seq.0 + lines.len() as u64), length))
}

fn read_group(bytes: &[u8], expected: Option<Seq>) -> Result<(Seq, Vec<&[u8]>, usize), Torn> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Torn::Cut)?;
    let (found, rest) = rest.split_first_chunk::<4>().ok_or(Torn::Cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_GROUP {
        return Err(Torn::Lines);
    }
    let body = rest.get(..length).ok_or(Torn::Cut)?;
    let (found, crc) = (u32::from_le_bytes(*found), crc32c::crc32c(body));
    if found != crc {
        return Err(Torn::Checksum { expected: crc, found });
    }
    let (first_seq, body) = body.split_first_chunk::<8>().ok_or(Torn::Lines)?;
    let (count, body) = body.split_first_chunk::<4>().ok_or(Torn::Lines)?;
    let first_seq = Seq(u64::from_le_bytes(*first_seq));
    if let Some(expected) = expected.filter(|expected| *expected != first_seq) {
        return Err(Torn::Number { expected, found: first_seq });
    }
    let body = body.strip_suffix(b"\n").ok_or(Torn::Lines)?;
    let lines: Vec<_> = body.split(|b| *b == b'\n').collect();
    let numbered = |(n, line): (usize, &&[u8])| {
        Brief::parse(line).is_ok_and(|brief| brief.seq.0 == first_seq.0 + n as u64)
    };
    if lines.len() != u32::from_le_bytes(*count) as usize || !lines.iter().enumerate().all(numbered) {
        return Err(Torn::Lines);
    }
    Ok((first_seq, lines, FRAMING + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{KindRejected, Rejected, Source, Unnumbered, V1};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn entry(n: u64) -> Entry {
        Entry::rejected(&Rejected {
            seq: Unnumbered,
            v: V1,
            kind: KindRejected,
            ts: Timestamp::from_micros(1_800_000_000_000_000 + n),
            boot: "00000000",
            listener: "edge",
            source: Source { ip: [127, 0, 0, 1].into(), port: 1, peer: None, claimed: &[] },
            tls: None,
            reason: "malformed_request",
            bytes: n,
            response: None,
            duration_us: 1,
            trunc: None,
        })
    }

    /// Groups of these sizes, numbered from 5.
    fn file(sizes: &[u64]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<usize>) {
        let (mut bytes, mut lines, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut group = Group::default();
        let mut seq = 5;
        for size in sizes {
            group.begin(Seq(seq));
            (0..*size).for_each(|n| group.push(&entry(n)));
            seq += size;
            group.seal();
            bytes.extend_from_slice(group.bytes());
            lines.extend(group.lines().map(<[u8]>::to_vec));
            ends.push(bytes.len());
        }
        (bytes, lines, ends)
    }

    #[test]
    fn what_was_appended_is_scanned_back() {
        let (bytes, lines, _) = file(&[1, 3, 2]);
        let scan = scan(&bytes);
        assert_eq!((scan.first_seq, scan.good_bytes, scan.stopped), (Some(Seq(5)), bytes.len(), None));
        assert_eq!(scan.lines.iter().map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_group_that_skips_a_number_ends_the_scan() {
        let (mut bytes, ..) = file(&[2]);
        let (other, ..) = file(&[1, 1]);
        let end = bytes.len();
        bytes.extend_from_slice(&other);
        let scan = scan(&bytes);
        assert_eq!(scan.stopped, Some(Torn::Number { expected: Seq(7), found: Seq(5) }));
        assert_eq!(scan.good_bytes, end);
    }

    proptest! {
        #[test]
        fn a_file_cut_or_changed_anywhere_gives_the_whole_groups_before(
            sizes in proptest::collection::vec(1u64..5, 1..6), at in any::<prop::sample::Index>(), flip in 1u8..,
            cut in any::<bool>(),
        ) {
            let (mut bytes, lines, ends) = file(&sizes);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            let whole = ends.iter().filter(|end| **end <= at).count();
            let scan = scan(&bytes);
            prop_assert_eq!(scan.good_bytes, whole.checked_sub(1).map_or(0, |last| ends[last]));
            let count = sizes[..whole].iter().sum::<u64>() as usize;
            prop_assert_eq!(scan.lines.len(), count);
            prop_assert!(scan.lines.iter().zip(&lines).all(|(found, line)| [found, &b"\n"[..]].concat() == *line));
            prop_assert_eq!(scan.stopped.is_some(), scan.good_bytes < bytes.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            scan(&bytes);
        }
    }
}
