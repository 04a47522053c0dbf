//! Filters as they are typed.

use audit_writer::archive::{Archive, LogView};
use audit_writer::record::Kind;
use audit_writer::search::{Filter, Network, Pattern, Statuses};
use audit_writer::time::Timestamp;
use clap::Args;

use crate::when;

/// The same filter repeated: any of. Different filters: all of.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters (the same one repeated: any of; different ones: all of)")]
pub(crate) struct Filters {
    /// Records of this time or later: RFC 3339, a date, or 15m / 7d ago
    #[arg(long, value_name = "TIME", value_parser = when::instant)]
    since: Option<Timestamp>,
    /// Records of this time or earlier
    #[arg(long, value_name = "TIME", value_parser = when::instant)]
    until: Option<Timestamp>,
    /// Logs by name, `*` for anything
    #[arg(long, value_name = "NAME")]
    log: Vec<Pattern>,
    /// Who asked
    #[arg(long, value_name = "ID")]
    actor: Vec<String>,
    /// A group of who asked
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,
    /// What the route calls it
    #[arg(long, value_name = "NAME")]
    action: Vec<String>,
    /// The route
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// The method
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// The status, or a class: 404, 4xx
    #[arg(long, value_name = "STATUS")]
    status: Vec<Statuses>,
    /// The path; `*` stands for anything, slashes too
    #[arg(long, value_name = "GLOB")]
    path: Vec<Pattern>,
    /// The client's address or network
    #[arg(long, value_name = "CIDR")]
    source: Vec<Network>,
    /// The request's id; a UUIDv7 is found by its own time
    #[arg(long, value_name = "ID")]
    request_id: Vec<String>,
    /// The trace's id
    #[arg(long, value_name = "ID")]
    trace_id: Vec<String>,
    /// received, completed, aborted, rejected, gap or lifecycle
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<String>,
    /// The rule that decided
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// What was decided: allow, deny
    #[arg(long, value_name = "OUTCOME", value_parser = ["allow", "deny"])]
    outcome: Vec<String>,
}

fn kind(text: &str) -> Result<String, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.map(|kind| kind.as_str().to_owned()).ok_or_else(|| {
        let all: Vec<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
        format!("`{text}`: expected one of {}", all.join(", "))
    })
}

impl Filters {
    /// What records must be.
    pub(crate) fn filter(&self) -> Filter {
        let Filters {
            since, until, log: _, actor, groups, action, route, method, status, path, source, ..
        } = self.clone();
        let Filters { request_id, trace_id, kind, rule, outcome, .. } = self.clone();
        let from_seq = audit_writer::ids::Seq(0);
        Filter {
            from_seq,
            since,
            until,
            actor,
            groups,
            action,
            route,
            method,
            status,
            path,
            source,
            request_id,
            trace_id,
            kind,
            rule,
            outcome,
        }
    }

    /// Which logs are asked for.
    pub(crate) fn logs(&self) -> &[Pattern] {
        &self.log
    }

    /// The logs of an archive that are asked for.
    pub(crate) fn views(&self, archive: &Archive) -> anyhow::Result<Vec<LogView>> {
        let mut views = archive.views()?;
        views.retain(|view| self.log.is_empty() || self.log.iter().any(|log| log.fits(view.name.as_str())));
        Ok(views)
    }
}
