//! API keys: the gateway knows the SHA-256 of each, and nothing from which a key could be made.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use audit_writer::time::Timestamp;
use http::HeaderName;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Answer, Presented, Principal, Refusal, Scheme};
use crate::config::{self, Problems, read_api_keys};
use crate::reload::Reloadable;

/// Bytes of the longest key.
const MAX_KEY: usize = 1024;

/// A provider that knows keys.
pub struct ApiKeyProvider {
    name: Arc<str>,
    header: HeaderName,
    file: PathBuf,
    keys: ArcSwap<Keys>,
}

/// What a file held.
struct Keys {
    /// Makes the tag of a hash: with a secret of this process, so that nobody outside can tell which hashes are close to
    /// one another by their tags.
    tagger: RandomState,
    /// Sorted by their tags.
    known: Box<[Known]>,
}

/// Whom a key stands for.
struct Known {
    tag: u64,
    sha256: [u8; 32],
    principal: Arc<Principal>,
    not_after: Option<Timestamp>,
}

impl ApiKeyProvider {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with their file.
    pub fn new(name: &str, config: &config::ApiKeys) -> Result<ApiKeyProvider, Problems> {
        let name: Arc<str> = name.into();
        let keys = ArcSwap::from_pointee(Keys::new(&name, read_api_keys(&config.file)?));
        Ok(ApiKeyProvider { name, header: config.header.clone(), file: config.file.clone(), keys })
    }

    /// The header that holds a key.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    pub(super) fn identify(&self, presented: &Presented<'_>) -> Answer {
        let key = match presented.only(&self.header) {
            Ok(Some(key)) => key.as_bytes(),
            Ok(None) => return Answer::Nothing,
            Err(refusal) => return Answer::Refuses(refusal),
        };
        if key.len() > MAX_KEY {
            return Answer::Refuses(Refusal::ApiKeyUnknown);
        }
        let keys = self.keys.load();
        match keys.find(&Sha256::digest(key).into()) {
            None => Answer::Refuses(Refusal::ApiKeyUnknown),
            Some(known) if known.not_after.is_some_and(|not_after| presented.at > not_after) => {
                Answer::Refuses(Refusal::ApiKeyExpired)
            }
            Some(known) => Answer::Vouches(known.principal.clone()),
        }
    }
}

impl Keys {
    fn new(provider: &Arc<str>, keys: Vec<config::ApiKey>) -> Keys {
        let tagger = RandomState::new();
        let known = keys.iter().map(|key| Known {
            tag: tagger.hash_one(key.sha256),
            sha256: key.sha256,
            principal: Arc::new(Principal {
                id: audit_writer::record::ActorId::new(&key.actor),
                scheme: Scheme::ApiKey,
                provider: provider.clone(),
                groups: key.groups.iter().map(|group| group.as_str().into()).collect(),
            }),
            not_after: key.not_after,
        });
        let mut known: Box<[Known]> = known.collect();
        known.sort_unstable_by_key(|known| known.tag);
        Keys { tagger, known }
    }

    /// Whose key has this hash. What is compared byte for byte is compared whole, and what is searched by, a keyed hash
    /// of the hash, tells nothing: so the time that it takes does not lead anybody closer to a key.
    fn find(&self, sha256: &[u8; 32]) -> Option<&Known> {
        let tag = self.tagger.hash_one(sha256);
        let first = self.known.partition_point(|known| known.tag < tag);
        let mut candidates = self.known[first..].iter().take_while(|known| known.tag == tag);
        candidates.find(|known| bool::from(known.sha256.ct_eq(sha256)))
    }
}

impl Reloadable for ApiKeyProvider {
    fn what(&self) -> String {
        format!("API keys of provider `{}`", self.name)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let keys = read_api_keys(&self.file).map_err(|problems| problems.to_string())?;
        self.keys.store(Arc::new(Keys::new(&self.name, keys)));
        Ok(())
    }
}

// Hashes of weak keys can be guessed from.
impl fmt::Debug for ApiKeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyProvider")
            .field("name", &self.name)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use std::fmt::Write as _;
    use std::path::Path;

    const KEY: &str = "sk_live_51H8xq";

    fn sha256(key: &str) -> String {
        Sha256::digest(key).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every write");
            text
        })
    }

    fn provider(file: &Path, text: &str) -> Result<ApiKeyProvider, Problems> {
        std::fs::write(file, text).expect("a file");
        let header = HeaderName::from_static("x-partner-key");
        ApiKeyProvider::new("partners", &config::ApiKeys { header, file: file.to_owned() })
    }

    fn answer(provider: &ApiKeyProvider, keys: &[&[u8]], at: Timestamp) -> Answer {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append("x-partner-key", (*key).try_into().expect("a value"));
        }
        provider.identify(&Presented { headers: &headers, certificate: None, at })
    }

    #[test]
    fn a_key_stands_for_its_actor_until_its_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys.yaml");
        let text = format!(
            "keys:
  - {{ actor: first, sha256: {} }}
  - {{ actor: svc-billing, groups: [partners, eu], sha256: {}, not_after: 2027-01-01T00:00:00Z }}
  - {{ actor: last, sha256: {} }}
",
            sha256("another"),
            sha256(KEY).to_uppercase(),
            sha256("a third"),
        );
        let provider = provider(&file, &text).expect("keys");
        let end: Timestamp = "2027-01-01T00:00:00.000000Z".parse().expect("a time");
        let Answer::Vouches(who) = answer(&provider, &[KEY.as_bytes()], end) else { panic!("it is known") };
        assert_eq!(
            (who.id.as_str(), who.scheme, &*who.provider),
            ("svc-billing", Scheme::ApiKey, "partners")
        );
        assert_eq!(&*who.groups, ["partners".into(), "eu".into()]);
        let late = Timestamp::from_micros(end.as_micros() + 1);
        assert_eq!(answer(&provider, &[KEY.as_bytes()], late), Answer::Refuses(Refusal::ApiKeyExpired));
        for (key, actor) in [("another", "first"), ("a third", "last")] {
            let Answer::Vouches(who) = answer(&provider, &[key.as_bytes()], late) else { panic!("{key}") };
            assert_eq!(who.id.as_str(), actor);
        }
        assert_eq!(answer(&provider, &[], end), Answer::Nothing);
        for key in
            ["", "sk_live_51H8xQ", "sk_live_51H8xq ", "another,a third", &sha256(KEY), &"x".repeat(2000)]
        {
            let refused = answer(&provider, &[key.as_bytes()], end);
            assert_eq!(refused, Answer::Refuses(Refusal::ApiKeyUnknown), "{key}");
        }
        assert_eq!(answer(&provider, &[b"\xff\xfe"], end), Answer::Refuses(Refusal::ApiKeyUnknown));
        let twice = [KEY.as_bytes(), KEY.as_bytes()];
        assert_eq!(answer(&provider, &twice, end), Answer::Refuses(Refusal::CredentialsAmbiguous));

        // Another file in its place; then one that cannot be used.
        std::fs::write(&file, format!("keys: [{{ actor: new, sha256: {} }}]", sha256("new")))
            .expect("a file");
        provider.reload().expect("keys");
        assert_eq!(answer(&provider, &[b"another"], end), Answer::Refuses(Refusal::ApiKeyUnknown));
        std::fs::write(&file, "keys: [").expect("a file");
        assert!(provider.reload().is_err());
        assert!(
            matches!(answer(&provider, &[b"new"], end), Answer::Vouches(_)),
            "what served goes on serving"
        );
        std::fs::remove_file(&file).expect("it is there");
        assert!(provider.reload().is_err());
        assert!(matches!(answer(&provider, &[b"new"], end), Answer::Vouches(_)));
    }

    #[test]
    fn nothing_that_is_shown_holds_a_key_or_its_hash() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys.yaml");
        let provider =
            provider(&file, &format!("keys: [{{ actor: a, sha256: {} }}]", sha256(KEY))).expect("keys");
        let mut headers = HeaderMap::new();
        headers.insert("x-partner-key", KEY.parse().expect("a value"));
        let presented = Presented::now(&headers, None);
        let shown = format!("{provider:?} {presented:?} {:?}", provider.identify(&presented));
        assert!(shown.contains("partners"));
        for secret in [KEY, &sha256(KEY), &format!("{:?}", Sha256::digest(KEY))] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_of_keys_is_told_with_its_place_and_without_a_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys.yaml");
        let name = file.display().to_string();
        let hash = sha256("good");
        for (text, place, words) in [
            (String::new(), "1:1", "no file of keys: expected a mapping with `keys`"),
            ("keys:".into(), "1:5", "found nothing"),
            ("{}".into(), "1:1", "missing key `keys`"),
            ("- a".into(), "1:1", "expected a mapping"),
            (format!("keys: {KEY}"), "1:7", "expected a list"),
            (format!("{KEY}: a\nkeys: []"), "1:1", "unknown key `…`"),
            (format!("keys: [{{ actor: a, sha256: {KEY} }}]"), "1:28", "64 hexadecimal digits"),
            (format!("keys: [{{ actor: a, key: {KEY}, sha256: {hash} }}]"), "1:20", "unknown key `key`"),
            (format!("keys: [{{ actor: a, sha256: {}0 }}]", hash), "1:28", "64 hexadecimal digits"),
            (format!("keys: [{{ actor: a, sha256: {} }}]", sha256("")), "1:28", "that of an empty text"),
            (format!("keys: [{{ sha256: {hash} }}]"), "1:8", "missing key `actor`"),
            ("keys: [{ actor: a }]".into(), "1:8", "missing key `sha256`"),
            (format!("keys: [{{ actor: \"\", sha256: {hash} }}]"), "1:17", "found an empty one"),
            (
                format!("keys: [{{ actor: {}, sha256: {hash} }}]", "x".repeat(257)),
                "1:17",
                "at most 256 bytes",
            ),
            (
                format!("keys: [{{ actor: a, groups: [b, b], sha256: {hash} }}]"),
                "1:32",
                "already in this list",
            ),
            (
                format!("keys: [{{ actor: a, sha256: {hash}, not_after: 2027-02-30 }}]"),
                "1:105",
                "a moment in UTC",
            ),
            (
                format!("keys: [{{ actor: a, sha256: {hash} }}, {{ actor: b, sha256: {hash} }}]"),
                "1:116",
                "this key is already in this list",
            ),
            (format!("keys:\n  - {{ actor: a, sha256: {hash}\n"), "2:5", "not YAML"),
        ] {
            let told = provider(&file, &text).expect_err(&text).to_string();
            assert!(told.starts_with(&format!("{name}:{place}: ")), "{text}\n{told}");
            assert!(told.contains(words), "{text}\n{told}");
            assert!(!told.contains(KEY) && !told.contains(&hash), "{told}");
        }
        assert!(provider(&file, "keys: []").is_ok(), "nobody has a key");
        let gone =
            config::ApiKeys { header: HeaderName::from_static("x"), file: directory.path().join("none") };
        assert!(ApiKeyProvider::new("x", &gone).expect_err("no file").to_string().contains("unreadable"));
        let folder = config::ApiKeys { file: directory.path().to_owned(), ..gone };
        assert!(
            ApiKeyProvider::new("x", &folder).expect_err("no file").to_string().contains("expected a file")
        );
    }

    #[test]
    fn the_example_is_a_file_of_keys() {
        let keys = read_api_keys(Path::new("../conf/identity/keys.yaml")).expect("keys");
        assert!(!keys.is_empty());
    }

    #[test]
    fn of_many_keys_each_is_found_and_nothing_that_is_almost_one() {
        let hash = |number: u32| <[u8; 32]>::from(Sha256::digest(number.to_be_bytes()));
        let key = |number: u32| config::ApiKey {
            actor: format!("svc-{number}"),
            groups: Vec::new(),
            sha256: hash(number),
            not_after: None,
        };
        let keys = Keys::new(&"partners".into(), (0..1000).map(key).collect());
        for number in 0..1000 {
            let found = keys.find(&hash(number)).map(|known| known.principal.id.as_str().to_owned());
            assert_eq!(found, Some(format!("svc-{number}")));
            for byte in [0, 15, 31] {
                let mut almost = hash(number);
                almost[byte] ^= 1;
                assert!(keys.find(&almost).is_none(), "{number}");
            }
        }
        assert!(keys.find(&hash(1000)).is_none());
        assert!(Keys::new(&"partners".into(), Vec::new()).find(&hash(0)).is_none());
    }
}
