//! Ed25519 keys in the text forms of C2SP signed notes (c2sp.org/signed-note), and the auditor's files of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signer as _;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::name::{LogName, LogNameError};

/// The type byte of Ed25519 in keys and key ids.
const ED25519: u8 = 0x01;

/// What a private key's text begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

/// The greatest size of a keys file, in bytes: some forty thousand keys.
const MAX_KEYS_FILE: u64 = 8 << 20;

/// The short name of a key: the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), written as eight
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// The id of the key `public` that goes by `name`.
    pub fn of(name: &str, public: &[u8; 32]) -> KeyId {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([0x0A, ED25519])
            .chain_update(public)
            .finalize()
            .into();
        let [a, b, c, d, ..] = hash;
        KeyId([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the text of a key. The text itself is never part of the message: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not the parts of a verifier key.
    #[error("a verifier key is written <name>+<8 hex>+<base64>")]
    VerifierForm,
    /// Not the parts of a private key.
    #[error("a private key is written PRIVATE+KEY+<name>+<8 hex>+<base64>")]
    PrivateForm,
    /// A private key where a public one belongs.
    #[error(
        "this is a private key: it belongs on the gateway alone; a verifier key is written <name>+<8 hex>+<base64>"
    )]
    Private,
    /// The name is not that of a log.
    #[error("the key's name: {0}")]
    Name(#[from] LogNameError),
    /// The part after the last `+` is not base64.
    #[error("the key of `{0}` is not canonical base64")]
    Base64(LogName),
    /// Not the type byte of Ed25519, or not 32 bytes after it.
    #[error("the key of `{0}` is not 0x01 and the 32 bytes of an Ed25519 key")]
    NotEd25519(LogName),
    /// No point of the curve, or one that verifies anything.
    #[error("the key of `{0}` is no valid Ed25519 public key")]
    Invalid(LogName),
    /// The id does not belong to the name and the key.
    #[error("the key of `{name}` has the id {expected}, but is written with `{found}`")]
    Id {
        /// The key's name.
        name: LogName,
        /// What the id is by computation.
        expected: KeyId,
        /// What was written.
        found: String,
    },
}

/// Splits `<name>+<id>+<base64>`; the base64 may itself hold a `+`.
fn split_key(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    Some((name, id, key))
}

/// The 32 bytes after the type byte.
fn decode_key(name: &LogName, text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| KeyError::Base64(name.clone()))?);
    match bytes.split_first() {
        Some((&ED25519, key)) => {
            key.try_into().map(Zeroizing::new).map_err(|_| KeyError::NotEd25519(name.clone()))
        }
        _ => Err(KeyError::NotEd25519(name.clone())),
    }
}

fn encode_key(key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([ED25519; 33]);
    bytes[1..].copy_from_slice(key);
    Zeroizing::new(BASE64.encode(*bytes))
}

fn check_id(name: &LogName, expected: KeyId, found: &str) -> Result<(), KeyError> {
    if expected.to_string() == found {
        return Ok(());
    }
    Err(KeyError::Id { name: name.clone(), expected, found: found.chars().take(16).collect() })
}

/// A log's public key, written `<name>+<key id>+<base64 of 0x01 ‖ public key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: LogName,
    id: KeyId,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifierKey {
    /// The log whose checkpoints it verifies.
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// Its id.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` is this key's over `text`, by the strict rules: no malleable signature, no weak key.
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(text, &signature).is_ok()
    }

    fn new(name: LogName, key: ed25519_dalek::VerifyingKey) -> VerifierKey {
        let id = KeyId::of(name.as_str(), key.as_bytes());
        VerifierKey { name, id, key }
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<VerifierKey, KeyError> {
        if text.starts_with(PRIVATE) {
            return Err(KeyError::Private);
        }
        let (name, id, key) = split_key(text).ok_or(KeyError::VerifierForm)?;
        let name: LogName = name.parse()?;
        let bytes = decode_key(&name, key)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| KeyError::Invalid(name.clone()))?;
        let key = VerifierKey::new(name, key);
        check_id(&key.name, key.id, id)?;
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, *encode_key(self.key.as_bytes()))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A log's private key. It is wiped when dropped, and prints as its public part only; [`SigningKey::private_text`] is
/// the one way to its secret.
#[derive(Clone)]
pub struct SigningKey {
    verifier: VerifierKey,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// A new key for the log `name`, from the operating system's randomness.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub fn generate(name: LogName) -> std::io::Result<SigningKey> {
        let mut seed = Zeroizing::new([0; 32]);
        let mut filled = 0;
        while filled < seed.len() {
            filled += rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(SigningKey::from_seed(name, &seed))
    }

    /// The log whose checkpoints it signs.
    pub fn name(&self) -> &LogName {
        &self.verifier.name
    }

    /// Its id.
    pub fn key_id(&self) -> KeyId {
        self.verifier.id
    }

    /// Its public part.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The secret, written `PRIVATE+KEY+<name>+<key id>+<base64 of 0x01 ‖ seed>`: for the key file alone.
    pub fn private_text(&self) -> Zeroizing<String> {
        let key = encode_key(self.key.as_bytes());
        Zeroizing::new(format!("{PRIVATE}{}+{}+{}", self.name(), self.key_id(), *key))
    }

    /// Signs `text` (RFC 8032; the same text gives the same signature).
    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.key.sign(text).to_bytes()
    }

    pub(crate) fn from_seed(name: LogName, seed: &[u8; 32]) -> SigningKey {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        SigningKey { verifier: VerifierKey::new(name, key.verifying_key()), key }
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<SigningKey, KeyError> {
        let (name, id, key) = text.strip_prefix(PRIVATE).and_then(split_key).ok_or(KeyError::PrivateForm)?;
        let name: LogName = name.parse()?;
        let seed = decode_key(&name, key)?;
        let key = SigningKey::from_seed(name, &seed);
        check_id(key.name(), key.key_id(), id)?;
        Ok(key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifier).finish()
    }
}

/// Why a keys file cannot be used.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// It cannot be read.
    #[error("keys file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of it is not a key.
    #[error("keys file {}, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// It has no key at all.
    #[error("keys file {} holds no key", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Two logs of which one would lie inside the other.
    #[error("keys for `{0}` and `{1}`: no log lies inside another")]
    Nested(LogName, LogName),
}

/// The keys that an auditor trusts, by log: the root of all trust in what a store says.
///
/// A keys file holds one verifier key a line; empty lines and lines that begin with `#` are skipped.
#[derive(Debug, Clone, Default)]
pub struct Keyring(BTreeMap<LogName, Vec<VerifierKey>>);

impl Keyring {
    /// Reads keys files, together.
    ///
    /// # Errors
    /// The first file that cannot be read, or line that is not a key.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Keyring, KeyringError> {
        let mut ring = Keyring::default();
        for path in paths {
            let path = path.as_ref();
            let text =
                read_bounded(path).map_err(|source| KeyringError::Read { path: path.to_owned(), source })?;
            ring.add_file(path, &text)?;
        }
        let logs: Vec<&LogName> = ring.0.keys().collect();
        for (i, a) in logs.iter().enumerate() {
            if let Some(b) = logs[i + 1..].iter().find(|b| a.nests_with(b)) {
                return Err(KeyringError::Nested((*a).clone(), (*b).clone()));
            }
        }
        Ok(ring)
    }

    /// The logs that have a key here, sorted.
    pub fn logs(&self) -> impl Iterator<Item = &LogName> {
        self.0.keys()
    }

    /// The keys of one log; none where it is unknown.
    pub fn of(&self, log: &LogName) -> &[VerifierKey] {
        self.0.get(log).map_or(&[], Vec::as_slice)
    }

    /// Adds a key, once.
    pub fn add(&mut self, key: VerifierKey) {
        let keys = self.0.entry(key.name.clone()).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), KeyringError> {
        let mut empty = true;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |source| KeyringError::Line { path: path.to_owned(), line: at + 1, source };
            self.add(line.parse().map_err(bad)?);
            empty = false;
        }
        if empty { Err(KeyringError::Empty { path: path.to_owned() }) } else { Ok(()) }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_KEYS_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_KEYS_FILE {
        return Err(std::io::Error::other(format!("larger than {MAX_KEYS_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example key of the C2SP signed-note specification.
    const SPEC_VERIFIER: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn key() -> SigningKey {
        SigningKey::from_seed("audit.example.com/gw-1".parse().unwrap(), &[7; 32])
    }

    #[test]
    fn the_verifier_key_of_the_specification_is_read_and_written_unchanged() {
        let key: VerifierKey = SPEC_VERIFIER.parse().unwrap();
        assert_eq!(key.name().as_str(), "example.com/foo");
        assert_eq!(key.key_id().to_string(), "530d903a");
        assert_eq!(key.to_string(), SPEC_VERIFIER);
    }

    #[test]
    fn the_key_pair_of_the_reference_implementation_belongs_together() {
        // Its name is no log's name, so it is held against the parts.
        let name: LogName = "x".parse().unwrap();
        let seed = decode_key(&name, "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
        let key = SigningKey::from_seed(name, &seed);
        let public = key.verifier.key.as_bytes();
        assert_eq!(*encode_key(public), "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        assert_eq!(KeyId::of("PeterNeumann", public).to_string(), "c74f20a3");
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let mut signed = KeyId::of("PeterNeumann", public).0.to_vec();
        signed.extend(key.sign(text.as_bytes()));
        assert_eq!(
            BASE64.encode(signed),
            "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
        );
    }

    #[test]
    fn a_private_key_is_read_back_from_its_text() {
        let key = SigningKey::generate("a/b".parse().unwrap()).unwrap();
        let again: SigningKey = key.private_text().parse().unwrap();
        assert_eq!(again.verifier_key(), key.verifier_key());
        assert_eq!(again.private_text(), key.private_text());
    }

    #[test]
    fn a_private_key_never_shows_its_secret_by_accident() {
        let key = key();
        let secret = BASE64.encode([7; 32]);
        let shown = format!("{key:?} {}", key.verifier_key());
        assert!(!shown.contains("PRIVATE"), "{shown}");
        assert!(!shown.contains(&secret[..20]), "{shown}");
        assert!(!shown.contains("7, 7"), "{shown}");
    }

    #[test]
    fn two_generated_keys_differ() {
        let new = || SigningKey::generate("a".parse().unwrap()).unwrap().key_id();
        assert_ne!(new(), new());
    }

    #[test]
    fn a_verifier_key_that_is_not_exactly_one_is_refused() {
        let weak = format!("a+{}+{}", KeyId::of("a", &[0; 32]), *encode_key(&[0; 32]));
        for (text, why) in [
            ("", "is written <name>+"),
            ("example.com/foo", "is written <name>+"),
            ("example.com/foo+530d903a", "is written <name>+"),
            (
                &SPEC_VERIFIER.replace("530d903a", "530D903A"),
                "has the id 530d903a, but is written with `530D903A`",
            ),
            (&SPEC_VERIFIER.replace("530d903a", "0530d903a"), "has the id 530d903a"),
            (&SPEC_VERIFIER.replace("/foo", "/bar"), "has the id"),
            (&SPEC_VERIFIER.replace("/foo", "/F"), "'F' at byte 12"),
            (&SPEC_VERIFIER.replace("U2k", "U2k="), "not canonical base64"),
            (&SPEC_VERIFIER.replace("U2k", "U2 k"), "not canonical base64"),
            (&SPEC_VERIFIER.replace("3U2k", ""), "not 0x01 and the 32 bytes"),
            (&SPEC_VERIFIER.replace("+Ae", "+Ag"), "not 0x01 and the 32 bytes"),
            (&weak, "no valid Ed25519 public key"),
            (&key().private_text(), "this is a private key"),
        ] {
            let error = text.parse::<VerifierKey>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_private_key_that_is_not_exactly_one_is_refused() {
        let good = key().private_text();
        assert_eq!(SPEC_VERIFIER.parse::<SigningKey>().unwrap_err(), KeyError::PrivateForm);
        let other_id = good.replace(&key().key_id().to_string(), "00000000");
        assert!(matches!(other_id.parse::<SigningKey>(), Err(KeyError::Id { .. })));
        assert!(format!("{}\n", *good).parse::<SigningKey>().is_err());
    }

    #[test]
    fn keys_files_are_read_together_with_comments_and_each_log_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, format!("# the auditor's\n\n{SPEC_VERIFIER}\r\n  {}\n", key().verifier_key()))
            .unwrap();
        std::fs::write(&b, format!("{SPEC_VERIFIER}\n")).unwrap();
        let ring = Keyring::read(&[&a, &b]).unwrap();
        assert_eq!(
            ring.logs().map(LogName::as_str).collect::<Vec<_>>(),
            ["audit.example.com/gw-1", "example.com/foo"]
        );
        assert_eq!(ring.of(key().name()), [key().verifier_key().clone()]);
        assert_eq!(ring.of(&"nobody".parse().unwrap()), []);
    }

    #[test]
    fn a_keys_file_that_cannot_be_used_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let refuse = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            Keyring::read(&[&path]).unwrap_err().to_string()
        };
        assert!(refuse(b"# nothing\n").contains("holds no key"));
        assert!(refuse(b"\n\nnonsense\n").contains("line 3: a verifier key is written"));
        assert!(refuse(&[0xff, 0xfe]).contains("keys"));
        let inner = SigningKey::generate("example.com/foo/bar".parse().unwrap()).unwrap();
        let nested = format!("{SPEC_VERIFIER}\n{}\n", inner.verifier_key());
        assert!(refuse(nested.as_bytes()).contains("no log lies inside another"));
        assert!(Keyring::read(&[dir.path().join("absent")]).is_err());
    }
}
