//! The key that marked values are hashed with (RFC 2104, with SHA-256).

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::key_file::{self, KeyFileError};
use crate::merkle::Hash;

/// The fewest bytes of a key: below those of the hash, a key is the weaker of the two (RFC 2104, section 3).
const LEAST: usize = 32;

/// Why there is no key for HMAC.
#[derive(Debug, thiserror::Error)]
pub enum HmacKeyError {
    /// There is no such file.
    #[error("there is no key `{path}`: make one with `(umask 077; head -c 32 /dev/urandom > {path})`", path = .path.display())]
    Absent {
        /// The key file.
        path: PathBuf,
    },
    /// It cannot be read, is no file, is too long, or others than its owner may read it.
    #[error(transparent)]
    File(KeyFileError),
    /// It holds too few bytes.
    #[error("the key `{path}` has {found} bytes, expected at least {LEAST}", path = .path.display())]
    Short {
        /// The key file.
        path: PathBuf,
        /// Its bytes, decoded.
        found: usize,
    },
    /// It is text, but neither of hexadecimal digits nor base64.
    #[error("the key `{path}` is a text, expected random bytes, or these in hexadecimal digits or base64", path = .path.display())]
    Text {
        /// The key file.
        path: PathBuf,
    },
    /// Its bytes are all the same.
    #[error("the key `{path}` is one byte over and over, expected random bytes", path = .path.display())]
    NotRandom {
        /// The key file.
        path: PathBuf,
    },
}

/// A key for HMAC, and its id.
#[derive(Clone)]
pub struct HmacKey {
    /// The first 8 hex digits of the SHA-256 of the key.
    id: Box<str>,
    keyed: Hmac<Sha256>,
}

impl HmacKey {
    /// Reads the key of a file that only its owner may read: at least 32 random bytes, as they are, in hexadecimal
    /// digits, or in base64 with padding; the text may end with a newline.
    ///
    /// # Errors
    /// See [`HmacKeyError`].
    pub fn read(path: &Path) -> Result<HmacKey, HmacKeyError> {
        let bytes = key_file::read_private(path).map_err(|error| match error {
            KeyFileError::Absent { path } => HmacKeyError::Absent { path },
            error => HmacKeyError::File(error),
        })?;
        let path = path.to_owned();
        let key = match decoded(&bytes) {
            Some(key) => key,
            None if is_text(&bytes) => return Err(HmacKeyError::Text { path }),
            None => bytes,
        };
        if key.len() < LEAST {
            return Err(HmacKeyError::Short { path, found: key.len() });
        }
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(HmacKeyError::NotRandom { path });
        }
        Ok(HmacKey::new(&key))
    }

    /// A key of these bytes.
    pub fn new(key: &[u8]) -> HmacKey {
        let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
        HmacKey { id: Hash::of(key).to_string()[..8].into(), keyed }
    }

    /// What stands in a record in place of `value`: `hmac-sha256:<key id>:<hex>`.
    pub fn hash(&self, value: &[u8]) -> String {
        let mac: [u8; 32] = self.keyed.clone().chain_update(value).finalize().into_bytes().into();
        format!("hmac-sha256:{}:{}", self.id, Hash(mac))
    }
}

impl fmt::Debug for HmacKey {
    /// Its id alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The bytes that a text of hexadecimal digits, or of base64, stands for.
fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let digits = text.iter().map(|digit| char::from(*digit).to_digit(16));
    if !text.is_empty()
        && text.len().is_multiple_of(2)
        && let Some(digits) = digits.collect::<Option<Vec<u32>>>().map(Zeroizing::new)
    {
        return Some(Zeroizing::new(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()));
    }
    STANDARD.decode(text).ok().filter(|key| !key.is_empty()).map(Zeroizing::new)
}

/// Whether these bytes look typed: a passphrase is no key.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(bytes: &[u8]) -> Result<HmacKey, HmacKeyError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hmac.key");
        std::fs::write(&path, bytes).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        HmacKey::read(&path)
    }

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn the_hash_is_the_one_of_the_rfc() {
        let hash =
            |key: &[u8], data: &[u8]| HmacKey::new(key).hash(data).rsplit(':').next().map(str::to_owned);
        assert_eq!(
            hash(&[0x0b; 20], b"Hi There").as_deref(),
            Some("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        );
        assert_eq!(
            hash(b"Jefe", b"what do ya want for nothing?").as_deref(),
            Some("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        assert_eq!(
            hash(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First").as_deref(),
            Some("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    #[test]
    fn a_key_is_the_same_as_bytes_and_in_either_text() {
        let bytes: Vec<u8> = (0x80..0xa8).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let id = Hash::of(&bytes).to_string()[..8].to_owned();
        let expected = HmacKey::new(&bytes).hash(b"v");
        assert!(expected.starts_with(&format!("hmac-sha256:{id}:")), "{expected}");
        for form in [
            bytes.clone(),
            hex.clone().into_bytes(),
            format!("{hex}\r\n").into_bytes(),
            format!("{}\n", hex.to_lowercase()).into_bytes(),
            STANDARD.encode(&bytes).into_bytes(),
            format!("{}\n", STANDARD.encode(&bytes)).into_bytes(),
        ] {
            assert_eq!(read(&form).expect("a key").hash(b"v"), expected, "{form:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_reason() {
        for (bytes, expected) in [
            (b"".to_vec(), "is a text"),
            (b"\n".to_vec(), "is a text"),
            (vec![0xff; 31], "31 bytes, expected at least 32"),
            (b"00112233445566778899aabbccddeeff\n".to_vec(), "16 bytes, expected at least 32"),
            (STANDARD.encode([7; 31]).into_bytes(), "31 bytes, expected at least 32"),
            (b"correct horse battery staple, and so on and on".to_vec(), "is a text"),
            (format!("{}\n\n", "ab".repeat(32)).into_bytes(), "is a text"),
            (vec![0; 32], "one byte over and over"),
            ("00".repeat(32).into_bytes(), "one byte over and over"),
            (vec![0x91; 5000], "no key file"),
        ] {
            let error = read(&bytes).expect_err("no key").to_string();
            assert!(error.contains(expected), "{error} for {} bytes", bytes.len());
        }
        let absent = HmacKey::read(Path::new("/nowhere/hmac.key")).expect_err("no key").to_string();
        assert!(absent.contains("there is no key `/nowhere/hmac.key`"), "{absent}");
        assert!(
            HmacKey::read(Path::new("/dev/zero")).expect_err("no file").to_string().contains("no key file")
        );
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_none_is_ever_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hmac.key");
        std::fs::write(&path, [0x91; 40]).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        let error = HmacKey::read(&path).expect_err("exposed").to_string();
        assert!(error.contains("mode 0600") && error.contains("0640"), "{error}");
        let key = HmacKey::new(b"0123456789abcdef0123456789abcdef");
        assert!(!format!("{key:?}").contains("0123456789abcdef"), "{key:?}");
    }
}
