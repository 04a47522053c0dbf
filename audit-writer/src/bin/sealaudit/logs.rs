//! `sealaudit logs`.

use std::io::{self, Write as _};

use audit_writer::archive::Archive;
use audit_writer::search::Overview;
use audit_writer::time::Timestamp;
use audit_writer::verify::Ago;
use clap::Args;

use crate::Done;
use crate::output::{self, Format};

/// The arguments of `logs`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store: a directory, file:///path, or a gateway's data or spool directory
    store: String,
    /// How logs are written [default: table on a terminal, ndjson on a pipe]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

const EXAMPLES: &str = "\
The age is that of the newest record that the last checkpoint covers. Nothing is verified here.

Example:
  sealaudit logs /mnt/audit";

/// Lists the logs of a store.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let views = Archive::open(&arguments.store)?.views()?;
    let now = Timestamp::now();
    let overviews: Vec<Overview> = views.iter().map(|view| Overview::of(view, now)).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match Format::or_by_terminal(arguments.format) {
        Format::Ndjson => {
            for overview in &overviews {
                serde_json::to_writer(&mut out, overview).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Format::Table => {
            let mut table = output::new_table(&[
                "LOG",
                "RECORDS",
                "UNSEALED",
                "SEGMENTS",
                "CHECKPOINTS",
                "FIRST",
                "LAST",
                "AGE",
            ]);
            for overview in &overviews {
                let time = |ts: Option<Timestamp>| ts.map(|ts| ts.to_string()).unwrap_or_default();
                table.add_row([
                    overview.log.to_string(),
                    overview.records.to_string(),
                    overview.unsealed.map(|records| records.to_string()).unwrap_or_default(),
                    overview.segments.to_string(),
                    overview.checkpoints.to_string(),
                    time(overview.first),
                    time(overview.last),
                    overview.checkpoint_age_s.map(|age| Ago(age).to_string()).unwrap_or_default(),
                ]);
            }
            if !overviews.is_empty() {
                writeln!(out, "{}", table.trim_fmt())?;
            }
        }
    }
    out.flush()?;
    if overviews.is_empty() {
        writeln!(io::stderr(), "sealaudit: no log in {}", arguments.store)?;
        return Ok(Done::Not);
    }
    Ok(Done::Good)
}
