//! `sealaudit verify`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use audit_writer::archive::Archive;
use audit_writer::checkpoint::{Keyring, LogName};
use audit_writer::time::Timestamp;
use audit_writer::verify::{NoticeKind, Options, Outcome, Progress, State, verify};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{Done, when};

/// The arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store: a directory, file:///path, or a gateway's data directory
    store: String,
    /// Files of trusted keys: one verifier key a line, `#` comments
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Go on from what was verified before, and keep this for the next time
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A file of logs that must be there: one name a line, `#` comments (those of the keys always must)
    #[arg(long, value_name = "FILE")]
    expect_logs: Option<PathBuf>,
    /// The newest record of each log may be this old
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    max_age: Option<Duration>,
    /// Read only segments with records of this time or later: RFC 3339, a date, or 15m / 7d ago
    #[arg(long, value_name = "TIME", value_parser = when::instant, conflicts_with = "state")]
    since: Option<Timestamp>,
    /// Notices that count as findings
    #[arg(long, value_name = "NOTICE,…", value_delimiter = ',', value_parser = notice)]
    fail_on: Vec<NoticeKind>,
    /// Segments that are read at a time [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  sealaudit verify ./sealgate-data --keys ./sealgate-data/gateway.pub
  sealaudit verify /mnt/audit --keys keys.txt --expect-logs fleet.txt --max-age 10m --state verified.json
  sealaudit verify /mnt/audit --keys keys.txt --since 7d --fail-on gap,open --format json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each finding, notice and log
    Text,
    /// One JSON object
    Json,
}

fn notice(text: &str) -> Result<NoticeKind, String> {
    let known = NoticeKind::ALL.iter().find(|kind| kind.as_str() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<&str> = NoticeKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("`{text}`: expected one of {}", all.join(", "))
    })
}

/// Verifies and prints the report.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let keys = Keyring::read(&arguments.keys)?;
    let state = match &arguments.state {
        Some(path) => State::read(path, &keys)?,
        None => State::default(),
    };
    let mut options = Options::new();
    options.expect = arguments.expect_logs.as_deref().map(read_names).transpose()?.unwrap_or_default();
    options.max_age = arguments.max_age;
    options.since = arguments.since;
    options.fail_on.clone_from(&arguments.fail_on);
    options.threads = arguments.threads.unwrap_or(options.threads);

    let archive = Archive::open(&arguments.store)?;
    let bar = bar();
    let (report, next_state) = verify(&archive, &keys, &options, &state, &|progress| show(&bar, progress))?;
    bar.finish_and_clear();

    let mut out = io::stdout().lock();
    match arguments.format {
        Format::Text => write!(out, "{report}")?,
        Format::Json => writeln!(out, "{:#}", report.to_json())?,
    }
    out.flush()?;
    Ok(match report.outcome() {
        Outcome::Ok => {
            if let Some(path) = &arguments.state {
                next_state.write(path)?;
            }
            Done::Good
        }
        Outcome::Failed => Done::Not,
        Outcome::Incomplete => Done::Incomplete,
    })
}

fn read_names(path: &Path) -> anyhow::Result<Vec<LogName>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("file of expected logs {}", path.display()))?;
    let names = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    names
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| line.parse().with_context(|| format!("{}, line {at}", path.display())))
        .collect()
}

/// A bar on a terminal; nothing elsewhere.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressBar::new(0).with_style(ProgressStyle::with_template(style).expect("the template is a constant"))
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    match progress {
        Progress::Log { name, bytes } => {
            bar.set_message(name.to_owned());
            bar.inc_length(bytes);
        }
        Progress::Read(bytes) => bar.inc(bytes),
    }
}
