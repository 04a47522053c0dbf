//! `sealaudit show`.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use anyhow::Context as _;
use audit_writer::archive::Archive;
use audit_writer::checkpoint::LogName;
use audit_writer::ids::Seq;
use audit_writer::search::{Filter, Summary, find_record, search};
use clap::Args;

use crate::output::{self, Format};
use crate::{Done, search as search_command};

/// The arguments of `show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store: a directory, file:///path, or a gateway's data or spool directory
    store: String,
    /// A request's id, or a record's place: LOG#SEQ
    #[arg(value_name = "REQUEST-ID|LOG#SEQ")]
    what: String,
    /// How records are written: `table` indents them [default: table on a terminal, ndjson on a pipe]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

const EXAMPLES: &str = "\
Examples:
  sealaudit show ./sealgate-data 0199c3f2-7b1e-7cc0-8000-00000000000a
  sealaudit show /mnt/audit audit.example.com/gw-1#40211";

/// Finds the record, or all records of the request, and prints them whole.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let archive = Archive::open(&arguments.store)?;
    let views = archive.views()?;
    let mut hits = Vec::new();
    let summary = match arguments.what.rsplit_once('#') {
        Some((log, seq)) => {
            let log: LogName = log.parse().with_context(|| format!("`{}`", arguments.what))?;
            let seq: Seq =
                seq.parse().with_context(|| format!("`{}`: a record is named LOG#SEQ", arguments.what))?;
            match views.iter().find(|view| view.name == log) {
                Some(view) => {
                    let (hit, summary) = find_record(view, seq)?;
                    hits.extend(hit);
                    summary
                }
                None => Summary::default(),
            }
        }
        None => {
            let filter = Filter { request_id: vec![arguments.what.clone()], ..Filter::default() };
            search(&views, &filter, None, |hit| {
                hits.push(hit);
                ControlFlow::Continue(())
            })?
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for hit in &hits {
        match Format::or_by_terminal(arguments.format) {
            Format::Ndjson => output::write_line(&mut out, hit)?,
            Format::Table => {
                let state = if hit.unsealed { " (unsealed)" } else { "" };
                let json = output::indented(&output::printable(&String::from_utf8_lossy(&hit.line)));
                writeln!(out, "log {} seq {}{state}\n{json}", hit.log, hit.seq)?;
            }
        }
    }
    out.flush()?;
    search_command::finish(&mut io::stderr().lock(), &summary)
}
