//! Checkpoints against the vectors of the C2SP specification, and against whoever edits one.

use proptest::prelude::*;

use super::*;
use crate::merkle::leaf_hash;

const NAME: &str = "audit.example.com/gw-1";

fn name(text: &str) -> LogName {
    text.parse().expect("a log's name")
}

fn key_of(log: &str) -> SigningKey {
    SigningKey::generate(name(log)).expect("randomness")
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: name(NAME), size: TreeSize(5_187_214), root: leaf_hash(b"root") }
}

fn trusted(keys: &[&SigningKey]) -> Vec<VerifierKey> {
    keys.iter().map(|key| key.verifier_key().clone()).collect()
}

fn read(note: &str, keys: &[VerifierKey]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::parse_and_verify(note.as_bytes(), &name(NAME), keys)
}

#[test]
fn the_signed_note_of_the_specification_verifies() {
    let key: VerifierKey =
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().expect("the key");
    let line = "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";
    let signature = Signature::parse(line, key.name()).expect("a signature's line");
    assert_eq!(signature.id, key.key_id());
    assert!(key.verifies(b"This is an example message.\n", &signature.bytes));
    assert!(!key.verifies(b"This is an example message\n", &signature.bytes));
}

#[test]
fn a_checkpoint_has_exactly_the_lines_of_the_format() {
    let key = key_of(NAME);
    let note = checkpoint().sign([&key]).expect("signs");
    let lines: Vec<&str> = note.split('\n').collect();
    assert_eq!(lines[..2], [NAME, "5187214"]);
    assert_eq!(lines[2], BASE64.encode(leaf_hash(b"root").as_bytes()));
    assert_eq!(lines[3], "");
    assert!(lines[4].starts_with("— audit.example.com/gw-1 "));
    assert_eq!(lines[5..], [""]);
    assert_eq!(read(&note, &trusted(&[&key])), Ok(checkpoint()));
}

#[test]
fn the_longest_checkpoint_fits_its_limit() {
    let log = "a".repeat(MAX_LOG_NAME);
    let (a, b) = (key_of(&log), key_of(&log));
    let longest = Checkpoint { origin: name(&log), size: TreeSize(u64::MAX), root: Hash::ZERO };
    let note = longest.sign([&a, &b]).expect("signs");
    assert!(note.len() <= MAX_CHECKPOINT, "{}", note.len());
    assert_eq!(Checkpoint::parse_and_verify(note.as_bytes(), &name(&log), &trusted(&[&a, &b])), Ok(longest));
}

#[test]
fn two_keys_sign_in_the_order_of_their_ids_while_one_hands_over_to_the_other() {
    let (a, b) = (key_of(NAME), key_of(NAME));
    let note = checkpoint().sign([&a, &b]).expect("signs");
    assert_eq!(note, checkpoint().sign([&b, &a]).expect("signs"));
    assert_eq!(read(&note, &trusted(&[&b, &a])), Ok(checkpoint()));

    let mut lines: Vec<&str> = note.lines().collect();
    lines.swap(4, 5);
    let swapped = lines.join("\n") + "\n";
    assert!(matches!(read(&swapped, &trusted(&[&a, &b])), Err(CheckpointError::Line { line: 6, .. })));
}

#[test]
fn every_signature_must_be_by_a_trusted_key() {
    let (a, b) = (key_of(NAME), key_of(NAME));
    let note = checkpoint().sign([&a, &b]).expect("signs");
    let id = b.key_id();
    assert_eq!(read(&note, &trusted(&[&a])), Err(CheckpointError::UnknownKey { id }));
    assert!(matches!(read(&note, &[]), Err(CheckpointError::UnknownKey { .. })));
    let other_log = trusted(&[&key_of("another")]);
    assert!(matches!(read(&note, &other_log), Err(CheckpointError::UnknownKey { .. })));
}

#[test]
fn a_key_signs_only_for_its_own_log() {
    let error = checkpoint().sign([&key_of("another")]).expect_err("another log's key");
    assert!(matches!(error, CheckpointError::OtherKey { .. }), "{error}");
}

#[test]
fn the_checkpoint_of_another_log_is_refused() {
    let key = key_of("another");
    let other = Checkpoint { origin: name("another"), ..checkpoint() };
    let note = other.sign([&key]).expect("signs");
    assert_eq!(read(&note, &trusted(&[&key])), Err(CheckpointError::OtherOrigin { found: name("another") }));
}

#[test]
fn anything_but_the_one_encoding_is_refused() {
    let key = key_of(NAME);
    let keys = trusted(&[&key]);
    let note = checkpoint().sign([&key]).expect("signs");
    let line = |n: usize| note.lines().nth(n).expect("a line").to_owned();
    for (case, bad) in [
        ("nothing", String::new()),
        ("a trailing byte", format!("{note} ")),
        ("a trailing newline", format!("{note}\n")),
        ("no last newline", note.trim_end().to_owned()),
        ("carriage returns", note.replace('\n', "\r\n")),
        ("a leading newline", format!("\n{note}")),
        ("an extension line", note.replace("\n\n", "\nextension\n\n")),
        ("a leading zero", note.replace("5187214", "05187214")),
        ("a plus sign", note.replace("5187214", "+5187214")),
        ("a size past u64", note.replace("5187214", "99999999999999999999")),
        ("a negative size", note.replace("5187214", "-1")),
        ("no padding", note.replacen("=\n", "\n", 1)),
        ("a hyphen for the dash", note.replace('\u{2014}', "-")),
        ("the signature twice", format!("{note}{}\n", line(4))),
        ("a third line of text", format!("{note}more\n")),
        ("no signature", note.lines().take(4).collect::<Vec<_>>().join("\n") + "\n"),
        ("another name before the signature", note.replace("— audit", "— other")),
        ("upper case", note.to_uppercase()),
        ("a huge file", note.clone() + &"x".repeat(10_000_000)),
    ] {
        assert!(read(&bad, &keys).is_err(), "{case} was accepted");
    }
    assert!(Checkpoint::parse_and_verify(&[0xff; 100], &name(NAME), &keys).is_err());
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_seen() {
    let (a, b) = (key_of(NAME), key_of(NAME));
    let keys = trusted(&[&a, &b]);
    for note in [checkpoint().sign([&a]), checkpoint().sign([&a, &b])] {
        let note = note.expect("signs").into_bytes();
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bad = note.clone();
                bad[at] ^= 1 << bit;
                assert!(
                    Checkpoint::parse_and_verify(&bad, &name(NAME), &keys).is_err(),
                    "byte {at}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn another_root_or_size_under_the_same_signature_is_a_bad_signature() {
    let key = key_of(NAME);
    let id = key.key_id();
    let note = checkpoint().sign([&key]).expect("signs");
    let grown = note.replace("5187214", "5187215");
    assert_eq!(read(&grown, &trusted(&[&key])), Err(CheckpointError::BadSignature { id }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Checkpoint::parse_unverified(&bytes).is_err());
    }

    #[test]
    fn what_parses_is_written_again_in_the_same_bytes(size in any::<u64>(), root in any::<[u8; 32]>()) {
        let key = key_of(NAME);
        let checkpoint = Checkpoint { origin: name(NAME), size: TreeSize(size), root: Hash(root) };
        let note = checkpoint.sign([&key]).expect("signs");
        prop_assert_eq!(Checkpoint::parse_unverified(note.as_bytes()), Ok(checkpoint));
    }
}
