use proptest::prelude::*;

use super::*;
use crate::ids::Seq;
use crate::merkle::Hash;

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

fn parsed(entry: &Entry, seq: u64) -> serde_json::Value {
    serde_json::from_str(&line(entry, seq)).expect("a JSON object")
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

#[test]
fn what_is_said_of_an_actor_and_of_its_certificate_is_cut_as_well() {
    let id = ActorId::new("alice@example.com");
    let groups = boxed(&(0..64).map(|n| format!("{n:0128}")).collect::<Vec<_>>());
    let names = boxed(&(0..500).map(|n| format!("DNS:{n}.example.com")).collect::<Vec<_>>());
    let subject = "CN=x,".repeat(2000);
    let mut record = ended("/orders", "", &[], &[]);
    record.actor = Some(Actor { id: &id, scheme: "mtls", provider: "mesh", groups: &groups });
    record.tls = Some(Tls { client_cert_subject: Some(&subject), client_cert_san: &names, ..Tls::default() });
    let entry = Entry::ended(&record, 8192);
    let value = parsed(&entry, u64::MAX);
    assert!(line(&entry, u64::MAX).len() <= 8193);
    assert_eq!(value["actor"]["id"], "alice@example.com");
    let kept = value["actor"]["groups"].as_array().expect("some were kept");
    assert!(
        kept.iter().zip(&groups).all(|(kept, given)| kept == &**given) && kept.len() > 4,
        "{}",
        kept.len()
    );
    for (field, whole) in [
        ("actor.groups", groups.join("\n")),
        ("tls.client_cert_san", names.join("\n")),
        ("tls.client_cert_subject", subject.clone()),
    ] {
        assert_eq!(value["trunc"][field]["sha256"], Hash::of(whole.as_bytes()).to_string(), "{field}");
    }
    assert!(subject.starts_with(value["tls"]["client_cert_subject"].as_str().expect("a text")));
}

/// Every value as long as it can be, in a record that may be as short as is allowed.
#[test]
fn the_least_record_has_room_for_everything_that_must_be_told() {
    let name = "n".repeat(64);
    let (route, id) = (RouteName::new(&name), ActorId::new(&"\"".repeat(256)));
    let groups = vec![Box::from("g".repeat(128)); 64];
    let names = vec![Box::from("URI:".to_owned() + &"u".repeat(2000)); 64];
    let odd = "\u{1}".repeat(60_000);
    // Normalised: nothing in it is escaped.
    let long = "/%C3%A9".repeat(10_000);
    let headers: Vec<_> = (0..64).map(|_| ("x-long-header-name", Cow::from(odd.as_str()))).collect();
    let claimed = vec![Cow::from(odd.as_str()); 50];
    let ip = "2001:db8:1111:2222:3333:4444:5555:6666".parse().expect("an address");
    let mut record = ended(&long, &odd, &headers, &claimed);
    record.request_id = &name;
    record.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736");
    record.listener = &name;
    record.actor = Some(Actor { id: &id, scheme: "api_key", provider: &name, groups: &groups });
    record.source = Source { ip, port: 65_535, peer: Some(ip), claimed: &claimed };
    record.tls = Some(Tls {
        version: Some("TLSv1.3"),
        cipher: Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
        sni: Some(&long),
        client_cert_sha256: Some(&name),
        client_cert_subject: Some(&odd),
        client_cert_san: &names,
        client_spiffe_id: Some(&odd),
    });
    record.request.method = "M-METHODMETHODMETHODMETHOD";
    record.request.host = &long;
    record.request.raw = Some(&odd);
    record.request.query_values = QueryPairs(&odd);
    record.request.bytes = u64::MAX;
    record.request.body_sha256 = Some(Hash::ZERO);
    record.request.content_digest = Some(ContentDigest::Unsupported);
    record.route = Some(&route);
    record.action = Some(&name);
    record.decision = Some(Decision { outcome: Outcome::Allow, rule: Some(&name) });
    record.upstream = Some(Upstream {
        name: &name,
        addr: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
        attempts: u32::MAX,
        reused: false,
        connect_us: u64::MAX,
        ttfb_us: Some(u64::MAX),
    });
    record.response = Some(Response { status: 200, bytes: u64::MAX, body_sha256: Some(Hash::ZERO) });
    record.end = End::UpstreamFailed;
    record.error = Some("a_constant_word_of_forty_letters_or_so__");
    record.duration_us = u64::MAX;
    let entry = Entry::ended(&record, LEAST_MAX_RECORD);
    let text = line(&entry, u64::MAX);
    assert!(text.len() <= LEAST_MAX_RECORD + 1, "{} bytes: {text}", text.len());
    let value = parsed(&entry, 0);
    assert_eq!(value["actor"]["id"].as_str().map(str::len), Some(64));
    assert_eq!(entry.facts().actor, value["actor"]["id"].as_str(), "the index goes by what the record says");
    assert_eq!(value["trunc"].as_object().map(serde_json::Map::len), Some(1));
    assert!(value["trunc"]["*"]["bytes"].as_u64().is_some_and(|bytes| bytes > 60_000 * 60));

    let rejected = Rejected {
        seq: Unnumbered,
        v: V1,
        kind: KindRejected,
        ts: record.ts,
        boot: record.boot,
        listener: &name,
        source: Source { claimed: &[], ..record.source.clone() },
        tls: record.tls,
        reason: "tls_client_certificate_not_yet_valid",
        bytes: u64::MAX,
        response: record.response,
        duration_us: u64::MAX,
        trunc: None,
    };
    let entry = Entry::rejected(&rejected);
    assert!(line(&entry, u64::MAX).len() <= LEAST_MAX_RECORD + 1);
    let sni = "s".repeat(3000);
    let entry =
        Entry::rejected(&Rejected { tls: Some(Tls { sni: Some(&sni), ..Tls::default() }), ..rejected });
    let value = parsed(&entry, 0);
    assert_eq!(value["trunc"]["tls.sni"]["bytes"], 3000);
    assert!(value["tls"]["sni"].as_str().is_some_and(|kept| kept.len() > 900));
}

#[test]
fn what_falls_off_together_can_be_checked_together() {
    let path = "\u{1}".repeat(3000);
    let mut record = ended(&path, "", &[], &[]);
    let (host, method) = (path.clone(), path.clone());
    record.request.host = &host;
    record.request.method = &method;
    record.request.raw = Some(&path);
    let mut told = Trunc::new();
    for field in ["request.host", "request.method", "request.path", "request.raw"] {
        told.insert(field.into(), Cut { bytes: 3000, sha256: Hash::of(path.as_bytes()) });
    }
    let trunc = Some(&told);
    let value = parsed(&Entry::ended(&record, 800), 0);
    assert_eq!(value["trunc"]["*"]["bytes"], 12_000);
    let whole = serde_json::to_vec(&trunc).expect("JSON");
    assert_eq!(value["trunc"]["*"]["sha256"], Hash::of(&whole).to_string());
    assert_eq!(value["request"].get("raw"), None);
}
