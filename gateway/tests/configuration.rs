//! Configurations that are right, wrong, hostile and broken.
//!
//! What is wrong with each file of `configurations` is kept beside it, as users see it. After a change that is meant:
//! `UPDATE_GOLDEN=1 cargo test -p gateway --test configuration`, and read the difference.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use gateway::config::{Config, Problems};
use proptest::prelude::*;

const DIRECTORY: &str = "tests/configurations";

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(DIRECTORY).join(name)).unwrap()
}

fn load(name: &str) -> Result<Config, Problems> {
    Config::load(&Path::new(DIRECTORY).join(name))
}

fn problems(text: &str) -> String {
    Config::from_text("test.yaml", text).unwrap_err().to_string()
}

/// Asserts that a configuration is refused with these very words.
fn refused_as_kept(name: &str) {
    let found = format!("{}\n", load(name).expect_err(name));
    let path = Path::new(DIRECTORY).join(name).with_extension("errors");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == kept, "{name} is refused in other words than are kept:\n{found}\nkept:\n{kept}");
}

#[test]
fn every_wrong_value_is_reported_with_its_place() {
    refused_as_kept("wrong-values.yaml");
}

#[test]
fn an_upstream_is_never_left_unverified_by_mistake() {
    refused_as_kept("wrong-upstreams.yaml");
}

#[test]
fn every_wrong_key_is_reported_with_its_place() {
    refused_as_kept("wrong-keys.yaml");
}

#[test]
fn every_wrong_type_is_reported_with_its_place() {
    refused_as_kept("wrong-types.yaml");
}

#[test]
fn parts_that_do_not_go_together_are_reported() {
    refused_as_kept("conflicts.yaml");
}

#[test]
fn tls_that_cannot_be_meant_is_reported() {
    refused_as_kept("tls.yaml");
}

#[test]
fn rules_that_can_never_match_are_reported() {
    refused_as_kept("idle-rules.yaml");
}

#[test]
fn the_value_of_a_variable_is_never_shown() {
    refused_as_kept("variables.yaml");
    let shown = load("variables.yaml").unwrap_err().to_string().replace("CARGO_PKG_NAME", "");
    let values = shown.lines().filter(|line| line.contains("gateway"));
    assert_eq!(values.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn identity_that_cannot_be_meant_is_reported() {
    refused_as_kept("identity.yaml");
    let shown = load("identity.yaml").unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "a password in a URL is shown: {shown}");
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    for name in [
        "anchors.yaml",
        "broken.yaml",
        "comment.yaml",
        "empty.yaml",
        "exotic.yaml",
        "no-mapping.yaml",
        "two-documents.yaml",
    ] {
        refused_as_kept(name);
    }
}

#[test]
fn a_directory_is_one_configuration() {
    let config = load("directory").unwrap();
    let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(routes, ["orders", "users"]);
    assert_eq!(config.upstreams.len(), 2);
    let base = std::path::absolute(DIRECTORY).unwrap().join("directory");
    assert_eq!(config.audit.spool.path, base.join("spool"), "paths are relative to their file");
    // Compared as text: paths that differ by `./` alone are equal.
    let conflicts = Config::from_text("x", example("least.yaml").replace("data/store", ".//data/./store/"));
    let store = conflicts.unwrap().audit.store.directory;
    assert_eq!(store.display().to_string(), std::path::absolute("data/store").unwrap().display().to_string());
    assert!(config.text().starts_with("# 10-base.yaml\nversion: 1\n"));
    assert!(config.text().contains("# 30-users.yaml\nupstreams:"));
}

#[test]
fn a_name_that_is_in_two_files_is_refused() {
    refused_as_kept("directory-conflicts");
}

#[test]
fn defaults_are_what_they_are_said_to_be() {
    let (full, least) = (load("full.yaml").unwrap(), load("least.yaml").unwrap());
    // Whether a durability is written matters where another one is: what holds is compared, not what is written.
    assert_eq!(full.durability(), least.durability());
    assert_eq!(full.durability_of(&full.routes[1]).0, least.durability_of(&least.routes[0]).0);
    let json = |config: &Config| {
        let mut json = serde_json::to_value(config).unwrap();
        for audit in ["/audit", "/routes/0/audit", "/routes/1/audit"] {
            let audit = json.pointer_mut(audit).and_then(serde_json::Value::as_object_mut);
            audit.map(|audit| (audit.remove("durability"), audit.remove("redact")));
        }
        json
    };
    let (full_json, least_json) = (json(&full), json(&least));
    assert_eq!(full_json["listen"][1], least_json["listen"][0]);
    assert_eq!(full_json["routes"][1], least_json["routes"][0]);
    assert_eq!(full_json["upstreams"]["orders"], least_json["upstreams"]["orders"]);
    for part in ["audit", "shutdown"] {
        assert_eq!(full_json[part], least_json[part]);
    }
    assert_eq!(least.audit.redact, gateway::config::Redact::default());
    assert!(least.admin.is_none() && least.metrics.is_none());
}

#[test]
fn the_hash_is_of_the_text_with_its_variables_left_as_they_are() {
    let config = load("full.yaml").unwrap();
    assert_eq!(config.text(), example("full.yaml"));
    assert_eq!(config.audit.log.as_str(), "audit.example.com/gw-1");
    assert!(
        config.hash().len() == 8
            && config.sha256()[0] == u8::from_str_radix(&config.hash()[..2], 16).unwrap()
    );
    let other = Config::from_text("x", config.text().replace("gw-1", "gw-2")).unwrap();
    assert_ne!(other.hash(), config.hash());
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: PathBuf, words: &str| {
        let shown = Config::load(&path).unwrap_err().to_string();
        assert!(shown.contains(words) && shown.contains(&*path.to_string_lossy()), "{shown}");
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    refused(directory.path().to_owned(), "expected at least one file `*.yaml`");
    refused(directory.path().join("none.yaml"), "unreadable: No such file");
    refused(file("huge.yaml", &b"# ".repeat(3 << 20)), "too large: expected at most 4 MiB");
    refused(file("binary.yaml", b"version: 1\n\x7fELF\x00\x01"), ":2:1: not text");
    refused(file("latin1.yaml", b"version: 1\nadmin: caf\xe9\n"), ":2:11: not text");
    refused(file("utf16.yaml", b"\xff\xfev\0e\0r\0"), ":1:1: not text");
    refused(file("deep.yaml", &b"[".repeat(100_000)), ":1:");
    refused(file("deep-blocks.yaml", &b"- ".repeat(10_000)), ":1:");
    refused(file("wide.yaml", "a, ".repeat(250_000).replacen('a', "version: [a", 1).as_bytes()), "too large");
}

#[test]
fn the_file_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does() {
    let text = format!("\u{feff}{}", example("least.yaml").replace('\n', "\r\n"));
    Config::from_text("x", text).unwrap();
}

#[test]
fn a_terminal_is_not_commanded_by_what_it_is_shown() {
    let shown = problems("\"\\e[31mversion\\u202e\\n\": \"\\e[2J\"\n");
    assert!(shown.contains(r"\u{1b}[31mversion\u{202e}\u{a}") && shown.contains(r"\u{1b}[2J"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    let long = problems(&format!("{}: 1\n", "k".repeat(1000)));
    assert!(long.lines().all(|line| line.len() < 400), "{long}");
}

#[test]
fn a_configuration_that_breaks_off_is_never_taken_for_a_whole_one_that_differs() {
    let whole = example("full.yaml");
    let last = whole.len() - "}\n".len();
    for end in (0..last).filter(|&end| whole.is_char_boundary(end)) {
        if let Ok(config) = Config::from_text("x", &whole[..end]) {
            panic!("the first {end} bytes pass: {:?}", config.audit.store);
        }
    }
}

proptest! {
    /// Every problem has a place within the text, and there is always at least one.
    #[test]
    fn no_damage_makes_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\n\t\u{e9}\u{0}]{0,3}", 0usize..20), 1..6)
    ) {
        let mut text: Vec<char> = example("full.yaml").chars().collect();
        for (at, insert, remove) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = Config::from_text("x", text.clone()) {
            prop_assert!(problems.count() > 0);
            let lines = text.split('\n').count() as u32;
            for problem in problems.iter() {
                prop_assert!((1..=lines + 1).contains(&problem.line) && problem.column > 0, "{problem} of {lines} lines");
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-:?,\\[\\]{}#&*!|>'\"%@` \na1~$.]{0,60}") {
        prop_assert!(Config::from_text("x", text).is_err());
    }
}
