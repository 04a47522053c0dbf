//! From a record's borrowed fields to the bytes that the ring carries.

use std::borrow::Cow;

use serde::Serialize;

use super::{
    ActorId, Cut, Ended, Gap, Headers, Kind, KindEnded, MAX_LINE, QueryKeys, QueryPairs, Received, Rejected,
    Request, Source, Trunc,
};
use crate::ids::Seq;
use crate::merkle::Hash;
use crate::segment::Facts;
use crate::time::Timestamp;

/// What every serialised record begins with before its number is known; the writer replaces it.
const UNNUMBERED: &[u8] = br#"{"seq":0"#;
const NUMBERED: &[u8] = br#"{"seq":"#;
/// Bytes that the largest number adds to the shortest.
const NUMBER_GROWS: usize = 19;
/// Most records fit: no second allocation.
const USUAL: usize = 1024;
/// The least that a value is cut to; the values that a client can set are then far below the least `max_record`.
const LEAST_CAP: usize = 16;

/// A serialised record on its way to the writer, with the few facts that the index needs.
#[derive(Debug)]
pub struct Entry {
    bytes: Vec<u8>,
    kind: Kind,
    ts: Timestamp,
    actor: Option<ActorId>,
    route: Option<super::RouteName>,
    status: Option<u16>,
    gap: Option<Option<u64>>,
}

impl Entry {
    /// A request that ended, on a line of at most `max_record` bytes: longer values are cut, and `trunc` says so.
    pub fn ended(record: &Ended<'_>, max_record: usize) -> Entry {
        let kind = match record.kind {
            KindEnded::Completed => Kind::Completed,
            KindEnded::Aborted => Kind::Aborted,
        };
        let bytes = within(max_record, serialise(record), |cap| {
            let mut trunc = Trunc::new();
            let cuts = Cuts::of(&record.source, &record.request, cap, &mut trunc);
            serialise(&Ended {
                source: cuts.source(&record.source),
                request: cuts.request(&record.request),
                trunc: Some(&trunc),
                ..record.clone()
            })
        });
        let status = record.response.map(|response| response.status);
        let actor = record.actor.as_ref().map(|actor| actor.id.clone());
        Entry { bytes, kind, ts: record.ts, actor, route: record.route.cloned(), status, gap: None }
    }

    /// A request that will be served and lives long.
    pub fn received(record: &Received<'_>, max_record: usize) -> Entry {
        let bytes = within(max_record, serialise(record), |cap| {
            let mut trunc = Trunc::new();
            let cuts = Cuts::of(&record.source, &record.request, cap, &mut trunc);
            serialise(&Received {
                source: cuts.source(&record.source),
                request: cuts.request(&record.request),
                trunc: Some(&trunc),
                ..record.clone()
            })
        });
        Entry {
            bytes,
            kind: Kind::Received,
            ts: record.ts,
            actor: record.actor.as_ref().map(|actor| actor.id.clone()),
            route: record.route.cloned(),
            status: None,
            gap: None,
        }
    }

    /// An attempt that never became a request. Nothing in it is of a client's length.
    pub fn rejected(record: &Rejected<'_>) -> Entry {
        let status = record.response.map(|response| response.status);
        Entry {
            bytes: serialise(record),
            kind: Kind::Rejected,
            ts: record.ts,
            actor: None,
            route: None,
            status,
            gap: None,
        }
    }

    /// Records that could not be kept.
    pub(crate) fn gap(record: &Gap<'_>) -> Entry {
        let gap = Some(record.lost);
        Entry {
            bytes: serialise(record),
            kind: Kind::Gap,
            ts: record.ts,
            actor: None,
            route: None,
            status: None,
            gap,
        }
    }

    /// A record of the log itself.
    pub(crate) fn lifecycle(record: &impl Serialize, ts: Timestamp) -> Entry {
        Entry {
            bytes: serialise(record),
            kind: Kind::Lifecycle,
            ts,
            actor: None,
            route: None,
            status: None,
            gap: None,
        }
    }

    /// What the record tells of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When it happened.
    pub(crate) fn ts(&self) -> Timestamp {
        self.ts
    }

    /// The id of its request, where it tells of one.
    pub(crate) fn request_id(&self) -> Option<&str> {
        const BETWEEN: &[u8] = br#"","request_id":""#;
        let before = br#"{"seq":0,"v":1,"kind":""#.len() + self.kind.as_str().len();
        let boot_ends = before + br#"","ts":""#.len() + Timestamp::LEN + br#"","boot":"01234567"#.len();
        let rest = self.bytes.get(boot_ends..)?.strip_prefix(BETWEEN)?;
        std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == b'"')?]).ok()
    }

    /// The line's bytes with the shortest number, without its newline.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the entry is empty: never.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The line with its number and a newline, at the end of `out`.
    pub(crate) fn number(&self, seq: Seq, out: &mut Vec<u8>) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = seq.0;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(NUMBERED);
        out.extend_from_slice(&digits[at..]);
        out.extend_from_slice(&self.bytes[UNNUMBERED.len()..]);
        out.push(b'\n');
    }

    /// What the index takes from the record.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            ts: self.ts,
            kind: self.kind,
            actor: self.actor.as_ref().map(ActorId::as_str),
            route: self.route.as_ref().map(super::RouteName::as_str),
            status: self.status,
            gap: self.gap,
        }
    }
}

fn serialise(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut bytes, record)
        .expect("a record has string keys only, and a Vec takes every write");
    debug_assert!(bytes.starts_with(UNNUMBERED));
    bytes
}

/// `whole` where it fits, else the first of ever shorter forms that does.
fn within(max_record: usize, whole: Vec<u8>, cut_to: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let limit = max_record.min(MAX_LINE) - NUMBER_GROWS;
    if whole.len() <= limit {
        return whole;
    }
    let mut cap = limit / 2;
    loop {
        let bytes = cut_to(cap);
        if bytes.len() <= limit || cap <= LEAST_CAP {
            return bytes;
        }
        cap = (cap / 2).max(LEAST_CAP);
    }
}

/// The values of a client's that were longer than `cap`, shortened.
struct Cuts<'a> {
    claimed: Vec<Cow<'a, str>>,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    raw: Option<&'a str>,
    query: &'a str,
    pairs: &'a str,
    headers: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Cuts<'a> {
    fn of(source: &Source<'a>, request: &Request<'a>, cap: usize, trunc: &mut Trunc) -> Cuts<'a> {
        let mut left = cap;
        let claimed: Vec<_> =
            source.claimed.iter().take_while(|address| take(&mut left, address.len())).cloned().collect();
        if claimed.len() < source.claimed.len() {
            note(trunc, "source.claimed", &source.claimed.join(","));
        }
        let mut left = cap;
        let headers: Vec<_> = request
            .headers
            .0
            .iter()
            .map_while(|(name, value)| {
                // A header that fell off for want of room has an entry as well: more of them than fit are named together.
                take(&mut left, name.len())
                    .then(|| (*name, shorten_cow(trunc, &format!("request.headers.{name}"), value, cap)))
            })
            .collect();
        if headers.len() < request.headers.0.len() {
            let rest = &request.headers.0[headers.len()..];
            let lines: Vec<_> = rest.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            note(trunc, "request.headers", &lines.join("\n"));
        }
        Cuts {
            claimed,
            method: shorten(trunc, "request.method", request.method, cap),
            host: shorten(trunc, "request.host", request.host, cap),
            path: shorten(trunc, "request.path", request.path, cap),
            raw: request.raw.map(|raw| shorten(trunc, "request.raw", raw, cap)),
            query: shorten_query(trunc, request.query, cap),
            pairs: shorten_pairs(trunc, request.query_values, cap),
            headers,
        }
    }

    fn source<'b>(&'b self, source: &Source<'b>) -> Source<'b> {
        Source { claimed: &self.claimed, ..source.clone() }
    }

    fn request<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        Request {
            method: self.method,
            host: self.host,
            path: self.path,
            raw: self.raw,
            query: QueryKeys(self.query),
            query_values: QueryPairs(self.pairs),
            headers: Headers(&self.headers),
            ..request.clone()
        }
    }
}

/// Takes `bytes` of what is left, if there are so many.
fn take(left: &mut usize, bytes: usize) -> bool {
    let fits = bytes <= *left;
    *left = left.saturating_sub(bytes);
    fits
}

fn note(trunc: &mut Trunc, field: &str, whole: &str) {
    trunc.insert(field.to_owned(), Cut { bytes: whole.len() as u64, sha256: Hash::of(whole.as_bytes()) });
}

fn shorten<'a>(trunc: &mut Trunc, field: &str, value: &'a str, cap: usize) -> &'a str {
    if value.len() <= cap {
        return value;
    }
    note(trunc, field, value);
    &value[..value.floor_char_boundary(cap)]
}

fn shorten_cow<'a>(trunc: &mut Trunc, field: &str, value: &Cow<'a, str>, cap: usize) -> Cow<'a, str> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(shorten(trunc, field, value, cap)),
        Cow::Owned(value) => Cow::Owned(shorten(trunc, field, value, cap).to_owned()),
    }
}

/// Only whole keys are kept, so that no part of a value can be taken for one. The digest is of the keys alone.
fn shorten_query<'a>(trunc: &mut Trunc, query: QueryKeys<'a>, cap: usize) -> &'a str {
    let keys = query.iter().map(|key| key.len() + 1).sum::<usize>();
    if keys <= cap {
        return query.0;
    }
    note(trunc, "request.query", &query.iter().collect::<Vec<_>>().join("&"));
    while_they_fit(query.0, cap, |pair| pair.split_once('=').map_or(pair, |(key, _)| key).len())
}

/// Only whole pairs are kept. The digest is of the pairs joined by `&`.
fn shorten_pairs<'a>(trunc: &mut Trunc, pairs: QueryPairs<'a>, cap: usize) -> &'a str {
    if pairs.iter().map(|pair| pair.len() + 1).sum::<usize>() <= cap {
        return pairs.0;
    }
    note(trunc, "request.query_values", &pairs.iter().collect::<Vec<_>>().join("&"));
    while_they_fit(pairs.0, cap, str::len)
}

/// The first pairs of a query, as many as fit by what of each counts.
fn while_they_fit(query: &str, cap: usize, counts: impl Fn(&str) -> usize) -> &str {
    let mut left = cap;
    let mut end = 0;
    let mut begin = 0;
    for pair in query.split('&') {
        if !take(&mut left, counts(pair) + 1) {
            break;
        }
        end = begin + pair.len();
        begin = end + 1;
    }
    &query[..end]
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use proptest::prelude::*;

    fn ended<'a>(
        path: &'a str,
        query: &'a str,
        headers: &'a [(&'a str, Cow<'a, str>)],
        claimed: &'a [Cow<'a, str>],
    ) -> Ended<'a> {
        Ended {
            seq: Unnumbered,
            v: V1,
            kind: KindEnded::Completed,
            ts: Timestamp::from_micros(1_764_000_000_123_456),
            boot: "9f3c01aa",
            request_id: "0199c3f2-0000-7000-8000-000000000000",
            trace_id: None,
            listener: "edge",
            actor: None,
            source: Source { ip: [203, 0, 113, 9].into(), port: 51234, peer: None, claimed },
            tls: None,
            request: Request {
                method: "GET",
                scheme: "http",
                host: "api.example.com",
                path,
                raw: None,
                query: QueryKeys(query),
                query_values: QueryPairs(""),
                http: "1.1",
                bytes: 0,
                body_sha256: None,
                content_digest: None,
                headers: Headers(headers),
            },
            route: None,
            action: None,
            decision: None,
            upstream: None,
            response: Some(Response { status: 200, bytes: 1024, body_sha256: None }),
            end: End::Ok,
            error: None,
            duration_us: 1034,
            config: "3f6a0011",
            trunc: None,
        }
    }

    fn line(entry: &Entry, seq: u64) -> String {
        let mut out = Vec::new();
        entry.number(Seq(seq), &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn a_record_begins_as_the_format_says_and_leaves_out_what_has_no_value() {
        let line = line(&Entry::ended(&ended("/orders/42", "page=2&q", &[], &[]), 8192), 5_120_334);
        assert_eq!(
            line,
            concat!(
                r#"{"seq":5120334,"v":1,"kind":"completed","ts":"2025-11-24T16:00:00.123456Z","boot":"9f3c01aa","#,
                r#""request_id":"0199c3f2-0000-7000-8000-000000000000","listener":"edge","source":{"ip":"203.0.113.9","#,
                r#""port":51234},"request":{"method":"GET","scheme":"http","host":"api.example.com","path":"/orders/42","#,
                r#""query":["page","q"],"http":"1.1","bytes":0},"response":{"status":200,"bytes":1024},"end":"ok","#,
                r#""duration_us":1034,"config":"3f6a0011"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_long_value_is_cut_and_the_record_says_what_it_was() {
        let path = format!("/{}", "é".repeat(50_000));
        let line = line(&Entry::ended(&ended(&path, "", &[], &[]), 8192), u64::MAX);
        assert!(line.len() <= 8193, "{}", line.len());
        let value: serde_json::Value = serde_json::from_str(&line).expect("a JSON object");
        assert_eq!(value["trunc"]["request.path"]["bytes"], 100_001);
        assert_eq!(value["trunc"]["request.path"]["sha256"], Hash::of(path.as_bytes()).to_string());
        assert!(path.starts_with(value["request"]["path"].as_str().expect("a string")));
    }

    #[test]
    fn the_value_of_a_query_key_never_enters_a_record_even_when_cut() {
        let query = (0..5000).map(|n| format!("key{n}=secret{n}")).collect::<Vec<_>>().join("&");
        let line = line(&Entry::ended(&ended("/", &query, &[], &[]), 2048), 0);
        assert!(line.len() <= 2049 && line.contains("key0") && !line.contains("secret"), "{line}");
    }

    #[test]
    fn query_values_are_kept_as_they_were_written_and_cut_by_whole_pairs() {
        let kept = |query: &str, max| {
            let mut record = ended("/", query, &[], &[]);
            record.request.query_values = QueryPairs(query);
            let line = line(&Entry::ended(&record, max), 0);
            serde_json::from_str::<serde_json::Value>(&line).expect("a JSON object")
        };
        let short = kept("page=2&&flag&empty=&=v&page=%C3%A9", 8192);
        assert_eq!(
            short["request"]["query_values"],
            serde_json::json!(["page=2", "flag", "empty=", "=v", "page=%C3%A9"])
        );
        assert_eq!(short["request"]["query"], serde_json::json!(["page", "flag", "empty", "page"]));
        assert!(kept("&&", 8192)["request"].get("query_values").is_none());

        let query = (0..500).map(|n| format!("k{n}=value{n}")).collect::<Vec<_>>().join("&");
        let long = kept(&query, 4096);
        assert_eq!(long["trunc"]["request.query_values"]["bytes"], query.len());
        assert_eq!(long["trunc"]["request.query_values"]["sha256"], Hash::of(query.as_bytes()).to_string());
        let pairs = long["request"]["query_values"].as_array().expect("some were kept");
        assert!(pairs.iter().zip(query.split('&')).all(|(kept, sent)| kept == sent) && pairs.len() > 50);
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_the_line_fits_and_is_json(
            path in "\\PC{0,3000}", query in "[a-z=&%]{0,5000}", seq in any::<u64>(), keeps_values in any::<bool>(), max in 2048usize..=65_535,
            headers in proptest::collection::vec("\\PC{0,3000}", 0..8), claimed in proptest::collection::vec("\\PC{0,500}", 0..50),
        ) {
            let names: Vec<_> = (0..headers.len()).map(|n| format!("x-{n}")).collect();
            let headers: Vec<_> = names.iter().zip(&headers).map(|(n, v)| (n.as_str(), Cow::from(v.as_str()))).collect();
            let claimed: Vec<_> = claimed.iter().map(|c| Cow::from(c.as_str())).collect();
            let mut record = ended(&path, &query, &headers, &claimed);
            record.request.query_values = QueryPairs(if keeps_values { &query } else { "" });
            let line = line(&Entry::ended(&record, max), seq);
            prop_assert!(line.len() <= max + 1, "{} > {max}", line.len());
            let value: serde_json::Value = serde_json::from_str(&line).expect("a JSON object");
            prop_assert_eq!(value["seq"].as_u64(), Some(seq));
        }
    }
}
