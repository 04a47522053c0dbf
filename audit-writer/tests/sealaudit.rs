//! The program itself: what it prints, and what it exits with.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

mod store;

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use store::{LogBuilder, Store, completed_as, start, stop};

const LOG: &str = "audit.test/gw-1";

struct Setting {
    store: Store,
    log: LogBuilder,
    keys: PathBuf,
}

impl Setting {
    fn new() -> Setting {
        let store = Store::new();
        let log = LogBuilder::ordinary(&store.path(), LOG);
        let keys = store.dir.path().join("keys");
        fs::write(&keys, format!("# the auditor's\n{}\n", log.key.verifier_key())).unwrap();
        Setting { store, log, keys }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (store, keys) = (self.store.path(), self.keys.clone());
        let place = |argument: &&str| match *argument {
            "STORE" => store.display().to_string(),
            "KEYS" => keys.display().to_string(),
            other => other.to_owned(),
        };
        let output =
            Command::cargo_bin("sealaudit").unwrap().args(arguments.iter().map(place)).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn verify_says_ok_and_exits_0_or_names_what_is_wrong_and_exits_1() {
    let setting = Setting::new();
    let (code, out, err) = setting.run(&["verify", "STORE", "--keys", "KEYS"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("OK: 1 log, 0 findings, 1 notice\n"), "{out}");

    let mut segments = setting.log.segments.clone();
    segments[1][2] = segments[1][2].replace("\"status\":200", "\"status\":201");
    setting.log.forge(segments);
    let (code, out, _) = setting.run(&["verify", "STORE", "--keys", "KEYS"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("FINDING changed log audit.test/gw-1 segment 1 seq 4..8: leaves hash to "),
        "{out}"
    );
    assert!(out.contains("root NOT ok\nFAILED: 1 log, "), "{out}");
}

#[test]
fn verify_gives_one_json_object_when_asked() {
    let setting = Setting::new();
    fs::remove_file(setting.log.segment_path(1)).unwrap();
    let (code, out, _) = setting.run(&["verify", "STORE", "--keys", "KEYS", "--format", "json"]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["outcome"], "failed");
    let finding = &report["logs"][0]["findings"][0];
    assert_eq!(finding["kind"], "missing");
    assert_eq!(finding["segment"], serde_json::json!({ "first": 1, "last": 1 }));
}

#[test]
fn notices_decide_only_where_they_are_named() {
    let setting = Setting::new();
    assert_eq!(setting.run(&["verify", "STORE", "--keys", "KEYS", "--fail-on", "gap,open"]).0, 0);
    assert_eq!(setting.run(&["verify", "STORE", "--keys", "KEYS", "--fail-on", "not_write_once"]).0, 1);
    let (code, _, err) = setting.run(&["verify", "STORE", "--keys", "KEYS", "--fail-on", "everything"]);
    assert_eq!(code, 2);
    assert!(err.contains("expected one of gap, open, not_write_once"), "{err}");
}

#[test]
fn a_state_is_written_on_ok_alone() {
    let mut setting = Setting::new();
    let state = setting.store.dir.path().join("state.json");
    let path = state.display().to_string();
    let arguments = ["verify", "STORE", "--keys", "KEYS", "--state", &path];
    assert_eq!(setting.run(&arguments).0, 0);
    let first = fs::read(&state).unwrap();
    setting.log.segment(&[start(), completed_as("1", "/1", 200), stop(6)]);
    fs::write(setting.log.home.join("stray"), "").unwrap();
    assert_eq!(setting.run(&arguments).0, 1);
    assert_eq!(fs::read(&state).unwrap(), first);
    fs::remove_file(setting.log.home.join("stray")).unwrap();
    assert_eq!(setting.run(&arguments).0, 0);
    assert_ne!(fs::read(&state).unwrap(), first);
}

#[test]
fn what_cannot_be_done_exits_2_and_says_why() {
    let setting = Setting::new();
    let empty = setting.store.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    for (arguments, why) in [
        (&["verify", "STORE"][..], "--keys"),
        (&["verify", "STORE", "--keys", "/nonexistent"], "keys file /nonexistent"),
        (&["verify", "STORE", "--keys", "STORE"], "keys file"),
        (&["verify", "/nonexistent", "--keys", "KEYS"], "cannot read `/nonexistent`"),
        (&["verify", "KEYS", "--keys", "KEYS"], "is not a directory"),
        (&["verify", &empty, "--keys", "KEYS"], "holds no log"),
        (&["verify", "s3://bucket/prefix", "--keys", "KEYS"], "only a directory"),
        (&["verify", "STORE", "--keys", "KEYS", "--max-age", "soon"], "expected a duration"),
        (&["verify", "STORE", "--keys", "KEYS", "--expect-logs", "/nonexistent"], "file of expected logs"),
        (&["search", "STORE", "--status", "abc"], "expected a status"),
        (&["search", "STORE", "--source", "300.1.1.1"], "expected an address"),
        (&["search", "STORE", "--kind", "finished"], "expected one of received"),
        (&["search", "STORE", "--since", "yesterday"], "expected a time like"),
        (&["show", "STORE", "audit.test/gw-1#x"], "LOG#SEQ"),
        (&["show", "STORE"], "REQUEST-ID"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let (code, out, err) = setting.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {out}{err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_no_finding_and_no_ok() {
    use std::os::unix::fs::PermissionsExt as _;
    let setting = Setting::new();
    let path = setting.log.segment_path(1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        // Root reads everything.
        return;
    }
    let (code, out, _) = setting.run(&["verify", "STORE", "--keys", "KEYS"]);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("UNREADABLE ") && out.contains("INCOMPLETE: 1 log, 0 findings"), "{out}");
}

#[test]
fn search_gives_the_stored_lines_on_a_pipe_and_a_table_when_asked() {
    let setting = Setting::new();
    let (code, out, err) = setting.run(&["search", "STORE", "--status", "4xx"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{}\n", setting.log.segments[0][3]));
    let (code, out, _) = setting.run(&["search", "STORE", "--status", "4xx", "--format", "table"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("PATH") && out.contains("/orders/2") && !out.contains('{') && !out.contains("unsealed"),
        "{out}"
    );
}

#[test]
fn search_says_what_it_read() {
    let setting = Setting::new();
    let (_, _, err) = setting.run(&["search", "STORE", "--path", "/users/*", "--stats"]);
    assert!(err.contains("segments 3  indexes read 3 ("), "{err}");
    assert!(err.contains("frames read 3 of 3 ("), "{err}");
    assert!(err.contains("found 2\n"), "{err}");
}

#[test]
fn nothing_found_exits_1() {
    let setting = Setting::new();
    for arguments in [
        &["search", "STORE", "--route", "nobody"][..],
        &["show", "STORE", "nobody"],
        &["show", "STORE", "audit.test/gw-1#99"],
        &["show", "STORE", "audit.test/gw-9#0"],
        &["tail", "STORE", "--route", "nobody"],
    ] {
        let (code, out, err) = setting.run(arguments);
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (1, "", "sealaudit: nothing matched\n"),
            "{arguments:?}"
        );
    }
}

#[test]
fn show_prints_a_record_whole() {
    let setting = Setting::new();
    let (code, out, _) = setting.run(&["show", "STORE", "audit.test/gw-1#2", "--format", "table"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("log audit.test/gw-1 seq 2\n{\n  \"seq\": 2,\n  \"v\": 1,\n"), "{out}");
    let (_, out, _) = setting.run(&["show", "STORE", "audit.test/gw-1#2"]);
    assert_eq!(out, format!("{}\n", setting.log.segments[0][2]));
}

#[test]
fn tail_gives_the_last_records_oldest_first() {
    let setting = Setting::new();
    let (code, out, _) = setting.run(&["tail", "STORE", "-n", "2"]);
    assert_eq!(code, 0);
    assert_eq!(out.lines().collect::<Vec<_>>(), setting.log.segments[2][1..]);
}

#[test]
fn logs_lists_every_log() {
    let setting = Setting::new();
    LogBuilder::ordinary(&setting.store.path(), "audit.test/gw-2");
    let (code, out, _) = setting.run(&["logs", "STORE"]);
    assert_eq!(code, 0);
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        rows.iter().map(|row| row["log"].as_str().unwrap()).collect::<Vec<_>>(),
        [LOG, "audit.test/gw-2"]
    );
    assert_eq!(rows[0]["records"], 12);
    let (_, out, _) = setting.run(&["logs", "STORE", "--format", "table"]);
    assert!(out.contains("CHECKPOINTS") && out.contains("audit.test/gw-2"), "{out}");
}

#[test]
fn completions_are_printed_for_each_shell() {
    let setting = Setting::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = setting.run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("sealaudit") && out.contains("request-id"), "{shell}");
    }
}
