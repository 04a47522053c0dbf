//! Numbers that must not be mixed up: the index of a record, the size of a tree, the number of a segment.
//!
//! All three are plain integers in JSON and in text. They are separate types because each of them is at some time added
//! to, compared with or printed beside the others, and a mistake there would be a wrong statement about evidence.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The index of a record in its log's tree: dense, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// A number of records of a log, counted from its first: the size of the tree over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeSize(pub u64);

/// The number of a segment and of the checkpoint after it: dense, from 0, written with ten digits in names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentNo(pub u64);

impl Seq {
    /// The index after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    /// The size of the tree whose last record is this one.
    pub fn size_after(self) -> TreeSize {
        TreeSize(self.0 + 1)
    }
}

impl TreeSize {
    /// The index that the next record gets.
    pub fn next_seq(self) -> Seq {
        Seq(self.0)
    }

    /// The index of the last record, if there is one.
    pub fn last_seq(self) -> Option<Seq> {
        self.0.checked_sub(1).map(Seq)
    }
}

impl SegmentNo {
    /// The greatest number that ten digits can write.
    pub const MAX: SegmentNo = SegmentNo(9_999_999_999);

    /// The number after this one.
    pub fn next(self) -> SegmentNo {
        SegmentNo(self.0 + 1)
    }

    /// The number before this one; `None` for the first segment.
    pub fn previous(self) -> Option<SegmentNo> {
        self.0.checked_sub(1).map(SegmentNo)
    }

    /// The ten digits that stand in the names of files.
    ///
    /// ```
    /// use audit_writer::ids::SegmentNo;
    /// assert_eq!(SegmentNo(17).digits(), "0000000017");
    /// ```
    pub fn digits(self) -> String {
        format!("{:010}", self.0)
    }

    /// Reads what [`SegmentNo::digits`] writes: ten ASCII digits, nothing else.
    ///
    /// ```
    /// use audit_writer::ids::SegmentNo;
    /// assert_eq!(SegmentNo::from_digits("0000000017"), Some(SegmentNo(17)));
    /// assert_eq!(SegmentNo::from_digits("17"), None);
    /// ```
    pub fn from_digits(text: &str) -> Option<SegmentNo> {
        if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().map(SegmentNo)
    }
}

macro_rules! plain_number {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<$name, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

plain_number!(Seq);
plain_number!(TreeSize);
plain_number!(SegmentNo);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_number_is_read_back_from_its_digits() {
        for n in [0, 1, 17, 9_999_999_999] {
            assert_eq!(SegmentNo::from_digits(&SegmentNo(n).digits()), Some(SegmentNo(n)));
        }
    }

    #[test]
    fn digits_of_a_segment_are_taken_only_as_they_are_written() {
        for text in ["", "1", "+000000001", "000000000a", "00000000001", "٠٠٠٠٠", " 000000001"] {
            assert_eq!(SegmentNo::from_digits(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_and_indexes_are_one_apart() {
        assert_eq!(Seq(4).size_after(), TreeSize(5));
        assert_eq!(TreeSize(5).last_seq(), Some(Seq(4)));
        assert_eq!(TreeSize(0).last_seq(), None);
        assert_eq!(TreeSize(5).next_seq(), Seq(5));
    }
}
