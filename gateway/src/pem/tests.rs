use std::fs;

use proptest::prelude::*;
use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A certificate and its key as PEM.
fn issued(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(vec!["api.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_certificate_and_its_key_are_read_whatever_kind_they_are() {
    let files = Files::new();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (certificate, key) = issued(algorithm);
        let (certs, keys) = (files.with("a.pem", &certificate), files.with("a.key", &key));
        let pair = KeyPair::read(&certs, &keys).unwrap();
        assert_eq!(pair.chain.len(), 1);
        assert!(!format!("{pair:?}").contains(&key[40..60]), "a key is never shown");
        // Both in one file, with text around them, and a chain of two.
        let both = files.with("both.pem", format!("# mine\n{key}\nCN=api.test\n{certificate}{certificate}"));
        assert_eq!(KeyPair::read(&both, &both).unwrap().chain.len(), 2);
        assert_eq!(read_authorities(&both).unwrap().len(), 2);
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_file_and_without_its_content() {
    let files = Files::new();
    let (certificate, key) = issued(&PKCS_ECDSA_P256_SHA256);
    let (_, other) = issued(&PKCS_ECDSA_P256_SHA256);
    let cert = files.with("good.pem", &certificate);
    let half = &certificate[..certificate.len() / 2];
    let lines = |n| {
        format!("{}\n-----END CERTIFICATE-----\n", certificate.lines().take(n).collect::<Vec<_>>().join("\n"))
    };
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old_encrypted = key
        .replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
    let broken_key = key.replace("MIG", "AIG").replace("MHc", "AHc");
    for (name, text, word) in [
        ("empty", String::new(), "there is no certificate"),
        ("text", "SECRET".to_owned(), "there is no certificate"),
        ("key", key.clone(), "there is no certificate"),
        ("half", half.to_owned(), "the PEM is damaged"),
        ("base64", certificate.replacen("MII", "M!I", 1), "the PEM is damaged"),
        ("short", lines(3), "certificate 1 in it cannot be read"),
        ("second", format!("{certificate}{}", lines(3)), "certificate 2 in it cannot be read"),
        ("crl", certificate.replace("CERTIFICATE", "X509 CRL"), "there is no certificate"),
        ("chain", certificate.repeat(11), "more than 10 certificates"),
        ("huge", certificate.repeat(3000), "the file is larger than 1024 KiB"),
    ] {
        let path = files.with(name, &text);
        let error = read_chain(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(word), "{name}: {error}");
        assert!(
            text.lines().all(|line| line.len() < 6 || line.starts_with("-----") || !error.contains(line))
        );
    }
    for (name, text, word) in [
        ("empty", String::new(), "there is no private key"),
        ("certificate", certificate.clone(), "there is no private key"),
        ("half", key[..key.len() / 2].to_owned(), "the PEM is damaged"),
        ("encrypted", encrypted, "is encrypted"),
        ("old", old_encrypted, "is encrypted"),
        ("two", key.repeat(2), "more than one private key"),
        ("broken", broken_key, "cannot be used"),
        ("other", other, "is not that of the first certificate in"),
    ] {
        let path = files.with(name, &text);
        let error = KeyPair::read(&cert, &path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(word), "{name}: {error}");
        assert!(
            text.lines().all(|line| line.len() < 6 || line.starts_with("-----") || !error.contains(line))
        );
    }
    let none = files.0.path().join("none");
    assert!(matches!(read_file(&none), Err(Fault::Read(error)) if error.kind() == io::ErrorKind::NotFound));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let files = Files::new();
    assert!(matches!(read_file(files.0.path()), Err(Fault::NoFile)));
    let pipe = files.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(read_file(&pipe), Err(Fault::NoFile)));
    assert!(matches!(read_file(Path::new("/dev/zero")), Err(Fault::NoFile)));
}

#[test]
fn a_certificate_holds_from_its_first_second_to_its_last() {
    let files = Files::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    let cert = files.with("a.pem", params.self_signed(&key).unwrap().pem());
    let key = files.with("a.key", key.serialize_pem());
    let validity = KeyPair::read(&cert, &key).unwrap().validity;
    let at = |text: &str| validity.at(text.parse().unwrap());
    assert_eq!(validity.not_before.to_string(), "2026-01-01T00:00:00.000000Z");
    assert_eq!(at("2025-12-31T23:59:59.000000Z"), Holds::NotYet);
    assert_eq!(at("2026-01-01T00:00:00.000000Z"), Holds::Now);
    assert_eq!(at("2027-01-01T00:00:00.000000Z"), Holds::Now);
    assert_eq!(at("2027-01-01T00:00:01.000000Z"), Holds::NoMore);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let files = Files::new();
        let path = files.with("x", &bytes);
        let _ = (read_chain(&path).is_ok(), read_key(&path).is_ok(), read_authorities(&path).is_ok());
    }

    #[test]
    fn no_damage_makes_it_panic_or_show_what_it_read(at in 0usize..700, byte in any::<u8>()) {
        let files = Files::new();
        let (certificate, key) = issued(&PKCS_ED25519);
        let mut text = format!("{certificate}{key}").into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let path = files.with("x", &text);
        if let Err(error) = KeyPair::read(&path, &path) {
            let secret = key.lines().nth(1).unwrap();
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(&secret[8..24]), "{}", told);
        }
    }
}
