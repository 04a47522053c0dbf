//! The low watermark: the time before which no request is owed to the log.
//!
//! Every request that was received before it has its record on the log, or in a gap. It lies in the spool, in one small
//! file that is overwritten in place, so that the next boot knows since when records may be missing, or that none is:
//!
//! ```text
//! offset  bytes
//! 0       8      "SGMARK01"
//! 8       8      the watermark, microseconds since the Unix epoch, little-endian
//! 16      1      1: quiet, nothing was in flight · 0: busy
//! 17      8      the boot that wrote it, 8 hex digits; or what recovery has to say to the next boot, if this one dies:
//!                "--------" no boot has served yet · "recovery" more is lost than the mark said · "no-spool" the spool
//!                was lost
//! 25      16     first bytes of the SHA-256 of the machine's boot id
//! 41      8      the number of the next record: those before it are durable, little-endian
//! 49      11     zeros
//! 60      4      crc32c of what stands before, little-endian
//! ```
//!
//! A write into the page cache outlives a killed process, but not a power failure: then the machine's boot id is another
//! one, and `quiet` is not believed. The watermark itself is true for ever: what was durable before it stays so.
//!
//! The writer's thread moves it after each group; whichever request comes first out of a quiet time says so here before
//! it is served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Disk, DiskFile};
use crate::ids::Seq;
use crate::merkle::Hash;
use crate::time::Timestamp;

const FILE: &str = "watermark";
const MAGIC: &[u8; 8] = b"SGMARK01";
const LEN: usize = 64;
const CRC_AT: usize = 60;
/// In the place of a boot: none has served yet.
const NOBODY: [u8; 8] = *b"--------";
/// In the place of a boot: the mark stands whatever boot wrote the newest record.
const RECOVERY: [u8; 8] = *b"recovery";
/// The same, where the spool was lost.
const NO_SPOOL: [u8; 8] = *b"no-spool";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Every request received before it is accounted for.
    pub since: Timestamp,
    /// Nothing was in flight when it was written.
    pub quiet: bool,
    /// The boot that wrote it: 8 hex digits.
    pub boot: [u8; 8],
    /// The machine's boot.
    machine: [u8; 16],
    /// The records before it are durable: where fewer are found, they were taken away.
    pub next_seq: Seq,
}

impl Mark {
    /// Since when records of the boot that wrote it may be missing; `None` where none is.
    pub fn lost_since(&self, machine_boot: &str) -> Option<Timestamp> {
        let believed = self.quiet && self.machine == machine(machine_boot);
        (!believed).then_some(self.since)
    }

    /// Whether the boot named `boot`, which wrote the newest record, has come so far that it could serve: it renews
    /// the mark before.
    pub fn is_of(&self, boot: &str) -> bool {
        self.boot == RECOVERY || self.boot == NO_SPOOL || self.boot == boot.as_bytes()
    }

    /// Since when records are lost with a spool that was.
    pub fn spool_lost_since(&self) -> Option<Timestamp> {
        (self.boot == NO_SPOOL).then_some(self.since)
    }

    fn of_recovery(boot: [u8; 8], since: Timestamp) -> Mark {
        Mark { since, quiet: false, boot, machine: [0; 16], next_seq: Seq(0) }
    }

    fn put(self, disk: &dyn Disk, spool: &Path) -> io::Result<()> {
        disk::replace(disk, &spool.join(FILE), &self.to_bytes()).map(drop)
    }

    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.since.as_micros().to_le_bytes());
        bytes[16] = u8::from(self.quiet);
        bytes[17..25].copy_from_slice(&self.boot);
        bytes[25..41].copy_from_slice(&self.machine);
        bytes[41..49].copy_from_slice(&self.next_seq.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the file's bytes; `None` where they are not what was written.
    pub fn parse(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let crc = u32::from_le_bytes(bytes[CRC_AT..].try_into().ok()?);
        if &bytes[0..8] != MAGIC || crc != crc32c::crc32c(&bytes[..CRC_AT]) || bytes[16] > 1 {
            return None;
        }
        Some(Mark {
            since: Timestamp::from_micros(u64::from_le_bytes(bytes[8..16].try_into().ok()?)),
            quiet: bytes[16] == 1,
            boot: bytes[17..25].try_into().ok()?,
            machine: bytes[25..41].try_into().ok()?,
            next_seq: Seq(u64::from_le_bytes(bytes[41..49].try_into().ok()?)),
        })
    }
}

/// The mark that lies in the spool at `spool`, if there is one that can be read.
///
/// # Errors
/// The file system fails.
pub fn read(disk: &dyn Disk, spool: &Path) -> io::Result<Option<Mark>> {
    match disk::read(disk, &spool.join(FILE)) {
        Ok(bytes) => Ok(Mark::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the mark `mark` say, durably, that records may be missing since `since`; where there is none it is made.
///
/// # Errors
/// The file system fails; the mark is then as it was, or lowered.
pub(crate) fn lower(disk: &dyn Disk, spool: &Path, mark: Option<Mark>, since: Timestamp) -> io::Result<()> {
    let mark = mark.unwrap_or(Mark::of_recovery(RECOVERY, since));
    let boot = if mark.boot == NO_SPOOL { NO_SPOOL } else { RECOVERY };
    Mark { since: mark.since.min(since), quiet: false, boot, ..mark }.put(disk, spool)
}

/// Says, durably, that no boot has served yet: the log begins.
///
/// # Errors
/// The file system fails.
pub(crate) fn begin(disk: &dyn Disk, spool: &Path) -> io::Result<()> {
    Mark::of_recovery(NOBODY, Timestamp::now()).put(disk, spool)
}

/// Says, durably, that the spool was lost, and with it records since `since`.
///
/// # Errors
/// The file system fails.
pub(crate) fn spool_lost(disk: &dyn Disk, spool: &Path, since: Timestamp) -> io::Result<()> {
    Mark::of_recovery(NO_SPOOL, since).put(disk, spool)
}

fn machine(boot: &str) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&Hash::of(boot.as_bytes()).0[..16]);
    first
}

/// The file of this boot.
#[derive(Debug)]
pub(crate) struct Watermark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    boot: [u8; 8],
    machine: [u8; 16],
    next_seq: Seq,
    /// None until the first [`renew`](Watermark::renew), and after a write that failed.
    file: Option<Box<dyn DiskFile>>,
    unsynced: bool,
}

impl Watermark {
    /// The watermark of the boot named `boot`, in the spool at `spool`. That of the boot before stands until
    /// [`renew`](Watermark::renew): until this boot has said on the log what the other one lost.
    ///
    /// # Errors
    /// The machine's boot cannot be told.
    pub(crate) fn new(disk: Arc<dyn Disk>, spool: &Path, boot: &str) -> io::Result<Watermark> {
        let machine = machine(&disk.machine_boot()?);
        let mut name = [b'0'; 8];
        boot.bytes().zip(&mut name).for_each(|(digit, place)| *place = digit);
        Ok(Watermark {
            disk,
            path: spool.join(FILE),
            boot: name,
            machine,
            next_seq: Seq(0),
            file: None,
            unsynced: false,
        })
    }

    /// The records before `next_seq` are durable: the next mark that is written says so.
    pub(crate) fn durable_before(&mut self, next_seq: Seq) {
        self.next_seq = next_seq;
    }

    /// Makes the file anew, durably.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn renew(&mut self, since: Timestamp, quiet: bool) -> io::Result<()> {
        self.file = None;
        let file = disk::replace(&*self.disk, &self.path, &self.mark(since, quiet).to_bytes())?;
        self.file = Some(file);
        self.unsynced = false;
        Ok(())
    }

    /// Overwrites the mark. It outlives the process at once.
    ///
    /// # Errors
    /// What the file system says; the file is then not used until it is [`renew`](Watermark::renew)ed.
    pub(crate) fn write(&mut self, since: Timestamp, quiet: bool) -> io::Result<()> {
        let bytes = self.mark(since, quiet).to_bytes();
        let Some(file) = &mut self.file else { return Err(io::Error::other("the watermark has no file")) };
        self.unsynced = true;
        file.overwrite(&bytes).inspect_err(|_| self.file = None)
    }

    /// Makes the last mark durable, so that also after a power failure little is in doubt.
    ///
    /// # Errors
    /// What the file system says; the file is then not used until it is [`renew`](Watermark::renew)ed.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| self.unsynced) else { return Ok(()) };
        self.unsynced = false;
        file.sync().inspect_err(|_| self.file = None)
    }

    /// Whether it can be written.
    pub(crate) fn is_sound(&self) -> bool {
        self.file.is_some()
    }

    fn mark(&self, since: Timestamp, quiet: bool) -> Mark {
        Mark { since, quiet, boot: self.boot, machine: self.machine, next_seq: self.next_seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_anything_else_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(&RealDisk, dir.path()).expect("read"), None);
        let mut watermark = Watermark::new(Arc::new(RealDisk), dir.path(), "0123abcd").expect("a machine");
        watermark.write(Timestamp::from_micros(1), true).expect_err("there is no file yet");
        watermark.renew(Timestamp::from_micros(1), true).expect("made");
        watermark.durable_before(Seq(9));
        watermark.write(Timestamp::from_micros(77), false).expect("overwritten");
        watermark.sync().expect("synced");
        let mark = read(&RealDisk, dir.path()).expect("read").expect("there");
        assert_eq!((mark.since, mark.quiet, &mark.boot), (Timestamp::from_micros(77), false, b"0123abcd"));
        assert_eq!(mark.next_seq, Seq(9));
        let bytes = mark.to_bytes();
        for at in 0..LEN {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Mark::parse(&changed), None, "byte {at}");
        }
        assert_eq!(Mark::parse(&bytes[..LEN - 1]), None);
        assert_eq!(Mark::parse(b""), None);
    }

    #[test]
    fn a_lowered_mark_is_never_younger_and_never_quiet() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = Timestamp::from_micros;
        let lowered = |mark, since| {
            lower(&RealDisk, dir.path(), mark, at(since)).expect("lowered");
            read(&RealDisk, dir.path()).expect("read").expect("there")
        };
        let made = lowered(None, 7);
        assert_eq!((made.since, made.quiet), (at(7), false));
        let quiet = Mark { since: at(9), quiet: true, next_seq: Seq(3), boot: *b"0000000a", ..made };
        assert!(quiet.is_of("0000000a") && !quiet.is_of("0000000b"));
        let eight = lowered(Some(quiet), 8);
        assert_eq!(eight, Mark { since: at(8), quiet: false, boot: RECOVERY, ..quiet });
        assert!(eight.is_of("0000000b"));
        assert_eq!(lowered(Some(quiet), 10).since, at(9));
    }

    #[test]
    fn quiet_is_believed_on_the_same_run_of_the_machine_alone() {
        let since = Timestamp::from_micros(5);
        let mark =
            |quiet| Mark { since, quiet, boot: *b"00000000", machine: machine("one"), next_seq: Seq(0) };
        assert_eq!(mark(true).lost_since("one"), None);
        assert_eq!(mark(true).lost_since("another"), Some(since));
        assert_eq!(mark(false).lost_since("one"), Some(since));
    }
}
