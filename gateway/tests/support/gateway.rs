//! `sealgate run` as a child process, and the records that it left.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response};
use super::{SURELY, wait_for};

/// What a configuration says beyond the usual.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of the only listener, in YAML.
    pub(crate) listener: &'static str,
    /// `shutdown`, in YAML.
    pub(crate) shutdown: &'static str,
    /// Lines below `audit`.
    pub(crate) audit: &'static str,
    /// Upstreams beside `main` and `down`, in YAML.
    pub(crate) upstreams: String,
    /// Routes before the one that takes everything.
    pub(crate) routes: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listener: "",
            shutdown: "{ lameduck: 0ms, timeout: 10s }",
            audit: "",
            upstreams: String::new(),
            routes: "",
        }
    }
}

/// A gateway that serves.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl Gateway {
    /// Starts one in front of `upstream` and waits until it listens.
    pub(crate) fn start(upstream: SocketAddr, settings: &Settings) -> Gateway {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("sealgate.yaml");
        std::fs::write(&config, configuration(upstream, settings)).expect("a file");
        let mut process = command(&config).stderr(Stdio::piped()).spawn().expect("sealgate runs");
        let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("sealgate: {line}");
                if let Some(listening) = listening(&line) {
                    let _ = sender.send(listening);
                }
            }
        });
        let mut addresses = HashMap::new();
        while addresses.len() < 2 {
            let (name, address) = receiver.recv_timeout(SURELY).expect("the gateway listens");
            addresses.insert(name, address);
        }
        Gateway { address: addresses["edge"], admin: addresses["admin"], process, directory }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks the admin listener.
    pub(crate) fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin).get(path)
    }

    /// The value of a metric, with its labels as Prometheus writes them.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let body = self.admin("/metrics").body;
        let text = String::from_utf8(body).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the gateway ends", || self.process.try_wait().expect("a child"))
    }

    /// Stops it, and gives the records of requests and attempts, in the order of the log.
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.signal("TERM");
        assert!(self.wait().success());
        self.records()
    }

    /// The records in the store, once the gateway has ended.
    pub(crate) fn records(&self) -> Vec<Value> {
        let mut segments = Vec::new();
        find_segments(&self.directory.path().join("store"), &mut segments);
        segments.sort();
        let mut records = Vec::new();
        for segment in segments {
            let compressed = std::fs::read(&segment).expect("a segment");
            let lines = zstd::decode_all(&compressed[..]).expect("frames of zstd");
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: Value = serde_json::from_slice(line).expect("a record");
                if record["kind"] != "lifecycle" {
                    records.push(record);
                }
            }
        }
        records
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The store makes its files immutable where it may.
        let _ = Command::new("chattr")
            .args(["-R", "-i"])
            .arg(self.directory.path())
            .stderr(Stdio::null())
            .status();
    }
}

/// The records of one client's connection.
pub(crate) fn of_port(records: &[Value], port: u16) -> Vec<&Value> {
    records.iter().filter(|record| record["source"]["port"] == port).collect()
}

/// `sealgate run` with this configuration.
pub(crate) fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command.args(["run", "-c"]).arg(config).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A configuration of one listener and one upstream.
pub(crate) fn configuration(upstream: SocketAddr, settings: &Settings) -> String {
    let Settings { listener, shutdown, audit, upstreams, routes } = settings;
    format!(
        "version: 1
listen:
  - {{ name: edge, address: '127.0.0.1:0'{listener} }}
admin: {{ address: '127.0.0.1:0' }}
shutdown: {shutdown}
upstreams:
  main: {{ endpoints: {{ static: ['{upstream}'] }}, timeouts: {{ read_idle: 20s }} }}
  down: {{ endpoints: {{ static: ['127.0.0.1:9'] }} }}
{upstreams}
routes:
{routes}
  - {{ name: all, match: {{ path_prefix: / }}, upstream: main, auth: none }}
audit:
  log: test.localhost/gw-1
  key: {{ file: gateway.key, create: true }}
  create_log: true
  spool: {{ path: spool, min_free: 1MiB }}
  store: {{ directory: store }}
{audit}
"
    )
}

/// `… listening listener=edge address=127.0.0.1:4711`
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (_, fields) = line.split_once("listening ")?;
    let value = |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name));
    let name = value("listener=")?.trim_matches('"').to_owned();
    Some((name, value("address=")?.parse().ok()?))
}

fn find_segments(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_segments(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "zst") {
            found.push(path);
        }
    }
}
