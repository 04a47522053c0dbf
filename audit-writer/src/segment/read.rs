//! Reading a segment: its index from the end of the file, and its frames one by one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::{self, DParameter};

use super::{FRAME_MAX, Frame, INDEX_FRAMING, INDEX_MAGIC, Index, SKIPPABLE_MAGIC, WINDOW_LOG_MAX};

/// The end of a file that is read first: nearly always all of its index.
const TAIL: u64 = 256 << 10;
/// An index larger than this is none: it could not be of a segment that a gateway sealed.
const INDEX_MAX: u64 = 64 << 20;

/// Bytes that can be read at any place: a file, or an object of a store.
pub trait ReadAt {
    /// Its bytes in all.
    ///
    /// # Errors
    /// The source cannot say.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The source cannot be read, or ends before.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let begin = usize::try_from(offset).ok();
        let part = begin.and_then(|begin| self.get(begin..begin.checked_add(out.len())?));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a file is not a segment.
#[derive(Debug, thiserror::Error)]
pub enum BadSegment {
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// No index frame at its end.
    #[error("has no index frame at its end: {0}")]
    NoIndex(&'static str),
    /// The index is not one.
    #[error("has an index that is not one")]
    Index(#[source] serde_json::Error),
    /// The frame is not one that a segment may hold.
    #[error("has a data frame at byte {offset} that {problem}")]
    Frame {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The frames are good, but not those of the segment that it should be.
    #[error("is not the segment that it should be: {problem}")]
    Content {
        /// What is wrong with it.
        problem: String,
    },
}

/// The index frame of a file, as it stands there; nothing of it is to be trusted.
#[derive(Debug, Clone)]
pub struct IndexFrame {
    /// Where it begins: where the data frames end.
    pub offset: u64,
    /// J, as it stands in the file.
    pub bytes: Vec<u8>,
    /// J, read.
    pub index: Index,
}

/// Reads the index frame from the end of a segment.
///
/// # Errors
/// The source cannot be read, or does not end in an index frame.
pub fn read_index<R: ReadAt + ?Sized>(source: &R) -> Result<IndexFrame, BadSegment> {
    let size = source.size()?;
    if size < INDEX_FRAMING {
        return Err(BadSegment::NoIndex("the file is too short"));
    }
    let mut tail = vec![0; usize::try_from(size.min(TAIL)).expect("at most 256 KiB")];
    let tail_begin = size - tail.len() as u64;
    source.read_exact_at(&mut tail, tail_begin)?;
    let (rest, magic) = tail.split_last_chunk::<8>().ok_or(BadSegment::NoIndex("the file is too short"))?;
    let (_, len) = rest.split_last_chunk::<4>().ok_or(BadSegment::NoIndex("the file is too short"))?;
    if *magic != INDEX_MAGIC {
        return Err(BadSegment::NoIndex("it does not end in SEALIDX1"));
    }
    let len = u64::from(u32::from_le_bytes(*len));
    let whole = len + INDEX_FRAMING;
    if whole > size || len > INDEX_MAX {
        return Err(BadSegment::NoIndex("its length is larger than the file, or than any index"));
    }
    let offset = size - whole;
    let frame = if whole <= tail.len() as u64 {
        tail.split_off(tail.len() - whole as usize)
    } else {
        let mut frame = vec![0; whole as usize];
        source.read_exact_at(&mut frame, offset)?;
        frame
    };
    if frame[..4] != SKIPPABLE_MAGIC || frame[4..8] != (len as u32 + 12).to_le_bytes() {
        return Err(BadSegment::NoIndex("no skippable frame of its length begins there"));
    }
    let bytes = frame[8..8 + len as usize].to_vec();
    let index = serde_json::from_slice(&bytes).map_err(BadSegment::Index)?;
    Ok(IndexFrame { offset, bytes, index })
}

/// Reads data frames, one at a time: never more than [`FRAME_MAX`] raw bytes are held.
pub struct FrameReader {
    decompressor: Decompressor<'static>,
    compressed: Vec<u8>,
    raw: Vec<u8>,
}

impl FrameReader {
    /// A reader; it can be used for any number of segments.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn new() -> io::Result<FrameReader> {
        let mut decompressor = Decompressor::new()?;
        decompressor.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(FrameReader { decompressor, compressed: Vec::new(), raw: vec![0; FRAME_MAX] })
    }

    /// Decompresses the frame that `frame` names: its compressed bytes and its raw lines.
    ///
    /// # Errors
    /// It cannot be read, is not one zstd frame of that length with a content checksum and without a dictionary, its
    /// checksum or content is wrong, or it holds more than [`FRAME_MAX`] bytes.
    pub fn read<R: ReadAt + ?Sized>(
        &mut self,
        source: &R,
        frame: &Frame,
    ) -> Result<(&[u8], &[u8]), BadSegment> {
        let bad = |problem: String| BadSegment::Frame { offset: frame.offset, problem };
        // A frame of FRAME_MAX raw bytes is never longer than this.
        if frame.len > zstd_safe::compress_bound(FRAME_MAX) as u64 {
            return Err(bad(format!("is said to have {} compressed bytes, more than any frame", frame.len)));
        }
        self.compressed.resize(frame.len as usize, 0);
        source.read_exact_at(&mut self.compressed, frame.offset)?;
        let raw_len = self.decompress(frame.offset)?;
        Ok((&self.compressed, &self.raw[..raw_len]))
    }

    fn decompress(&mut self, offset: u64) -> Result<usize, BadSegment> {
        let bad = |problem: String| BadSegment::Frame { offset, problem };
        let zstd_error = |code| bad(format!("zstd does not read: {}", zstd_safe::get_error_name(code)));
        check_header(&self.compressed).map_err(|problem| bad(problem.to_owned()))?;
        let whole = zstd_safe::find_frame_compressed_size(&self.compressed).map_err(zstd_error)?;
        if whole != self.compressed.len() {
            return Err(bad(format!("ends after {whole} bytes, not after {}", self.compressed.len())));
        }
        self.decompressor.decompress_to_buffer(&self.compressed, &mut self.raw[..]).map_err(|error| {
            bad(format!("zstd does not read, or that holds more than {FRAME_MAX} bytes: {error}"))
        })
    }
}

/// The header of a zstd frame (RFC 8878, section 3.1.1): a data frame has a content checksum, a window of at most
/// 8 MiB, and no dictionary.
fn check_header(frame: &[u8]) -> Result<(), &'static str> {
    let header = frame.get(..6).ok_or("is too short")?;
    if header[..4] != [0x28, 0xB5, 0x2F, 0xFD] {
        return Err("does not begin as a zstd frame");
    }
    let descriptor = header[4];
    if descriptor & 0b100 == 0 {
        return Err("has no content checksum");
    }
    if descriptor & 0b11 != 0 {
        return Err("wants a dictionary");
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    let exponent = header[5] >> 3;
    let mantissa = u64::from(header[5] & 7);
    let base = 1u64 << (10 + u32::from(exponent));
    if !single_segment && base + base / 8 * mantissa > 1 << WINDOW_LOG_MAX {
        return Err("has a window of more than 8 MiB");
    }
    Ok(())
}
