//! A target as servers may read it: as segments, with the place of each.
//!
//! The gateway decodes once. What stands behind it may decode again, so a target is read twice: [`Reading::Once`], as it
//! is routed, and [`Reading::Fully`], with every escape resolved that further decoding could resolve, in which a
//! separator may hide behind `%252F`.

use std::ops::Range;

/// How much of a target is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Each escape once, and only `/` parts segments.
    Once,
    /// Until nothing is left to decode; `/` and the backslash part segments, encoded or not.
    Fully,
}

/// One segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its place in the target.
    pub(super) place: Range<usize>,
    /// What it stands for, in lower case (ASCII).
    decoded: Vec<u8>,
}

impl Segment {
    /// It without its parameters, in lower case.
    pub(super) fn name(&self) -> &[u8] {
        self.decoded.split(|byte| *byte == b';').next().unwrap_or_default()
    }

    /// Whether it is nothing at all, or a dot segment without parameters: no value stands there.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.decoded.as_slice(), b"" | b"." | b"..")
    }
}

/// The segments of `target` from the byte `from` on.
pub(super) fn segments(target: &str, from: usize, reading: Reading) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut segment = Segment { place: from..from, decoded: Vec::new() };
    let decoded = decode(target.as_bytes(), from, reading);
    let ends = decoded.iter().skip(1).map(|(_, begin, _)| *begin).chain([target.len()]);
    for ((byte, begin, escaped), end) in decoded.iter().copied().zip(ends) {
        let parts = match reading {
            Reading::Once => byte == b'/' && !escaped,
            Reading::Fully => matches!(byte, b'/' | b'\\'),
        };
        if parts {
            segment.place.end = begin;
            segments.push(std::mem::replace(&mut segment, Segment { place: end..end, decoded: Vec::new() }));
        } else {
            segment.decoded.push(byte.to_ascii_lowercase());
        }
    }
    segment.place.end = target.len();
    segments.push(segment);
    segments
}

/// The bytes that a text stands for, decoded fully.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    decode(text.as_bytes(), 0, Reading::Fully).into_iter().map(|(byte, ..)| byte).collect()
}

/// Each byte, where its spelling begins, and whether it was escaped. A broken escape stands for itself.
///
/// In one pass: what a byte completes is decoded as soon as it is complete, so that no escape is left in what was read.
fn decode(bytes: &[u8], from: usize, reading: Reading) -> Vec<(u8, usize, bool)> {
    let mut read: Vec<(u8, usize, bool)> = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().copied().enumerate().skip(from) {
        read.push((byte, at, false));
        while let [.., (b'%', begin, percent), (high, _, a), (low, _, b)] = read.as_slice() {
            let again = *percent || *a || *b;
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { break };
            if again && reading == Reading::Once {
                break;
            }
            let decoded = ((high << 4 | low) as u8, *begin, true);
            read.truncate(read.len() - 3);
            read.push(decoded);
        }
    }
    read
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str, reading: Reading) -> Vec<(String, &str)> {
        let segments = segments(target, 0, reading);
        segments
            .iter()
            .map(|s| (String::from_utf8_lossy(&s.decoded).into(), &target[s.place.clone()]))
            .collect()
    }

    #[test]
    fn a_target_is_read_as_it_is_routed_and_as_it_may_be_read_behind() {
        let target = "/a/%42%2fc%252Fd\\E";
        assert_eq!(
            read(target, Reading::Once),
            [("", ""), ("a", "a"), ("b/c%2fd\\e", "%42%2fc%252Fd\\E")].map(|(d, p)| (d.to_owned(), p))
        );
        assert_eq!(
            read(target, Reading::Fully),
            [("", ""), ("a", "a"), ("b", "%42"), ("c", "c"), ("d", "d"), ("e", "E")]
                .map(|(d, p)| (d.to_owned(), p))
        );
    }

    #[test]
    fn escapes_of_escapes_are_decoded_to_their_end_and_broken_ones_stand_for_themselves() {
        for (text, expected) in [
            ("%2525252541", "A"),
            ("%%34%31", "A"),
            ("%25%34%31", "A"),
            ("%4", "%4"),
            ("%zz%", "%zz%"),
            ("", ""),
        ] {
            assert_eq!(decoded(text), expected.as_bytes(), "{text}");
        }
        let deep = format!("%{}41", "25".repeat(100_000));
        assert_eq!(decoded(&deep), b"A", "in one pass");
    }
}
