//! The frames of one direction of an HTTP/2 connection (RFC 9113, section 4.1), read as they pass.
//!
//! ```text
//! length (3) | type (1) | flags (1) | stream (4) | payload (length)
//! ```
//!
//! Nothing is decoded but the frame's header and the first 8 bytes of its payload, and nothing is kept of the rest.

/// Bytes of a frame's header.
const HEADER: usize = 9;
/// Bytes of a payload that are kept: what `RST_STREAM` and `GOAWAY` begin with.
const KEPT: usize = 8;
/// `END_HEADERS`, of `HEADERS` and `CONTINUATION`.
const END_HEADERS: u8 = 0x4;

/// What a frame is, as far as anybody here cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `HEADERS`.
    Headers,
    /// `CONTINUATION`: more of what `HEADERS` began.
    Continuation,
    /// `RST_STREAM`.
    Reset,
    /// Any other.
    Other,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            0x1 => Kind::Headers,
            0x3 => Kind::Reset,
            0x9 => Kind::Continuation,
            _ => Kind::Other,
        }
    }
}

/// A frame that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is.
    pub(super) kind: Kind,
    /// Its stream.
    pub(super) stream: u32,
    /// Its bytes, with its header.
    pub(super) bytes: u64,
    flags: u8,
    payload: [u8; KEPT],
}

impl Frame {
    /// Whether a header block ends with it.
    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// The error code of an `RST_STREAM`.
    pub(super) fn code(&self) -> u32 {
        let [a, b, c, d, ..] = self.payload;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Cuts a direction into its frames, whatever the pieces are that it comes in.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of `header` that are there.
    have: usize,
    /// Bytes of the payload that are not there yet.
    left: usize,
    payload: [u8; KEPT],
    /// Bytes of `payload` that are there.
    kept: usize,
}

impl Frames {
    /// Takes in bytes up to the end of a frame: how many those are, and the frame, where it ends in them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let mut used = 0;
        if self.have < HEADER {
            used = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + used].copy_from_slice(&bytes[..used]);
            self.have += used;
            if self.have < HEADER {
                return (used, None);
            }
            self.left = self.length();
            (self.payload, self.kept) = ([0; KEPT], 0);
        }
        let here = (bytes.len() - used).min(self.left);
        let keep = here.min(KEPT - self.kept);
        self.payload[self.kept..self.kept + keep].copy_from_slice(&bytes[used..used + keep]);
        self.kept += keep;
        self.left -= here;
        used += here;
        if self.left > 0 {
            return (used, None);
        }
        self.have = 0;
        let bytes = (HEADER + self.length()) as u64;
        let [.., kind, flags, _, _, _, _] = self.header;
        let kind = Kind::of(kind);
        (used, Some(Frame { kind, stream: self.stream(), bytes, flags, payload: self.payload }))
    }

    /// A frame that has begun and is not whole, once its type is known: its kind, its stream (0 while that is not
    /// known) and its bytes so far.
    pub(super) fn begun(&self) -> Option<(Kind, u32, u64)> {
        match self.have {
            ..4 => None,
            4..HEADER => Some((Kind::of(self.header[3]), 0, self.have as u64)),
            _ => Some((Kind::of(self.header[3]), self.stream(), (HEADER + self.length() - self.left) as u64)),
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.header;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        // The first bit is reserved.
        u32::from_be_bytes([a & 0x7f, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> (Vec<Frame>, Option<(Kind, u32, u64)>) {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let (used, frame) = frames.read(piece);
                found.extend(frame);
                piece = &piece[used..];
            }
        }
        (found, frames.begun())
    }

    #[test]
    fn a_frame_is_known_by_its_header_and_its_first_bytes() {
        let bytes = [
            &[0, 0, 3, 1, 5, 0x80, 0, 0, 7][..],
            b"abc",
            &[0, 0, 4, 3, 0, 0, 0, 0, 7],
            &[0, 0, 0, 8],
            &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            &[0, 0, 9, 9, 0, 0, 0],
        ]
        .concat();
        let (found, begun) = all(&[&bytes]);
        let told: Vec<_> = found.iter().map(|frame| (frame.kind, frame.stream, frame.bytes)).collect();
        assert_eq!(told, [(Kind::Headers, 7, 12), (Kind::Reset, 7, 13), (Kind::Other, 0, 9)]);
        assert!(found[0].ends_headers() && !found[1].ends_headers());
        assert_eq!(found[1].code(), 8);
        assert_eq!(begun, Some((Kind::Continuation, 0, 7)));
        assert_eq!(all(&[&[0, 0, 9]]).1, None, "its type is not known yet");
        assert_eq!(all(&[&[0, 0, 9, 1, 0, 0, 0, 0, 3, 1, 2]]).1, Some((Kind::Headers, 3, 11)));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_frames(
            frames in proptest::collection::vec((0usize..40, any::<[u8; 6]>()), 0..8),
            tail in proptest::collection::vec(any::<u8>(), 0..60),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let mut bytes = Vec::new();
            for (length, rest) in frames {
                bytes.extend_from_slice(&[0, 0, length as u8]);
                bytes.extend_from_slice(&rest);
                bytes.extend((0..length).map(|at| at as u8));
            }
            bytes.extend(tail);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(all(&pieces), all(&[&bytes]));
        }
    }
}
