//! Stores that tests build record by record, honest or forged, through the library's own segments and checkpoints.

#![allow(dead_code, reason = "each test program uses its part of it")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

use std::fs;
use std::path::{Path, PathBuf};

use audit_writer::archive::Archive;
use audit_writer::checkpoint::{Checkpoint, Keyring, LogName, SigningKey};
use audit_writer::ids::SegmentNo;
use audit_writer::merkle::{CompactRange, Hash};
use audit_writer::record::Brief;
use audit_writer::segment::{self, SegmentBuilder};
use audit_writer::time::Timestamp;
use audit_writer::verify::{FindingKind, LogReport, Options, Report, State, verify};
use tempfile::TempDir;

/// A record without what the log gives it: its kind, and what follows `boot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) kind: &'static str,
    pub(crate) rest: String,
}

/// A record as it stands on a log.
pub(crate) type Line = String;

pub(crate) fn draft(kind: &'static str, rest: impl Into<String>) -> Draft {
    Draft { kind, rest: rest.into() }
}

pub(crate) fn completed(path: &str, status: u16) -> Draft {
    completed_as(&format!("{:x}", path.len() * 7919 + usize::from(status)), path, status)
}

pub(crate) fn completed_as(request_id: &str, path: &str, status: u16) -> Draft {
    let request = format!(
        r#"{{"method":"GET","scheme":"http","host":"api.test","path":"{path}","http":"1.1","bytes":0}}"#
    );
    draft(
        "completed",
        format!(
            r#","request_id":"{request_id}","listener":"edge","source":{{"ip":"203.0.113.9","port":4711}},"request":{request},"route":"orders","response":{{"status":{status},"bytes":12}},"end":"ok","duration_us":1034,"config":"3f6a0000""#
        ),
    )
}

pub(crate) fn received(request_id: &str) -> Draft {
    draft("received", format!(r#","request_id":"{request_id}","listener":"edge""#))
}

pub(crate) fn start() -> Draft {
    draft(
        "lifecycle",
        r#","event":"start","version":"0.1.0","config":"3f6a0000","unclean":false,"heartbeat_interval_ms":300000"#,
    )
}

fn counters(durable: u64, lost: u64) -> String {
    let captured = durable + lost;
    format!(r#""counters":{{"captured":{captured},"durable":{durable},"queued":0,"lost":{lost}}}"#)
}

pub(crate) fn heartbeat(durable: u64, lost: u64) -> Draft {
    draft("lifecycle", format!(r#","event":"heartbeat",{}"#, counters(durable, lost)))
}

pub(crate) fn stop(durable: u64) -> Draft {
    draft("lifecycle", format!(r#","event":"stop",{}"#, counters(durable, 0)))
}

pub(crate) fn stop_with_losses(durable: u64, lost: u64) -> Draft {
    draft("lifecycle", format!(r#","event":"stop",{}"#, counters(durable, lost)))
}

pub(crate) fn stored(segment: u64, sha256: Hash) -> Draft {
    draft("lifecycle", format!(r#","event":"stored","segment":{segment},"sha256":"{sha256}""#))
}

/// A gap of a moment before the first record of any log here.
pub(crate) fn gap(lost: Option<u64>, reason: &str) -> Draft {
    let at = "2026-03-01T11:59:59.000000Z";
    gap_between(lost, reason, at, at)
}

pub(crate) fn gap_between(lost: Option<u64>, reason: &str, from: &str, to: &str) -> Draft {
    let lost = lost.map_or_else(|| "null".to_owned(), |lost| lost.to_string());
    draft("gap", format!(r#","lost":{lost},"reason":"{reason}","from":"{from}","to":"{to}""#))
}

/// One log that is being written.
pub(crate) struct LogBuilder {
    pub(crate) home: PathBuf,
    pub(crate) name: LogName,
    pub(crate) key: SigningKey,
    pub(crate) boot: String,
    pub(crate) clock: Timestamp,
    /// What the clock goes on by, in microseconds, for each record.
    pub(crate) step: u64,
    pub(crate) tree: CompactRange,
    pub(crate) next: SegmentNo,
    pub(crate) prev_sha256: Hash,
    /// The lines of each segment, without newlines.
    pub(crate) segments: Vec<Vec<Line>>,
}

impl LogBuilder {
    /// A log below `store`, with its marker.
    pub(crate) fn new(store: &Path, name: &str) -> LogBuilder {
        LogBuilder::with_key(store, SigningKey::generate(name.parse().unwrap()).unwrap())
    }

    pub(crate) fn with_key(store: &Path, key: SigningKey) -> LogBuilder {
        let name = key.name().clone();
        let home = store.join(name.as_str());
        fs::create_dir_all(&home).unwrap();
        let marker = format!(r#"{{"v":1,"log":"{name}","keys":["{}"]}}"#, key.verifier_key());
        fs::write(home.join("log"), marker).unwrap();
        LogBuilder {
            home,
            name,
            key,
            boot: "9f3c01aa".into(),
            clock: "2026-03-01T12:00:00.000000Z".parse().unwrap(),
            step: 1_000,
            tree: CompactRange::new(0),
            next: SegmentNo(0),
            prev_sha256: Hash::ZERO,
            segments: Vec::new(),
        }
    }

    /// Numbers drafts, and puts the record of the segment before them.
    pub(crate) fn lines(&mut self, drafts: &[Draft]) -> Vec<Line> {
        let begin = format!(
            r#","event":"segment","log":"{}","segment":{},"prev_sha256":"{}""#,
            self.name, self.next, self.prev_sha256
        );
        let drafts = std::iter::once(draft("lifecycle", begin)).chain(drafts.iter().cloned());
        let first = self.tree.end();
        let lines = (first..).zip(drafts).map(|(seq, Draft { kind, rest })| {
            self.clock = Timestamp::from_micros(self.clock.as_micros() + self.step);
            format!(
                r#"{{"seq":{seq},"v":1,"kind":"{kind}","ts":"{}","boot":"{}"{rest}}}"#,
                self.clock, self.boot
            )
        });
        lines.collect()
    }

    /// Seals a segment of drafts and signs its checkpoint.
    pub(crate) fn segment(&mut self, drafts: &[Draft]) -> &mut LogBuilder {
        let lines = self.lines(drafts);
        self.seal(lines);
        self.sign();
        self
    }

    /// Seals lines as they are.
    pub(crate) fn seal(&mut self, lines: Vec<Line>) -> PathBuf {
        let (file, first_ts, tree) = seal(&self.name, self.next, &self.tree, &lines);
        let path = self.home.join(segment::object_name(self.next, first_ts));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &file).unwrap();
        self.prev_sha256 = Hash::of(&file);
        self.tree = tree;
        self.next = self.next.next();
        self.segments.push(lines);
        path
    }

    /// Signs the checkpoint of what was sealed last.
    pub(crate) fn sign(&mut self) {
        let checkpoint =
            Checkpoint { origin: self.name.clone(), size: self.tree.size(), root: self.tree.root().unwrap() };
        let note = checkpoint.sign([&self.key]).unwrap();
        let path = self.checkpoint_path(self.next.previous().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, note).unwrap();
    }

    pub(crate) fn checkpoint_path(&self, number: SegmentNo) -> PathBuf {
        self.home.join("checkpoints").join(number.digits())
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        let name = segment::file_name(SegmentNo(number));
        let folders = fs::read_dir(self.home.join("segments")).unwrap();
        let mut paths = folders.map(|folder| folder.unwrap().path().join(&name));
        paths.find(|path| path.exists()).unwrap_or_else(|| panic!("segment {number} is there"))
    }

    /// An ordinary log: three segments of one boot that ended.
    pub(crate) fn ordinary(store: &Path, name: &str) -> LogBuilder {
        let mut log = LogBuilder::new(store, name);
        log.segment(&[start(), completed("/orders/1", 200), completed("/orders/2", 404)]);
        let first = log.prev_sha256;
        log.segment(&[
            stored(0, first),
            completed("/users/1", 200),
            completed("/users/2", 200),
            heartbeat(4, 0),
        ]);
        log.segment(&[completed("/orders/3", 503), stop(5)]);
        log
    }

    /// What a forger without the key can do: writes the log anew from `segments`, each with its right record of a
    /// segment, numbers, chain, frames and indexes. Checkpoints stay as they were.
    pub(crate) fn forge(&self, segments: Vec<Vec<Line>>) {
        let _ = fs::remove_dir_all(self.home.join("segments"));
        let mut tree = CompactRange::new(0);
        let mut prev_sha256 = Hash::ZERO;
        for (number, lines) in (0..).map(SegmentNo).zip(segments) {
            let seqs = tree.end()..;
            let lines = seqs.zip(lines).map(|(seq, line)| {
                let line = renumber(&line, seq);
                if seq == tree.end() { begin_segment(&line, number, prev_sha256) } else { line }
            });
            let lines: Vec<Line> = lines.collect();
            let (file, first_ts, next_tree) = seal(&self.name, number, &tree, &lines);
            let path = self.home.join(segment::object_name(number, first_ts));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &file).unwrap();
            (tree, prev_sha256) = (next_tree, Hash::of(&file));
        }
    }
}

fn renumber(line: &str, seq: u64) -> Line {
    let (_, rest) = line.split_once(",\"v\":1").unwrap();
    format!("{{\"seq\":{seq},\"v\":1{rest}")
}

fn begin_segment(line: &str, number: SegmentNo, prev_sha256: Hash) -> Line {
    let (head, rest) = line.split_once(",\"segment\":").unwrap();
    let (_, rest) = rest.split_once("\"prev_sha256\":\"").unwrap();
    format!("{head},\"segment\":{number},\"prev_sha256\":\"{prev_sha256}{}", &rest[64..])
}

/// A segment's file.
pub(crate) fn seal(
    name: &LogName,
    number: SegmentNo,
    before: &CompactRange,
    lines: &[Line],
) -> (Vec<u8>, Timestamp, CompactRange) {
    let mut file = Vec::new();
    let mut builder = SegmentBuilder::new(number, before.clone(), 1).unwrap();
    for line in lines {
        // Of what is no record, a gateway that signs it knows at least how it begins.
        let begin = line.find(r#","boot":""#).map_or(0, |at| at + r#","boot":"00000000""#.len());
        let begin = format!("{}}}", &line[..begin]);
        let brief = Brief::parse(line.as_bytes()).or_else(|_| Brief::parse(begin.as_bytes()));
        let brief = brief.unwrap_or_else(|error| panic!("{line}: {error}"));
        builder.add(format!("{line}\n").as_bytes(), &brief.facts(), &mut file).unwrap();
    }
    let boot = Brief::parse(lines[0].as_bytes()).unwrap().boot;
    let summary = builder.finish(name.as_str(), boot, &mut file).unwrap().unwrap();
    (file, summary.first_ts, summary.tree)
}

/// A store in a folder of its own.
pub(crate) struct Store {
    pub(crate) dir: TempDir,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        let path = self.dir.path().join("store");
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn archive(&self) -> Archive {
        Archive::open(self.path().to_str().unwrap()).unwrap()
    }
}

pub(crate) fn keyring(logs: &[&LogBuilder]) -> Keyring {
    let mut ring = Keyring::default();
    logs.iter().for_each(|log| ring.add(log.key.verifier_key().clone()));
    ring
}

/// Verifies a store of one log; the clock stands a minute after its last record.
pub(crate) fn report_with(store: &Store, log: &LogBuilder, set: impl FnOnce(&mut Options)) -> Report {
    let mut options = Options::new();
    options.now = Timestamp::from_micros(log.clock.as_micros() + 60_000_000);
    set(&mut options);
    let (report, _) =
        verify(&store.archive(), &keyring(&[log]), &options, &State::default(), &|_| ()).unwrap();
    report
}

pub(crate) fn report(store: &Store, log: &LogBuilder) -> LogReport {
    report_with(store, log, |_| ()).logs.remove(0)
}

/// The findings of a report, shortened: kind, segment, message.
pub(crate) fn findings(report: &LogReport) -> Vec<(FindingKind, Option<u64>, String)> {
    let segment = |place: &audit_writer::verify::Place| place.segment.map(|segments| segments.first.0);
    report.findings.iter().map(|f| (f.kind, segment(&f.place), f.message.clone())).collect()
}
