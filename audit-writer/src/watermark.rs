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
//! 17      8      the boot that wrote it, 8 hex digits
//! 25      16     first bytes of the SHA-256 of the machine's boot id
//! 41      19     zeros
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
use crate::merkle::Hash;
use crate::time::Timestamp;

const FILE: &str = "watermark";
const MAGIC: &[u8; 8] = b"SGMARK01";
const LEN: usize = 64;
const CRC_AT: usize = 60;

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
}

impl Mark {
    /// Since when records of the boot that wrote it may be missing; `None` where none is.
    pub fn lost_since(&self, machine_boot: &str) -> Option<Timestamp> {
        let believed = self.quiet && self.machine == machine(machine_boot);
        (!believed).then_some(self.since)
    }

    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.since.as_micros().to_le_bytes());
        bytes[16] = u8::from(self.quiet);
        bytes[17..25].copy_from_slice(&self.boot);
        bytes[25..41].copy_from_slice(&self.machine);
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
        Ok(Watermark { disk, path: spool.join(FILE), boot: name, machine, file: None, unsynced: false })
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
        Mark { since, quiet, boot: self.boot, machine: self.machine }
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
        watermark.write(Timestamp::from_micros(77), false).expect("overwritten");
        watermark.sync().expect("synced");
        let mark = read(&RealDisk, dir.path()).expect("read").expect("there");
        assert_eq!((mark.since, mark.quiet, &mark.boot), (Timestamp::from_micros(77), false, b"0123abcd"));
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
    fn quiet_is_believed_on_the_same_run_of_the_machine_alone() {
        let since = Timestamp::from_micros(5);
        let mark = |quiet| Mark { since, quiet, boot: *b"00000000", machine: machine("one") };
        assert_eq!(mark(true).lost_since("one"), None);
        assert_eq!(mark(true).lost_since("another"), Some(since));
        assert_eq!(mark(false).lost_since("one"), Some(since));
    }
}
