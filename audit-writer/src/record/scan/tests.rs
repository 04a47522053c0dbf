//! The scanner against a JSON parser, and against lines that are almost records.

use proptest::prelude::*;

use super::*;

const PREFIX: &str =
    r#"{"seq":7,"v":1,"kind":"completed","ts":"2026-11-24T09:12:03.123456Z","boot":"9f3c01aa""#;

fn line(rest: &str) -> String {
    format!("{PREFIX}{rest}}}")
}

#[test]
fn what_verify_needs_is_picked_out_wherever_it_stands() {
    let text = line(
        r#","request_id":"0199c3f2","response":{"bytes":1,"status":404},"actor":{"scheme":"jwt","id":"al\u0069ce"},"x":[1,-2.5e+3,{"route":"no"},[]],"route":"orders""#,
    );
    let found = scan(text.as_bytes()).unwrap();
    assert_eq!((found.seq, found.kind, found.boot), (Seq(7), Kind::Completed, b"9f3c01aa"));
    assert_eq!(found.ts.to_string(), "2026-11-24T09:12:03.123456Z");
    assert_eq!(found.request_id.unwrap().raw(), b"0199c3f2");
    assert_eq!(found.actor.unwrap().decode(), "alice");
    assert_eq!(found.route.unwrap().decode(), "orders");
    assert_eq!(found.status, Some(404));
}

#[test]
fn a_gap_says_how_many_or_null() {
    let gap = |rest: &str| line(rest).replace("completed", "gap");
    assert_eq!(scan(gap(r#","lost":17"#).as_bytes()).unwrap().lost, Some(Some(17)));
    assert_eq!(scan(gap(r#","lost":null"#).as_bytes()).unwrap().lost, Some(None));
    assert!(scan(gap("").as_bytes()).is_err());
    assert!(scan(gap(r#","lost":-1"#).as_bytes()).is_err());
}

#[test]
fn the_prefix_is_taken_only_to_the_byte() {
    let good = line("");
    assert!(scan(good.as_bytes()).is_ok());
    for (from, to) in [
        ("{\"seq\"", " {\"seq\""),
        ("\"seq\":7", "\"seq\": 7"),
        ("\"seq\":7", "\"seq\":07"),
        ("\"seq\":7", "\"seq\":-7"),
        ("\"seq\":7", "\"seq\":7.0"),
        ("\"seq\":7", "\"seq\":7e0"),
        ("\"seq\":7", "\"seq\":"),
        ("\"seq\":7", "\"seq\":18446744073709551616"),
        ("\"seq\":7", "\"seq\":4611686018427387905"),
        ("\"v\":1", "\"v\":2"),
        ("completed", "Completed"),
        ("completed", "finished"),
        ("completed", ""),
        ("T09", " 09"),
        ("456Z", "45Z"),
        ("11-24", "13-24"),
        ("9f3c01aa", "9F3C01AA"),
        ("9f3c01aa", "9f3c01a"),
        ("9f3c01aa", "9f3c01aaa"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(scan(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_because_readers_differ_on_which_counts() {
    for rest in [
        r#","kind":"gap""#,
        r#","ts":"2026-11-24T09:12:03.123456Z""#,
        r#","route":"a","route":"b""#,
        r#","response":{"status":200,"status":500}"#,
        r#","response":{"status":200},"response":{"status":500}"#,
        r#","actor":{"id":"a"},"actor":{"id":"b"}"#,
        r#","request_id":"a","request_id":"b""#,
        r#","rout\u0065":"a""#,
    ] {
        assert!(scan(line(rest).as_bytes()).is_err(), "{rest}");
    }
}

#[test]
fn values_of_another_type_are_refused() {
    for rest in [
        r#","request_id":1"#,
        r#","route":null"#,
        r#","actor":"alice""#,
        r#","actor":{"id":1}"#,
        r#","response":200"#,
        r#","response":{"status":"200"}"#,
        r#","response":{"status":65536}"#,
        r#","response":{"status":200.5}"#,
    ] {
        assert!(scan(line(rest).as_bytes()).is_err(), "{rest}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for rest in [
        ",",
        r#","a""#,
        r#","a":"#,
        r#","a":}"#,
        r#","a":01"#,
        r#","a":1."#,
        r#","a":.5"#,
        r#","a":+1"#,
        r#","a":1e"#,
        r#","a":--1"#,
        r#","a":nul"#,
        r#","a":True"#,
        r#","a":[1,]"#,
        r#","a":[1 2]"#,
        r#","a":{"b"}"#,
        r#","a":{b:1}"#,
        r#","a":{"b":1,}"#,
        r#","a":"\x""#,
        r#","a":"\u12""#,
        r#","a":"\u12g4""#,
        r#","a":"\ud800""#,
        r#","a":"\udc00""#,
        r#","a":"\ud800\u0041""#,
        r#","a":"open"#,
        ",\"a\":\"\u{1}\"",
        ",\"a\":\"tab\t\"",
        r#"}"#,
        r#"},"a":1"#,
        " x",
        r#","a":'b'"#,
        r#","a":1,,"b":2"#,
    ] {
        assert!(scan(line(rest).as_bytes()).is_err(), "{rest}");
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |depth: usize| line(&format!(",\"a\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(scan(nested(MAX_DEPTH as usize).as_bytes()).is_ok());
    assert!(scan(nested(MAX_DEPTH as usize + 1).as_bytes()).is_err());
    let long = |bytes: usize| line(&format!(",\"a\":\"{}\"", "x".repeat(bytes - line(",\"a\":\"\"").len())));
    assert!(scan(long(MAX_LINE).as_bytes()).is_ok());
    assert_eq!(scan(long(MAX_LINE + 1).as_bytes()), Err(BadLine::TooLong(MAX_LINE + 1)));
}

#[test]
fn every_line_that_is_cut_is_refused() {
    let good =
        line(r#","request_id":"a\\b","response":{"status":200},"x":[{"y":-1.5e9},true,null,"\ud83d\ude00"]"#);
    assert!(scan(good.as_bytes()).is_ok());
    for end in 0..good.len() {
        assert!(scan(&good.as_bytes()[..end]).is_err(), "{end}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e300..1e300).prop_map(|n: f64| n.into()),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_value_passes(value in json()) {
        let compact = line(&format!(",\"x\":{value}"));
        prop_assert!(scan(compact.as_bytes()).is_ok(), "{}", compact);
        let spaced = line(&format!(" , \"x\" : {} ", serde_json::to_string_pretty(&value).unwrap().replace('\n', "\t")));
        prop_assert!(scan(spaced.as_bytes()).is_ok(), "{}", spaced);
    }

    #[test]
    fn a_changed_byte_is_accepted_only_where_a_json_parser_accepts_it(
        value in json(), at in any::<proptest::sample::Index>(), byte in 0u8..128,
    ) {
        let mut text = line(&format!(",\"x\":{value}")).into_bytes();
        let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
        text[at] = byte;
        if std::str::from_utf8(&text).is_ok() && scan(&text).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok()
                || String::from_utf8_lossy(&text).contains(['e', 'E']));
        }
    }

    #[test]
    fn strings_are_decoded_as_a_json_parser_does(route in any::<String>()) {
        let text = line(&format!(",\"route\":{}", serde_json::Value::from(route.as_str())));
        prop_assert_eq!(scan(text.as_bytes()).unwrap().route.unwrap().decode(), route);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), cut in 0..PREFIX.len()) {
        let _ = scan(text.as_bytes());
        let _ = scan(format!("{}{text}", &PREFIX[..cut]).as_bytes());
        let _ = scan(line(&text).as_bytes());
    }

    #[test]
    fn plain_bytes_are_counted_as_one_by_one(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let expected = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(bytes.len());
        prop_assert_eq!(plain_bytes(&bytes), expected);
    }
}
