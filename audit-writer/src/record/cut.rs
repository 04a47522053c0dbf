//! Cutting what others set to a length that a record has room for.
//!
//! All values are cut to the same length, the longest at which the line fits; of lists, whole items are kept, as many
//! as fit. `trunc` says what each value was. Where not even the shortest cuts leave room, what a record can do without
//! is left out, and `trunc` has the one entry `*` for all of it. So every record fits into [`LEAST_MAX_RECORD`] bytes.
//!
//! The id of an actor, which searches and the index go by, is cut only then.

use std::borrow::Cow;

use super::{Actor, ActorId, Cut, Headers, MAX_LINE, QueryKeys, QueryPairs, Request, Source, Tls, Trunc};
use crate::merkle::Hash;

/// The least that `max_record` may be: bytes that every record fits into, whatever anybody sets.
pub const LEAST_MAX_RECORD: usize = 2048;

/// Bytes that the largest number adds to the shortest.
const NUMBER_GROWS: usize = 19;
/// The least that values are cut to.
const LEAST_CAP: usize = 16;
/// Bytes of an actor's id that are kept in any case.
const LEAST_ACTOR: usize = 64;

/// How much room values have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So many bytes each.
    Each(usize),
    /// As few as can be: what may be left out is left out.
    Least,
}

/// `whole` where it fits, else the first of ever shorter forms that does.
pub(super) fn within(max_record: usize, whole: Vec<u8>, mut cut_to: impl FnMut(Room) -> Vec<u8>) -> Vec<u8> {
    let limit = max_record.min(MAX_LINE) - NUMBER_GROWS;
    if whole.len() <= limit {
        return whole;
    }
    let mut cap = limit / 2;
    while cap >= LEAST_CAP {
        let bytes = cut_to(Room::Each(cap));
        if bytes.len() <= limit {
            return bytes;
        }
        cap /= 2;
    }
    cut_to(Room::Least)
}

/// The values of a record, shortened where they were too long.
pub(super) struct Cuts<'a> {
    trunc: Trunc,
    actor: Option<ActorId>,
    groups: &'a [Box<str>],
    claimed: Vec<Cow<'a, str>>,
    tls: Tls<'a>,
    request: CutRequest<'a>,
}

/// The values of a request.
#[derive(Default)]
struct CutRequest<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    raw: Option<&'a str>,
    query: &'a str,
    pairs: &'a str,
    headers: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Cuts<'a> {
    pub(super) fn of(
        source: &Source<'a>,
        request: Option<&Request<'a>>,
        actor: Option<&Actor<'a>>,
        tls: Option<Tls<'a>>,
        room: Room,
    ) -> Cuts<'a> {
        let mut trunc = Trunc::new();
        let (cap, lists) = match room {
            Room::Each(cap) => (cap, cap),
            Room::Least => (LEAST_CAP, 0),
        };
        let claimed = first_items(source.claimed, lists);
        if claimed.len() < source.claimed.len() {
            note(&mut trunc, "source.claimed", &source.claimed.join(","));
        }
        let groups = actor.map(|actor| actor.groups).unwrap_or_default();
        let mut cuts = Cuts {
            actor: actor.map(|actor| match room {
                Room::Least if actor.id.as_str().len() > LEAST_ACTOR => {
                    ActorId::new(shorten(&mut trunc, "actor.id", actor.id.as_str(), LEAST_ACTOR))
                }
                Room::Each(_) | Room::Least => actor.id.clone(),
            }),
            groups: first_texts(&mut trunc, "actor.groups", groups, lists),
            claimed: claimed.to_vec(),
            tls: tls.map(|tls| cut_tls(&mut trunc, tls, cap, room)).unwrap_or_default(),
            request: request
                .map(|request| CutRequest::of(&mut trunc, request, cap, room))
                .unwrap_or_default(),
            trunc,
        };
        if room == Room::Least {
            cuts.trunc = together(&cuts.trunc);
        }
        cuts
    }

    /// What the values were.
    pub(super) fn trunc(&self) -> &Trunc {
        &self.trunc
    }

    /// The actor's id, as the record has it.
    pub(super) fn actor_id(&self) -> Option<ActorId> {
        self.actor.clone()
    }

    pub(super) fn actor<'b>(&'b self, actor: Option<&Actor<'b>>) -> Option<Actor<'b>> {
        let id = self.actor.as_ref()?;
        actor.map(|actor| Actor { id, groups: self.groups, ..actor.clone() })
    }

    pub(super) fn source<'b>(&'b self, source: &Source<'b>) -> Source<'b> {
        Source { claimed: &self.claimed, ..source.clone() }
    }

    pub(super) fn tls(&self, tls: Option<Tls<'a>>) -> Option<Tls<'a>> {
        tls.map(|_| self.tls)
    }

    pub(super) fn request<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let CutRequest { method, host, path, raw, query, pairs, headers } = &self.request;
        Request {
            method,
            host,
            path,
            raw: *raw,
            query: QueryKeys(query),
            query_values: QueryPairs(pairs),
            headers: Headers(headers),
            ..request.clone()
        }
    }
}

fn cut_tls<'a>(trunc: &mut Trunc, tls: Tls<'a>, cap: usize, room: Room) -> Tls<'a> {
    Tls {
        sni: tls.sni.map(|sni| shorten(trunc, "tls.sni", sni, cap)),
        client_cert_subject: shorten_optional(
            trunc,
            "tls.client_cert_subject",
            tls.client_cert_subject,
            room,
        ),
        client_cert_san: first_texts(
            trunc,
            "tls.client_cert_san",
            tls.client_cert_san,
            if room == Room::Least { 0 } else { cap },
        ),
        client_spiffe_id: shorten_optional(trunc, "tls.client_spiffe_id", tls.client_spiffe_id, room),
        ..tls
    }
}

impl<'a> CutRequest<'a> {
    fn of(trunc: &mut Trunc, request: &Request<'a>, cap: usize, room: Room) -> CutRequest<'a> {
        let lists = if room == Room::Least { 0 } else { cap };
        let mut left = lists;
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
        CutRequest {
            method: shorten(trunc, "request.method", request.method, cap),
            host: shorten(trunc, "request.host", request.host, cap),
            path: shorten(trunc, "request.path", request.path, cap),
            raw: shorten_optional(trunc, "request.raw", request.raw, room),
            query: shorten_query(trunc, request.query, lists),
            pairs: shorten_pairs(trunc, request.query_values, lists),
            headers,
        }
    }
}

/// One entry for all: the bytes of what was cut, and the SHA-256 of the `trunc` that tells of each.
fn together(trunc: &Trunc) -> Trunc {
    let told = serde_json::to_vec(trunc).expect("a map of strings, and a Vec takes every write");
    let bytes = trunc.values().map(|cut| cut.bytes).sum();
    [("*".to_owned(), Cut { bytes, sha256: Hash::of(&told) })].into()
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

/// A value that a record can do without.
fn shorten_optional<'a>(
    trunc: &mut Trunc,
    field: &str,
    value: Option<&'a str>,
    room: Room,
) -> Option<&'a str> {
    match (value, room) {
        (None, _) => None,
        (Some(value), Room::Each(cap)) => Some(shorten(trunc, field, value, cap)),
        (Some(value), Room::Least) => {
            note(trunc, field, value);
            None
        }
    }
}

fn shorten_cow<'a>(trunc: &mut Trunc, field: &str, value: &Cow<'a, str>, cap: usize) -> Cow<'a, str> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(shorten(trunc, field, value, cap)),
        Cow::Owned(value) => Cow::Owned(shorten(trunc, field, value, cap).to_owned()),
    }
}

/// The first items of a list, as many as fit into `room` bytes.
fn first_items<T: AsRef<str>>(items: &[T], room: usize) -> &[T] {
    let mut left = room;
    let fit = items.iter().take_while(|item| take(&mut left, item.as_ref().len())).count();
    &items[..fit]
}

/// The same; the digest is of the items, each on a line.
fn first_texts<'a>(trunc: &mut Trunc, field: &str, items: &'a [Box<str>], room: usize) -> &'a [Box<str>] {
    let first = first_items(items, room);
    if first.len() < items.len() {
        note(trunc, field, &items.join("\n"));
    }
    first
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
