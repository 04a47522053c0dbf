//! The Merkle tree over a log's records (RFC 6962, section 2.1), kept as compact ranges.
//!
//! A [`CompactRange`] over `[start, end)` is the list of the maximal complete subtrees of those leaves, left to right;
//! a subtree of 2^k leaves is complete only where its first leaf is a multiple of 2^k. Two adjacent ranges merge into the
//! range of both, so segments can be hashed apart, in any order and on any thread, and still give the one root.
//!
//! Invariant: the number of hashes follows from `start` and `end` alone. No thread owns anything here: all values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ids::TreeSize;

/// A SHA-256 hash, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 64 zeros: what stands where there is nothing before.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The SHA-256 of `bytes`, without any prefix: of a file or a frame, never of a leaf.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight digits and an ellipsis, for messages.
    pub fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not 64 lower-case hexadecimal digits: `{0}`")]
pub struct NotAHash(String);

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Hash, NotAHash> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let refuse = || NotAHash(text.chars().take(80).collect());
        if text.len() != 64 {
            return Err(refuse());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(refuse()),
            }
        }
        Ok(Hash(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The hash of a leaf: SHA-256 of 0x00 and the record's line without its newline.
pub fn leaf_hash(line: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0x00]).chain_update(line).finalize().into())
}

/// The hash of an inner node: SHA-256 of 0x01 and the hashes of its two subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0x01; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// What cannot be done with a range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// The second range does not begin where the first ends.
    #[error("ranges are not adjacent: the first ends at {end}, the second begins at {start}")]
    NotAdjacent {
        /// Where the first range ends.
        end: u64,
        /// Where the second begins.
        start: u64,
    },
    /// The bounds are the wrong way round.
    #[error("a range cannot begin at {start} and end at {end}")]
    Backwards {
        /// The first leaf.
        start: u64,
        /// One past the last leaf.
        end: u64,
    },
    /// The number of hashes is not the number of maximal complete subtrees.
    #[error("the range {start}..{end} has {expected} subtrees, found {found} hashes")]
    WrongCount {
        /// The first leaf.
        start: u64,
        /// One past the last leaf.
        end: u64,
        /// The number of subtrees that the bounds imply.
        expected: usize,
        /// The number of hashes that were given.
        found: usize,
    },
    /// Only a range from the first leaf has a root.
    #[error("a range that begins at {start} has no root")]
    NoRoot {
        /// The first leaf.
        start: u64,
    },
}

/// The maximal complete subtrees of the leaves `[start, end)`, left to right.
///
/// ```
/// use audit_writer::merkle::{CompactRange, leaf_hash, node_hash};
/// let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
/// let mut range = CompactRange::new(0);
/// range.push(a);
/// range.push(b);
/// assert_eq!(range.root(), Ok(node_hash(&a, &b)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactRange {
    start: u64,
    end: u64,
    hashes: Vec<Hash>,
}

impl CompactRange {
    /// The empty range at `start`.
    pub fn new(start: u64) -> CompactRange {
        CompactRange { start, end: start, hashes: Vec::new() }
    }

    /// A range from hashes that were stored: they must be as many as the bounds imply.
    ///
    /// # Errors
    /// [`RangeError::Backwards`] and [`RangeError::WrongCount`].
    pub fn from_hashes(start: u64, end: u64, hashes: Vec<Hash>) -> Result<CompactRange, RangeError> {
        if end < start {
            return Err(RangeError::Backwards { start, end });
        }
        let expected = Subtrees { at: start, end }.count();
        if hashes.len() != expected {
            return Err(RangeError::WrongCount { start, end, expected, found: hashes.len() });
        }
        Ok(CompactRange { start, end, hashes })
    }

    /// The first leaf.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// One past the last leaf.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The size of the tree that ends with this range.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.end)
    }

    /// The number of leaves.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The hashes of the subtrees, left to right.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends one leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Appends the range that begins where this one ends.
    ///
    /// # Errors
    /// [`RangeError::NotAdjacent`]; the range is then as before.
    pub fn append(&mut self, next: &CompactRange) -> Result<(), RangeError> {
        if self.end != next.start {
            return Err(RangeError::NotAdjacent { end: self.end, start: next.start });
        }
        for (level, &hash) in (Subtrees { at: next.start, end: next.end }).zip(&next.hashes) {
            self.push_subtree(level, hash);
        }
        Ok(())
    }

    /// The root of the tree over all leaves up to the end of this range, which must begin at the first.
    ///
    /// # Errors
    /// [`RangeError::NoRoot`] where the range begins later.
    pub fn root(&self) -> Result<Hash, RangeError> {
        if self.start != 0 {
            return Err(RangeError::NoRoot { start: self.start });
        }
        Ok(self
            .hashes
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root))
    }

    /// Appends a complete subtree of `2^level` leaves at `end`, which is a multiple of `2^level`, then joins it with its
    /// left sibling as long as that sibling lies within the range: it is then the last of the list.
    fn push_subtree(&mut self, mut level: u32, mut hash: Hash) {
        let mut index = self.end >> level;
        self.end += 1 << level;
        while index & 1 == 1 && (index - 1) << level >= self.start {
            let left = self.hashes.pop().expect("the left sibling lies within the range");
            hash = node_hash(&left, &hash);
            level += 1;
            index >>= 1;
        }
        self.hashes.push(hash);
    }
}

/// The levels of the maximal complete subtrees of `[at, end)`, left to right.
struct Subtrees {
    at: u64,
    end: u64,
}

impl Iterator for Subtrees {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let fits = (self.end - self.at).checked_ilog2()?;
        let level = self.at.trailing_zeros().min(fits);
        self.at += 1 << level;
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The eight leaves of the tests of the certificate-transparency reference implementation.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    /// The published roots over the first 0, 1, … 8 of them.
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// The published hashes of the complete subtrees of the eight leaves, by level, from left to right.
    const SUBTREES: [&[&str]; 3] = [
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
            "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
        ],
        &[
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ],
        &[
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ];

    fn hash(text: &str) -> Hash {
        text.parse().unwrap()
    }

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    fn range(start: u64, leaves: &[Hash]) -> CompactRange {
        let mut range = CompactRange::new(start);
        leaves.iter().for_each(|&leaf| range.push(leaf));
        range
    }

    /// MTH of RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    /// The maximal complete subtrees by their definition: every aligned block within the bounds whose parent is not.
    fn maximal_subtrees(start: usize, end: usize, leaves: &[Hash]) -> Vec<Hash> {
        let within = |level: usize, index: usize| index << level >= start && (index + 1) << level <= end;
        let mut found = Vec::new();
        for level in 0..usize::BITS as usize - leaves.len().leading_zeros() as usize {
            for index in 0..=leaves.len() >> level {
                if within(level, index) && !within(level + 1, index / 2) {
                    found.push((index << level, mth(&leaves[index << level..(index + 1) << level])));
                }
            }
        }
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, hash)| hash).collect()
    }

    #[test]
    fn roots_are_those_of_the_published_vectors() {
        for (n, root) in ROOTS.iter().enumerate() {
            let leaves: Vec<Hash> = LEAVES[..n].iter().map(|leaf| leaf_hash(leaf)).collect();
            assert_eq!(range(0, &leaves).root(), Ok(hash(root)), "{n} leaves");
        }
    }

    #[test]
    fn subtrees_are_those_of_the_published_vectors() {
        let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(leaf)).collect();
        let at = |level: usize, index: usize| hash(SUBTREES[level][index]);
        assert_eq!(range(0, &leaves[..7]).hashes(), [at(2, 0), at(1, 2), at(0, 6)]);
        assert_eq!(range(1, &leaves[1..7]).hashes(), [at(0, 1), at(1, 1), at(1, 2), at(0, 6)]);
        assert_eq!(range(3, &leaves[3..]).hashes(), [at(0, 3), at(2, 1)]);
    }

    #[test]
    fn every_size_to_300_agrees_with_the_recursive_definition() {
        let leaves = leaves(300);
        let mut range = CompactRange::new(0);
        for n in 0..=300 {
            assert_eq!(range.root(), Ok(mth(&leaves[..n])), "{n} leaves");
            if n < 300 {
                range.push(leaves[n]);
            }
        }
    }

    #[test]
    fn every_range_to_40_leaves_agrees_with_the_definition_of_maximal_subtrees() {
        let leaves = leaves(40);
        for start in 0..=40 {
            for end in start..=40 {
                let expected = maximal_subtrees(start, end, &leaves);
                let got = range(start as u64, &leaves[start..end]);
                assert_eq!(got.hashes(), expected, "{start}..{end}");
                let again = CompactRange::from_hashes(start as u64, end as u64, expected);
                assert_eq!(again, Ok(got), "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_range_refuses_what_does_not_fit_it() {
        let mut first = range(0, &leaves(3));
        let before = first.clone();
        assert_eq!(first.append(&CompactRange::new(4)), Err(RangeError::NotAdjacent { end: 3, start: 4 }));
        assert_eq!(first, before);
        assert_eq!(CompactRange::new(5).root(), Err(RangeError::NoRoot { start: 5 }));
        assert_eq!(CompactRange::from_hashes(2, 1, vec![]), Err(RangeError::Backwards { start: 2, end: 1 }));
        let one_too_many = CompactRange::from_hashes(0, 4, leaves(2));
        assert_eq!(one_too_many, Err(RangeError::WrongCount { start: 0, end: 4, expected: 1, found: 2 }));
    }

    #[test]
    fn the_greatest_bounds_do_not_overflow() {
        let hashes = leaves(64);
        assert!(CompactRange::from_hashes(0, u64::MAX, hashes.clone()).is_ok());
        assert!(CompactRange::from_hashes(1, u64::MAX, hashes[..1].to_vec()).is_err());
        assert!(CompactRange::from_hashes(u64::MAX, u64::MAX, vec![]).is_ok());
    }

    #[test]
    fn a_hash_is_read_only_from_64_lower_case_digits() {
        let text = ROOTS[1];
        assert_eq!(hash(text).to_string(), text);
        assert_eq!(serde_json::to_string(&hash(text)).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Hash>(&format!("\"{text}\"")).unwrap(), hash(text));
        for bad in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace('6', "g")] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn random_sizes_to_100_000_agree_with_the_recursive_definition(n in 300u64..=100_000) {
            let leaves = leaves(n);
            prop_assert_eq!(range(0, &leaves).root(), Ok(mth(&leaves)));
        }
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same_range(
            start in 0u64..70,
            lengths in proptest::collection::vec(0usize..90, 0..12),
        ) {
            let leaves = leaves(lengths.iter().sum::<usize>() as u64);
            let mut merged = CompactRange::new(start);
            let mut at = 0;
            for length in lengths {
                merged.append(&range(start + at as u64, &leaves[at..at + length])).unwrap();
                at += length;
                prop_assert_eq!(&merged, &range(start, &leaves[..at]));
            }
        }

        #[test]
        fn ranges_merge_in_any_grouping(a in 0u64..40, b in 0u64..40, c in 0u64..40) {
            let leaves = leaves(a + b + c);
            let part = |from: u64, to: u64| range(from, &leaves[from as usize..to as usize]);
            let mut right_first = part(a, a + b);
            right_first.append(&part(a + b, a + b + c)).unwrap();
            let mut whole = part(0, a);
            whole.append(&right_first).unwrap();
            prop_assert_eq!(whole.root(), Ok(mth(&leaves)));
        }
    }
}
