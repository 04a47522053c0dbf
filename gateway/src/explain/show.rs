//! An explanation for people.

use std::fmt;

use super::routed::Says;
use super::{Answered, Explanation, Forwarded, Outcome, Routed};
use crate::config::Durability;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        match &self.outcome {
            Outcome::Forwarded(to) => self.forwarded(to, f),
            Outcome::Unauthenticated(answered) => {
                self.answered(answered, "the route asks for an identity, and none was given (--actor)", f)
            }
            Outcome::Denied(answered) => self.answered(answered, "no rule lets it in", f),
            Outcome::Redirected { status, listener, durability } => write!(
                f,
                "  sent to the same URL over TLS by the listener {listener}: it is answered {status}, {}",
                recorded(*durability)
            ),
            Outcome::NoRoute { status, host, path, routes, durability } => {
                let method = if *status == 405 { format!(", method {}", self.method) } else { String::new() };
                writeln!(
                    f,
                    "  no route takes host {host}, path {path}{method}: it is answered {status}, {}",
                    recorded(*durability)
                )?;
                let lines: Vec<String> =
                    routes.iter().map(|miss| format!("  not {}: {}", miss.route, miss.why)).collect();
                f.write_str(&lines.join("\n"))
            }
            Outcome::Refused { status, reason, why, durability } => write!(
                f,
                "  refused before routing: {why}: it is answered {status} ({reason}), {}",
                recorded(*durability)
            ),
        }
    }
}

impl Explanation {
    fn forwarded(&self, to: &Forwarded, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routed = &to.routed;
        let endpoints: Vec<String> = to.endpoints.iter().map(ToString::to_string).collect();
        place(routed, f)?;
        writeln!(f, "  upstream    {} at {}", to.upstream, endpoints.join(", "))?;
        writeln!(f, "  sent        {} {}", self.method, to.sent)?;
        for told in &to.identity_headers {
            writeln!(f, "              {}: {}", told.header, told.values.join(" or "))?;
        }
        writeln!(f, "  timeout     {}", to.timeout)?;
        door(routed, f)?;
        let from = match routed.durability_from.as_str() {
            "default" => "by default".into(),
            written => format!("by `{written}`"),
        };
        let mode = routed.durability;
        writeln!(f, "  durability  {}: {from}; {}", mode.as_str(), promise(mode))?;
        kept(routed, f)
    }

    fn answered(&self, answered: &Answered, why: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered { status, reason, routed } = answered;
        writeln!(f, "  {why}: it is answered {status} ({reason}), {}", recorded(routed.durability))?;
        place(routed, f)?;
        door(routed, f)?;
        kept(routed, f)
    }
}

fn place(routed: &Routed, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "  route       {} (routes[{}]): {}", routed.route, routed.index, routed.why)?;
    writeln!(f, "  host        {}", routed.host)?;
    writeln!(f, "  path        {}", routed.path)
}

/// Who asks, and what the rules say to that.
fn door(routed: &Routed, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "  auth        {}", routed.auth)?;
    if let Some(actor) = &routed.actor {
        write!(f, ": {actor}")?;
    }
    if !routed.groups.is_empty() {
        write!(f, ", in {}", routed.groups.join(", "))?;
    }
    writeln!(f)?;
    for (place, rule) in routed.rules.iter().enumerate() {
        let label = if place == 0 { "rules" } else { "" };
        match rule.says {
            Says::Matches => writeln!(f, "  {label:<10}  {} lets it in", rule.name)?,
            Says::NotReached => writeln!(f, "  {label:<10}  {} is not reached", rule.name)?,
            Says::DoesNotMatch => writeln!(f, "  {label:<10}  not {}: {}", rule.name, rule.why.join("; "))?,
        }
    }
    if let Some(action) = &routed.action {
        writeln!(f, "  action      {action}")?;
    }
    Ok(())
}

/// What the record keeps.
fn kept(routed: &Routed, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let headers = if routed.headers.is_empty() { "none".into() } else { routed.headers.join(", ") };
    let Routed { recorded_path, query, body_digest, .. } = routed;
    write!(
        f,
        "  recorded    path: {recorded_path}; headers: {headers}; query: {query}; body digests: {body_digest}"
    )
}

/// Whether what the gateway answers by itself is on the log.
fn recorded(mode: Durability) -> &'static str {
    match mode {
        Durability::Strict | Durability::Buffered => "and recorded",
        Durability::BestEffort => "and recorded where there is room for it: what is lost is declared",
    }
}

/// What a mode promises, in a line.
fn promise(mode: Durability) -> &'static str {
    match mode {
        Durability::Strict => {
            "a `received` record is synced before it goes upstream, a crash loses none; 503 when that cannot be"
        }
        Durability::Buffered => {
            "a place for its record is reserved first, a crash loses at most `sync_interval`; 503 when there is none"
        }
        Durability::BestEffort => {
            "it is served whether a record can be kept or not; what is lost is declared"
        }
    }
}
