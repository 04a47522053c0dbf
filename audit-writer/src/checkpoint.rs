//! Checkpoints: C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) that commit to a log's tree.
//!
//! ```text
//! audit.example.com/gw-1                        origin: the log's name
//! 5187214                                       size of the tree, decimal
//! <base64 of the root hash>
//!                                               an empty line; what stands above it is signed
//! — audit.example.com/gw-1 <base64 of key id ‖ Ed25519 signature>
//! ```
//!
//! There are no extension lines, one signature (two while a key is handed over, by ascending key id), and nothing after.
//! A checkpoint has one encoding: what is read is encoded again and compared, so that no byte of it is free. Trust comes
//! from the caller's keys alone, never from what stands beside a checkpoint in a store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

use crate::ids::TreeSize;
use crate::merkle::Hash;

mod key;
mod name;

pub use key::{KeyError, KeyId, Keyring, KeyringError, SigningKey, VerifierKey};
pub use name::{LogName, LogNameError, MAX_LOG_NAME};

/// No checkpoint is longer, in bytes: three names of 200 bytes, two signatures, a size and a root.
pub const MAX_CHECKPOINT: usize = 1024;

/// What a signature's line begins with: an em dash (U+2014) and a space.
const DASH: &str = "\u{2014} ";

/// What a log says of itself: after so many records, its tree has this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: LogName,
    /// The number of records.
    pub size: TreeSize,
    /// The root of the tree over them.
    pub root: Hash,
}

/// A checkpoint that cannot be signed, or must not be believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The key that should sign goes by another name.
    #[error("the key {key} of `{found}` cannot sign for the log `{expected}`")]
    OtherKey {
        /// The log.
        expected: LogName,
        /// The key's name.
        found: LogName,
        /// The key's id.
        key: KeyId,
    },
    /// It is longer than any checkpoint.
    #[error("a checkpoint has at most {MAX_CHECKPOINT} bytes")]
    TooLong,
    /// A line is not what it must be.
    #[error("line {line} of the checkpoint is not {expected}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// It says the same as a checkpoint, but not in the same bytes.
    #[error("the checkpoint is not in its one encoding: byte {at} differs")]
    NotCanonical {
        /// The first byte that differs, from 0.
        at: usize,
    },
    /// It is another log's.
    #[error("the checkpoint is of the log `{found}`")]
    OtherOrigin {
        /// The log that it names.
        found: LogName,
    },
    /// A signature is of a key that the caller does not trust for this log.
    #[error("signed with the key {id}, which is not among the trusted keys of this log")]
    UnknownKey {
        /// The id that stands before the signature.
        id: KeyId,
    },
    /// A signature of a trusted key is wrong.
    #[error("the signature of the key {id} does not verify")]
    BadSignature {
        /// The key's id.
        id: KeyId,
    },
}

impl Checkpoint {
    /// What is signed: three lines.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// The checkpoint's bytes, signed by one key, or by two while the log's key is handed over.
    ///
    /// # Errors
    /// [`CheckpointError::OtherKey`] where a key does not go by the log's name.
    pub fn sign<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k SigningKey>,
    ) -> Result<String, CheckpointError> {
        let text = self.text();
        let mut signatures = Vec::new();
        for key in keys {
            if *key.name() != self.origin {
                let (expected, found) = (self.origin.clone(), key.name().clone());
                return Err(CheckpointError::OtherKey { expected, found, key: key.key_id() });
            }
            signatures.push(Signature { id: key.key_id(), bytes: key.sign(text.as_bytes()) });
        }
        signatures.sort_by_key(|signature| signature.id);
        Ok(self.encode(&signatures))
    }

    /// Reads a checkpoint of the log `origin` that was signed by `keys`, and by no other.
    ///
    /// # Errors
    /// See [`CheckpointError`]: anything but the one encoding of such a checkpoint is refused.
    ///
    /// ```
    /// use audit_writer::checkpoint::{Checkpoint, SigningKey};
    /// use audit_writer::{ids::TreeSize, merkle::empty_root};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let key = SigningKey::generate("audit.example.com/gw-1".parse()?)?;
    /// let checkpoint = Checkpoint { origin: key.name().clone(), size: TreeSize(0), root: empty_root() };
    /// let note = checkpoint.sign([&key])?;
    /// let trusted = [key.verifier_key().clone()];
    /// assert_eq!(Checkpoint::parse_and_verify(note.as_bytes(), key.name(), &trusted)?, checkpoint);
    /// # Ok(()) }
    /// ```
    pub fn parse_and_verify(
        bytes: &[u8],
        origin: &LogName,
        keys: &[VerifierKey],
    ) -> Result<Checkpoint, CheckpointError> {
        let (checkpoint, signatures) = Checkpoint::parse(bytes)?;
        if checkpoint.origin != *origin {
            return Err(CheckpointError::OtherOrigin { found: checkpoint.origin });
        }
        let text = checkpoint.text();
        for Signature { id, bytes } in signatures {
            let mut known = keys.iter().filter(|key| key.key_id() == id && key.name() == origin).peekable();
            if known.peek().is_none() {
                return Err(CheckpointError::UnknownKey { id });
            }
            if !known.any(|key| key.verifies(text.as_bytes(), &bytes)) {
                return Err(CheckpointError::BadSignature { id });
            }
        }
        Ok(checkpoint)
    }

    /// Reads a checkpoint without believing it: its form is checked as strictly, its signatures are not looked at.
    ///
    /// # Errors
    /// What [`Checkpoint::parse_and_verify`] says of a wrong form.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::parse(bytes).map(|(checkpoint, _)| checkpoint)
    }

    fn parse(bytes: &[u8]) -> Result<(Checkpoint, Vec<Signature>), CheckpointError> {
        if bytes.len() > MAX_CHECKPOINT {
            return Err(CheckpointError::TooLong);
        }
        let mut lines =
            bytes.split(|&b| b == b'\n').map(|line| std::str::from_utf8(line).unwrap_or("\u{fffd}"));
        let mut next = || lines.next().unwrap_or("");
        let wrong = |line, expected| CheckpointError::Line { line, expected };

        let origin = next().parse().map_err(|_| wrong(1, "a log's name"))?;
        let size = next().parse().map_err(|_| wrong(2, "a tree size"))?;
        let root = BASE64.decode(next()).ok().and_then(|root| root.try_into().ok());
        let root = Hash(root.ok_or(wrong(3, "the base64 of a root hash"))?);
        let checkpoint = Checkpoint { origin, size, root };
        if !next().is_empty() {
            return Err(wrong(4, "empty: there are no extension lines"));
        }
        let first = Signature::parse(next(), &checkpoint.origin);
        let mut signatures = vec![first.ok_or(wrong(5, "a signature by the log's name"))?];
        signatures.extend(Signature::parse(next(), &checkpoint.origin));
        if let [first, second] = &signatures[..]
            && first.id >= second.id
        {
            return Err(wrong(6, "a signature by a key with a greater id"));
        }
        let again = checkpoint.encode(&signatures);
        if again.as_bytes() != bytes {
            let same = again.bytes().zip(bytes).take_while(|(a, b)| a == *b).count();
            return Err(CheckpointError::NotCanonical { at: same });
        }
        Ok((checkpoint, signatures))
    }

    fn encode(&self, signatures: &[Signature]) -> String {
        let mut note = self.text();
        note.push('\n');
        for Signature { id, bytes } in signatures {
            let mut signed = id.0.to_vec();
            signed.extend(bytes);
            note += &format!("{DASH}{} {}\n", self.origin, BASE64.encode(signed));
        }
        note
    }
}

/// One signature's line.
struct Signature {
    id: KeyId,
    bytes: [u8; 64],
}

impl Signature {
    fn parse(line: &str, origin: &LogName) -> Option<Signature> {
        let text = line.strip_prefix(DASH)?.strip_prefix(origin.as_str())?.strip_prefix(' ')?;
        let signed = BASE64.decode(text).ok()?;
        let (id, bytes) = signed.split_first_chunk()?;
        Some(Signature { id: KeyId(*id), bytes: bytes.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests;
