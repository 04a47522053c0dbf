//! The schema of the configuration says the same as its reader, and `conf/schema.json` is that schema.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gateway::config::{Config, schema};
use serde_json::Value;

const FULL: &str = "tests/configurations/full.yaml";

fn parsed() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// Regenerate with `UPDATE_GOLDEN=1 cargo test -p gateway --test schema`.
#[test]
fn the_schema_that_is_checked_in_is_made_from_the_types() {
    let path = "../conf/schema.json";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, schema()).unwrap();
    }
    assert!(
        fs::read_to_string(path).unwrap() == schema(),
        "conf/schema.json differs from the types: regenerate it"
    );
}

/// The keys of every mapping of the schema, by the mapping's path: `listen[].limits`, `upstreams.*`.
fn keys(root: &Value, schema: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(name) = schema["$ref"].as_str() {
        return keys(root, root.pointer(name.trim_start_matches('#')).unwrap(), path, found);
    }
    if schema["items"].is_object() {
        keys(root, &schema["items"], &format!("{path}[]"), found);
    }
    for (_, any_name) in schema["patternProperties"].as_object().into_iter().flatten() {
        keys(root, any_name, &format!("{path}.*"), found);
    }
    for choice in ["oneOf", "anyOf"].into_iter().filter_map(|kind| schema[kind].as_array()).flatten() {
        keys(root, choice, path, found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} is open");
    found.entry(path.to_owned()).or_default().extend(properties.keys().cloned());
    for (key, value) in properties {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys(root, value, &below, found);
    }
}

fn schema_keys() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let root = parsed();
    keys(&root, &root, "", &mut found);
    found
}

/// What the reader says it knows, when it meets a key that nobody knows in each of its mappings.
fn reader_keys() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(FULL).unwrap();
    // In front of the first key of every mapping, in braces or in lines.
    let unknown = "qqqqqqqqqq: 1";
    let lines = text.lines().map(|line| {
        let braces =
            line.replace("{ ", &format!("{{ {unknown}, ")).replace("{}", &format!("{{ {unknown} }}"));
        let indent = line.len() - line.trim_start().len();
        match line.trim_start() {
            "tls:" => format!("{line}\n{}{unknown}", " ".repeat(indent + 2)),
            first if first == "version: 1" || first.starts_with("endpoints: ") => {
                format!("{}{unknown}\n{braces}", " ".repeat(indent))
            }
            first if first.starts_with("log: ") => format!("{}{unknown}\n{line}", " ".repeat(indent)),
            item if item.starts_with("- name") => {
                braces.replacen("- ", &format!("- {unknown}\n{}", " ".repeat(indent + 2)), 1)
            }
            _ => braces,
        }
    });
    let problems = Config::from_text("x", lines.collect::<Vec<_>>().join("\n")).unwrap_err();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for problem in problems.iter() {
        assert!(problem.problem == "unknown key", "{problem}");
        let mut path = problem.path.replace(['0', '1', '2'], "");
        for named in [
            "upstreams.orders",
            "upstreams.secure",
            "identity.corp",
            "identity.mesh",
            "identity.keys",
            "identity.edge",
        ] {
            if let Some(below) = path.strip_prefix(named) {
                path = format!("{}.*{below}", named.split('.').next().unwrap());
            }
        }
        let known = problem.rule.trim_start_matches("expected one of ").split(", ");
        found.entry(path).or_default().extend(known.map(|key| key.trim_matches('`').to_owned()));
    }
    found
}

#[test]
fn the_schema_has_the_keys_that_the_reader_knows() {
    assert_eq!(reader_keys(), schema_keys());
}

#[test]
fn the_schema_accepts_what_the_reader_accepts() {
    let validator = jsonschema::validator_for(&parsed()).unwrap();
    let mut paths: Vec<_> = fs::read_dir("../conf").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.extend([FULL.into(), "tests/configurations/least.yaml".into()]);
    for path in paths {
        Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        let errors: Vec<String> = validator
            .iter_errors(&yaml::value(&fs::read_to_string(&path).unwrap()))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let validator = jsonschema::validator_for(&parsed()).unwrap();
    let least = fs::read_to_string("tests/configurations/least.yaml").unwrap();
    let changes = [
        ("version: 1", "version: 2"),
        ("name: plain", "name: Plain"),
        ("auth: none", "auth: all"),
        ("auth: none", "auth: { any_of: [] }"),
        ("auth: none", "auth: { all_of: [corp] }"),
        ("audit:\n", "identity: {}\naudit:\n"),
        ("audit:\n", "identity: { corp: {} }\naudit:\n"),
        ("audit:\n", "identity: { keys: { api_key: { header: x-api-key } } }\naudit:\n"),
        ("audit:\n", "identity: { mesh: { mtls: { actor: cn } } }\naudit:\n"),
        (
            "audit:\n",
            "identity: { a: { mtls: { actor: subject }, api_key: { header: x, file: y } } }\naudit:\n",
        ),
        (", auth: none", ""),
        ("path: /status", "pth: /status"),
        ("[127.0.0.1:19001, \"[::1]:19001\"]", "[]"),
        ("[127.0.0.1:19001, \"[::1]:19001\"]", "[localhost]"),
        ("orders: {", "orders: { protocol: h3,"),
        ("orders: {", "orders: { tls: { sni: \"\" },"),
        ("orders: {", "orders: { tls: { ca: a.pem },"),
        ("orders: {", "orders: { tls: { sni: a, client: { cert: a.pem } },"),
        ("{ path: data/spool }", "{ path: data/spool, warn_at: 80 }"),
        ("{ path: data/spool }", "{ path: data/spool, max_bytes: 1 GB }"),
        ("{ path: data/spool }", "{ path: data/spool, min_free: }"),
        ("audit.example.com/gw-1", "UPPER"),
        ("listen: [{ name: plain, address: \"[::1]:18081\" }]", "listen: []"),
        ("listen: [", "admin:\nlisten: ["),
        ("name: plain", "name: plain, redirect_to_https: 0"),
        ("name: plain", "name: plain, tls: { certificates: [] }"),
        ("name: plain", "name: plain, tls: { certificates: [{ cert: a.pem }] }"),
        ("name: plain", "name: plain, tls: { certificates: [{ cert: a, key: b }], min_version: \"1.1\" }"),
        (
            "name: plain",
            "name: plain, tls: { certificates: [{ cert: a, key: b }], client_auth: { mode: on } }",
        ),
    ];
    for (from, to) in changes {
        let text = least.replacen(from, to, 1);
        assert_ne!(text, least, "{from} is not there");
        assert!(Config::from_text("x", text.clone()).is_err(), "the reader takes {to}");
        assert!(!validator.is_valid(&yaml::value(&text)), "the schema takes {to}");
    }
}

/// YAML as an editor's schema check sees it: plain scalars have the types of YAML's core schema.
mod yaml {
    use granit_parser::{Event, Parser, ScalarStyle};
    use serde_json::{Map, Value};

    pub(crate) fn value(text: &str) -> Value {
        let events = Parser::new_from_str(text).map(|event| event.unwrap().0);
        let mut nodes =
            events.filter(|event| event.is_node() || matches!(event, Event::SequenceEnd | Event::MappingEnd));
        node(&mut nodes).expect("there is a document")
    }

    fn node<'t>(events: &mut impl Iterator<Item = Event<'t>>) -> Option<Value> {
        match events.next()? {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Some(match &*text {
                "" | "~" | "null" => Value::Null,
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                number => number.parse::<i64>().map_or_else(|_| number.into(), Value::from),
            }),
            Event::Scalar(text, ..) => Some(text.into_owned().into()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                while let Some(item) = node(events) {
                    items.push(item);
                }
                Some(items.into())
            }
            Event::MappingStart(..) => {
                let mut map = Map::new();
                while let Some(key) = node(events) {
                    let key = key.as_str().expect("keys are texts").to_owned();
                    map.insert(key, node(events).expect("a key has a value"));
                }
                Some(map.into())
            }
            _ => None,
        }
    }
}
