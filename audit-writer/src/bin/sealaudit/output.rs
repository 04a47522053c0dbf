//! Records for people and for programs.

use std::io::{self, IsTerminal as _, Write};

use audit_writer::search::{Decision, Hit, Record};
use clap::ValueEnum;
use comfy_table::{Table, presets};

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// The stored lines; `"unsealed":true` is added to those that only a spool has
    Ndjson,
}

impl Format {
    /// What was asked for; else a table on a terminal, and NDJSON on a pipe.
    pub(crate) fn or_by_terminal(format: Option<Format>) -> Format {
        let default = if io::stdout().is_terminal() { Format::Table } else { Format::Ndjson };
        format.unwrap_or(default)
    }
}

/// The stored line; of a record that is not sealed, with a last member that says so.
pub(crate) fn write_line(out: &mut impl Write, hit: &Hit) -> io::Result<()> {
    match hit.line.strip_suffix(b"}").filter(|_| hit.unsealed) {
        Some(open) => {
            out.write_all(open)?;
            out.write_all(b",\"unsealed\":true}\n")
        }
        None => {
            out.write_all(&hit.line)?;
            out.write_all(b"\n")
        }
    }
}

/// All records as one table.
pub(crate) fn write_table(out: &mut impl Write, hits: &[Hit]) -> io::Result<()> {
    let several_logs = hits.windows(2).any(|pair| pair[0].log != pair[1].log);
    let any_unsealed = hits.iter().any(|hit| hit.unsealed);
    let rows: Vec<Cells> = hits.iter().map(Cells::of).collect();
    // Columns that nothing stands in are left out.
    let any = |cell: Cell| rows.iter().any(|row| !row.0[cell as usize].is_empty());
    let shown: Vec<Cell> =
        Cell::ALL.into_iter().filter(|cell| !cell.may_be_left_out() || any(*cell)).collect();
    let mut head = vec!["TIME"];
    head.extend(several_logs.then_some("LOG"));
    head.push("SEQ");
    head.extend(shown.iter().map(|cell| cell.head()));
    head.extend(any_unsealed.then_some("STATE"));
    let mut table = new_table(&head);
    for (hit, mut cells) in hits.iter().zip(rows) {
        let mut row = vec![hit.ts.to_string()];
        row.extend(several_logs.then(|| hit.log.to_string()));
        row.push(hit.seq.to_string());
        row.extend(shown.iter().map(|cell| std::mem::take(&mut cells.0[*cell as usize])));
        row.extend(any_unsealed.then(|| state(hit).to_owned()));
        table.add_row(row);
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// One record on one line, for a stream that has no end to align columns by.
pub(crate) fn write_row(out: &mut impl Write, hit: &Hit) -> io::Result<()> {
    let cells: Vec<String> = Cells::of(hit).0.into_iter().filter(|cell| !cell.is_empty()).collect();
    writeln!(out, "{} {}#{} {} {}", hit.ts, hit.log, hit.seq, cells.join(" "), state(hit))
}

/// An empty table without lines, with these heads.
pub(crate) fn new_table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().copied());
    table
}

fn state(hit: &Hit) -> &'static str {
    if hit.unsealed { "unsealed" } else { "" }
}

/// What a table shows of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    What,
    Status,
    Method,
    Host,
    Path,
    Route,
    Action,
    Actor,
    Decision,
    Source,
    Ms,
    End,
    RequestId,
}

impl Cell {
    const ALL: [Cell; 13] = [
        Cell::What,
        Cell::Status,
        Cell::Method,
        Cell::Host,
        Cell::Path,
        Cell::Route,
        Cell::Action,
        Cell::Actor,
        Cell::Decision,
        Cell::Source,
        Cell::Ms,
        Cell::End,
        Cell::RequestId,
    ];

    fn head(self) -> &'static str {
        match self {
            Cell::What => "WHAT",
            Cell::Status => "STATUS",
            Cell::Method => "METHOD",
            Cell::Host => "HOST",
            Cell::Path => "PATH",
            Cell::Route => "ROUTE",
            Cell::Action => "ACTION",
            Cell::Actor => "ACTOR",
            Cell::Decision => "DECISION",
            Cell::Source => "SOURCE",
            Cell::Ms => "MS",
            Cell::End => "END",
            Cell::RequestId => "REQUEST ID",
        }
    }

    /// Whether a table without any value of it goes without the column.
    fn may_be_left_out(self) -> bool {
        matches!(self, Cell::Action | Cell::Actor | Cell::Decision)
    }
}

/// The texts of one record, in the order of [`Cell::ALL`].
struct Cells([String; Cell::ALL.len()]);

impl Cells {
    fn of(hit: &Hit) -> Cells {
        let Ok(record) = Record::parse(&hit.line) else {
            return Cells(Cell::ALL.map(|cell| match cell {
                Cell::What => "(no record)".to_owned(),
                _ => String::new(),
            }));
        };
        Cells(Cell::ALL.map(|cell| text(cell, &record)))
    }
}

fn text(cell: Cell, record: &Record<'_>) -> String {
    let text = |text: Option<&str>| text.map(printable).unwrap_or_default();
    let request = record.request.as_ref();
    match cell {
        Cell::What => printable(&what(record)),
        Cell::Status => {
            let status = record.response.and_then(|response| response.status);
            status.map(|status| status.to_string()).unwrap_or_default()
        }
        Cell::Method => text(request.and_then(|request| request.method.as_deref())),
        Cell::Host => text(request.and_then(|request| request.host.as_deref())),
        Cell::Path => text(request.and_then(|request| request.path.as_deref())),
        Cell::Route => text(record.route.as_deref()),
        Cell::Action => text(record.action.as_deref()),
        Cell::Actor => text(record.actor.as_ref().and_then(|actor| actor.id.as_deref())),
        Cell::Decision => record.decision.as_ref().map(decided).unwrap_or_default(),
        Cell::Source => text(record.source.as_ref().and_then(|source| source.ip.as_deref())),
        Cell::Ms => {
            let shown = |us: u64| format!("{}.{:03}", us / 1000, us % 1000);
            record.duration_us.map(shown).unwrap_or_default()
        }
        Cell::End => text(record.end.as_deref()),
        Cell::RequestId => text(record.request_id.as_deref()),
    }
}

/// The kind, and what tells records of a kind apart.
fn what(record: &Record<'_>) -> String {
    match (&*record.kind, record.event.as_deref(), record.reason.as_deref()) {
        (kind, Some(event), _) => format!("{kind} {event}"),
        ("gap", _, Some(reason)) => {
            format!("gap {} {reason}", record.lost.map_or_else(|| "?".to_owned(), |lost| lost.to_string()))
        }
        (kind, _, Some(reason)) => format!("{kind} {reason}"),
        (kind, ..) => kind.to_owned(),
    }
}

/// What was decided, and by which rule: `allow (ops-read)`, `deny`.
fn decided(decision: &Decision<'_>) -> String {
    let outcome = decision.outcome.as_deref().unwrap_or("?");
    printable(&match decision.rule.as_deref() {
        Some(rule) => format!("{outcome} ({rule})"),
        None => outcome.to_owned(),
    })
}

/// The text without anything that a terminal would obey; what a client sent must not move a cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect()
}

/// A JSON text with line breaks and indentation; its members stay in their order and in their spelling.
pub(crate) fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push(c);
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                if let Some(end) = chars.next_if(|&next| next == '}' || next == ']') {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_json_keeps_order_and_spelling() {
        let json = r#"{"z":1,"a":{"b":[1,2],"c":{}},"d":"x,{\"y\":[","e":[]}"#;
        let expected = "{\n  \"z\": 1,\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ],\n    \"c\": {}\n  },\n  \"d\": \"x,{\\\"y\\\":[\",\n  \"e\": []\n}";
        assert_eq!(indented(json), expected);
    }

    #[test]
    fn nothing_that_a_client_sent_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("/a\u{1b}[2J\r\n\u{9b}é"), "/a\\u001b[2J\\u000d\\u000a\\u009bé");
    }
}
