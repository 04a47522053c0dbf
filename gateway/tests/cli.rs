//! The commands of `sealgate` that do not serve: what they print, and what they exit with.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use audit_writer::checkpoint::{SigningKey, VerifierKey};
use serde_json::Value;

const LEAST: &str = "tests/configurations/least.yaml";
const FULL: &str = "tests/configurations/full.yaml";

fn sealgate(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("sealgate").unwrap();
    command.args(arguments).env_remove("SEALGATE_CONFIG");
    command
}

fn out(assert: Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn err(assert: Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_good_configuration_is_ok() {
    for path in [LEAST, FULL, "tests/configurations/directory", "../conf/quickstart.yaml"] {
        let printed = out(sealgate(&["validate", "--no-environment", "-c", path]).assert().code(0));
        assert!(printed.starts_with(&format!("{path}: OK: ")), "{printed}");
    }
}

#[test]
fn problems_are_lines_or_an_array_and_exit_with_78() {
    let path = "tests/configurations/wrong-keys.yaml";
    let text = err(sealgate(&["validate", "--no-environment", "-c", path]).assert().code(78).stdout(""));
    assert_eq!(text, fs::read_to_string("tests/configurations/wrong-keys.errors").unwrap());

    let json = ["validate", "--no-environment", "--format", "json", "-c", path];
    let problems: Value = serde_json::from_str(&out(sealgate(&json).assert().code(78).stderr(""))).unwrap();
    let problems = problems.as_array().unwrap();
    assert_eq!(problems.len(), text.lines().count());
    assert_eq!(
        problems[2],
        serde_json::json!({
            "file": path, "line": 5, "column": 5, "severity": "error", "problem": "unknown key", "key": "adress",
            "in": "listen[0]",
            "value": "127.0.0.1:8080", "suggestion": "address",
            "rule": "expected one of `name`, `address`, `tls`, `redirect_to_https`, `http2`, `client_address`, `timeouts`, `limits`",
        })
    );
    let none = ["validate", "--no-environment", "--format", "json", "-c", LEAST];
    assert_eq!(out(sealgate(&none).assert().code(0)), "[]\n");
}

#[test]
fn what_has_no_effect_is_a_warning_and_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let laxer = ("auth: none", "auth: none, audit: { durability: best_effort }");
    let path = in_directory(directory.path(), laxer);
    let strict = fs::read_to_string(&path).unwrap().replace("audit:\n", "audit:\n  durability: strict\n");
    fs::write(&path, strict).unwrap();
    let checked = sealgate(&["validate", "--no-environment", "-c", &path]).assert().code(0);
    let warned = format!(
        "{path}:5:103: warning: no effect of `durability` in routes[0].audit (value: best_effort): `audit.durability` (line 7) is `strict`, and the stricter of the two holds\n"
    );
    assert_eq!(err(checked), warned);
    let json = ["validate", "--no-environment", "--format", "json", "-c", &path];
    let warnings: Value = serde_json::from_str(&out(sealgate(&json).assert().code(0).stderr(""))).unwrap();
    assert_eq!(warnings[0]["severity"], "warning");
    assert_eq!(warnings.as_array().unwrap().len(), 1);
    let explained = out(sealgate(&["explain", "-c", &path, "GET", "http://h/status"]).assert().code(0));
    assert!(explained.contains("  durability  strict: by `audit.durability`; "), "{explained}");
}

#[test]
fn a_configuration_is_read_from_standard_input() {
    let text = fs::read(LEAST).unwrap();
    sealgate(&["validate", "--no-environment", "-c", "-"]).write_stdin(text).assert().code(0);
    let assert =
        sealgate(&["validate", "--no-environment", "-c", "-"]).write_stdin("version: 2\n").assert().code(78);
    assert!(err(assert).starts_with("-:1:1: missing key `audit`"));
}

#[test]
fn a_configuration_is_found_where_it_usually_is() {
    let directory = tempfile::tempdir().unwrap();
    let validate = || {
        let mut command = sealgate(&["validate", "--no-environment"]);
        command.current_dir(directory.path());
        command
    };
    assert!(err(validate().assert().code(78)).contains("sealgate.yaml"));
    fs::copy(LEAST, directory.path().join("sealgate.yaml")).unwrap();
    assert!(out(validate().assert().code(0)).starts_with("sealgate.yaml: OK"));
    let other = std::path::absolute(FULL).unwrap();
    assert!(
        out(validate().env("SEALGATE_CONFIG", &other).assert().code(0)).starts_with(other.to_str().unwrap())
    );
}

/// A configuration whose files are below a directory of its own.
fn in_directory(directory: &Path, change: (&str, &str)) -> String {
    let path = directory.join("sealgate.yaml");
    fs::write(&path, fs::read_to_string(LEAST).unwrap().replacen(change.0, change.1, 1)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_environment_is_looked_at_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let complains = |path: &str, words: &[&str]| {
        let found = err(sealgate(&["validate", "-c", path]).assert().code(78));
        assert!(words.iter().all(|word| found.contains(word)), "{words:?} are expected in:\n{found}");
        sealgate(&["validate", "--no-environment", "-c", path]).assert().code(0);
    };
    let plain = in_directory(directory.path(), ("", ""));
    complains(
        &plain,
        &["`file` in audit.key (value: data/gateway.key)", "there is no such file", "`create_log` in audit"],
    );
    let fresh = in_directory(
        directory.path(),
        (
            "key: { file: data/gateway.key }",
            "key: { file: data/gateway.key, create: true }\n  create_log: true",
        ),
    );
    sealgate(&["validate", "-c", &fresh]).assert().code(0);
    assert!(!data.exists(), "validating makes nothing");

    let keygen = |name: &str| {
        let _ = fs::remove_dir_all(&data);
        sealgate(&["keygen", name, "-o", data.to_str().unwrap()]).assert().code(0);
    };
    keygen("audit.example.com/gw-2");
    complains(&fresh, &["`audit.example.com/gw-1`", "`audit.example.com/gw-2`"]);
    keygen("audit.example.com/gw-1");
    sealgate(&["validate", "-c", &fresh]).assert().code(0);
    let key = data.join("gateway.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    complains(&fresh, &["mode 0600", "0640"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "PRIVATE+KEY+audit.example.com/gw-1+00000000+c2VjcmV0\n").unwrap();
    complains(&fresh, &["expected a key"]);
    assert!(!err(sealgate(&["validate", "-c", &fresh]).assert()).contains("c2VjcmV0"));
    fs::write(data.join("spool"), "").unwrap();
    complains(&fresh, &["`path` in audit.spool (value: data/spool)", "expected a directory"]);
}

/// A configuration that redacts, and its key file.
fn redacting(directory: &Path, key: &[u8], mode: u32) -> String {
    let file = directory.join("hmac.key");
    fs::write(&file, key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let redact =
        "redact: { hmac_key: hmac.key, hmac: [request.headers.x-tenant], paths: [\"/status/{job}\"] }";
    in_directory(directory, ("audit:\n", &format!("audit:\n  {redact}\n")))
}

#[test]
fn hash_prints_what_records_have_in_place_of_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let config = redacting(directory.path(), &[0x9b; 20], 0o600);
    let hash = |value: &str, input: &str| {
        let mut command = sealgate(&["hash", "-c", &config, "--", value]);
        command.write_stdin(input).assert()
    };
    assert!(err(hash("v", "").code(78)).contains("20 bytes, expected at least 32"));

    // As Python's hmac says.
    let key: Vec<u8> = (0..64).map(|n| n ^ 0xa5).collect();
    redacting(directory.path(), &key, 0o600);
    let expected = "hmac-sha256:5daf7898:a8fcf56c7931a87fc71d8dc1d06e661bb38757305febc91f96ae6cae88191404\n";
    assert_eq!(out(hash("p-4711", "").code(0)), expected);
    assert_eq!(out(hash("-", "p-4711").code(0)), expected);
    assert_eq!(out(hash("-", "p-4711\n").code(0)), expected);
    assert_ne!(out(hash("-", "p-4711\n\n").code(0)), expected);
    assert_eq!(out(hash("", "").code(0)), out(hash("-", "").code(0)));
    hash("-", &"x".repeat(1_048_577)).code(2).stdout("");
    sealgate(&["hash", "-c", &config]).assert().code(2);

    redacting(directory.path(), &key, 0o644);
    assert!(err(hash("p-4711", "").code(78).stdout("")).contains("mode 0600"));
    let found = err(sealgate(&["validate", "-c", &config]).assert().code(78));
    assert!(
        found.contains("`hmac_key` in audit.redact (value: hmac.key): expected a key for HMAC"),
        "{found}"
    );
    fs::remove_file(directory.path().join("hmac.key")).unwrap();
    assert!(err(hash("p-4711", "").code(78)).contains("there is no key"));
    assert!(
        err(sealgate(&["hash", "-c", LEAST, "v"]).assert().code(78)).contains("no `audit.redact.hmac_key`")
    );
    sealgate(&["run", "-c", &config]).assert().code(78);
    assert!(!directory.path().join("data").exists(), "nothing was begun");
}

#[test]
fn what_is_redacted_and_has_no_effect_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let config = redacting(directory.path(), b"", 0o600);
    let warned = err(sealgate(&["validate", "--no-environment", "-c", &config]).assert().code(0));
    assert!(
        warned.contains("warning: no effect of `hmac[0]` in audit.redact (value: request.headers.x-tenant): no route keeps"),
        "{warned}"
    );
    let explained = out(sealgate(&["explain", "-c", &config, "GET", "http://h/status"]).assert().code(0));
    assert!(explained.contains("recorded    path: /status; headers: none; query: keys"), "{explained}");
}

#[test]
fn explain_says_where_a_request_goes() {
    let explain = |url: &str| {
        let command = ["explain", "-c", FULL, "--actor", "alice", "--source", "10.1.2.3", "GET", url];
        out(sealgate(&command).assert().code(0))
    };
    let text = explain("http://API.example.com:80/v1//x/../orders/%34%32?page=2");
    let expected = "\
GET http://API.example.com:80/v1//x/../orders/%34%32?page=2
  route       orders (routes[0]): host api.example.com; the longest path_prefix, /v1/orders; its method
  host        api.example.com
  path        /v1/orders/42
  upstream    orders at 127.0.0.1:19001, [::1]:19001
  sent        GET /orders/42?page=2
              x-sealgate-actor: alice
              x-sealgate-scheme: jwt or header or mtls or api_key
              x-sealgate-provider: corp or corp0 or corp1 or edge or mesh or mesh1 or keys
  timeout     none
  auth        any of corp, corp0, corp1, edge, mesh, mesh1, keys: alice
  rules       read lets it in
              export is not reached
  action      orders.access
  durability  strict: by `routes[0].audit.durability`; a `received` record is synced before it goes upstream, a crash loses none; 503 when that cannot be
  recorded    path: /v1/orders/*; headers: user-agent, x-tenant (hmac); query: none; body digests: sha256
";
    assert_eq!(text, expected);
    let status = explain("http://any.example/status");
    assert!(status.contains("any host; path /status, exactly; any method"));
    assert!(status.contains("  durability  buffered: by `audit.durability`; a place for its record"));
    let least = out(sealgate(&["explain", "-c", LEAST, "GET", "http://h/status"]).assert().code(0));
    assert!(least.contains("  durability  buffered: by default; a place for its record"));
}

#[test]
fn explain_says_why_a_request_goes_nowhere() {
    let explain =
        |method: &str, url: &str| out(sealgate(&["explain", "-c", FULL, method, url]).assert().code(1));
    let text = explain("DELETE", "http://api.example.com/v1/orders");
    let expected = "\
DELETE http://api.example.com/v1/orders
  no route takes host api.example.com, path /v1/orders, method DELETE: it is answered 405, and recorded
  not orders: its methods are GET, POST
  not status: its path is /status
";
    assert_eq!(text, expected);
    assert!(
        explain("GET", "http://other.example/v1/orders")
            .contains("not orders: its hosts are api.example.com, [::1]")
    );
    assert!(
        explain("GET", "http://api.example.com/v1/ordersX")
            .contains("not orders: its path_prefix is /v1/orders")
    );
    assert!(explain("GET", "http://api.example.com/a%2fb").contains("400 (encoded_separator)"));
    assert!(explain("CONNECT", "http://api.example.com/").contains("405 (connect)"));
}

#[test]
fn explain_is_read_by_programs() {
    let json = |code: i32, url: &str| -> Value {
        let command =
            ["explain", "-c", FULL, "--actor", "a", "--source", "10.1.2.3", "--format", "json", "GET", url];
        serde_json::from_str(&out(sealgate(&command).assert().code(code))).unwrap()
    };
    let forwarded = json(0, "http://api.example.com/v1/orders");
    assert_eq!(forwarded["outcome"], "forwarded");
    assert_eq!(forwarded["route"], "orders");
    assert_eq!(forwarded["sent"], "/orders");
    assert_eq!(
        (&forwarded["durability"], &forwarded["durability_from"]),
        (&"strict".into(), &"routes[0].audit.durability".into())
    );
    assert_eq!(forwarded["endpoints"], serde_json::json!(["127.0.0.1:19001", "[::1]:19001"]));
    let missed = json(1, "http://h/");
    assert_eq!(
        (&missed["outcome"], &missed["routes"][1]["why"]),
        (&"no_route".into(), &"its path is /status".into())
    );
    let refused = json(1, "http://h/..");
    assert_eq!(
        (&refused["outcome"], &refused["status"], &refused["reason"]),
        (&"refused".into(), &400.into(), &"above_root".into())
    );
}

const RULES: &str = "tests/configurations/rules.yaml";

#[test]
fn explain_says_who_may_and_why() {
    let explain = |code: i32, args: &[&str]| {
        out(sealgate(&[&["explain", "-c", RULES], args].concat()).assert().code(code))
    };
    let url = "http://h:18443/orders/42/bill";
    let allowed = explain(
        0,
        &["--actor", "svc-billing", "--groups", "ops,a b", "--source", "::ffff:10.1.2.3", "PUT", url],
    );
    let expected = "\
PUT http://h:18443/orders/42/bill
  route       orders (routes[0]): any host; the longest path_prefix, /orders; any method
  host        h:18443
  path        /orders/42/bill
  upstream    orders at 127.0.0.1:19001
  sent        PUT /orders/42/bill
              x-sealgate-actor: svc-billing
              x-sealgate-scheme: mtls or api_key
              x-sealgate-provider: mesh or partners
              x-sealgate-groups: ops,a%20b
  timeout     1m
  auth        any of mesh, partners: svc-billing, in ops, a b
  rules       not ops-read: its methods are GET
              billing lets it in
              styles is not reached
  action      orders.access
  durability  best_effort: by `audit.durability`; it is served whether a record can be kept or not; what is lost is declared
  recorded    path: /orders/42/bill; headers: none; query: keys; body digests: sha256
";
    assert_eq!(allowed, expected);
    let denied = explain(1, &["--actor", "alice", "--source", "192.0.2.1", "PUT", url]);
    let expected = "\
PUT http://h:18443/orders/42/bill
  no rule lets it in: it is answered 403 (denied), and recorded where there is room for it: what is lost is declared
  route       orders (routes[0]): any host; the longest path_prefix, /orders; any method
  host        h:18443
  path        /orders/42/bill
  auth        any of mesh, partners: alice
  rules       not ops-read: its groups are ops, audit; its methods are GET
              not billing: its actors are svc-billing; its sources are 10.0.0.0/8, not 192.0.2.1
              not styles: its paths are /orders/**/*.css
  action      orders.access
  recorded    path: /orders/42/bill; headers: none; query: keys; body digests: sha256
";
    assert_eq!(denied, expected);
    let unknown = explain(1, &["GET", "http://h:18443/orders/1"]);
    assert!(unknown.contains("  the route asks for an identity, and none was given (--actor): it is answered 401 (credentials_missing), and recorded"), "{unknown}");
    let whoever = explain(0, &["--actor", "a", "GET", "http://h:18443/whoever/x"]);
    assert!(whoever.contains("  sent        GET /x\n              x-sealgate-actor: a\n              x-sealgate-scheme: api_key\n"), "{whoever}");
    // Nobody has to be known, so nobody is.
    let open = explain(0, &["--actor", "a", "GET", "http://h:18443/open"]);
    assert!(
        open.contains("  auth        none\n  rules       get lets it in\n") && !open.contains("x-sealgate"),
        "{open}"
    );
    explain(1, &["PUT", "http://h:18443/open"]);
}

#[test]
fn explain_follows_no_trick_with_the_path() {
    let explain = |code: i32, url: &str| {
        let args = ["explain", "-c", RULES, "--actor", "a", "GET", url];
        out(sealgate(&args).assert().code(code))
    };
    explain(0, "http://h:18443/orders/site/main.css");
    for (url, words) in [
        ("http://h:18443/orders/42;x.css", "answered 403 (denied)"),
        ("http://h:18443/orders/42%3bx.css", "answered 403 (denied)"),
        ("http://h:18443/orders;x/main.css", "400 (parameters), and recorded where there is room"),
        ("http://h:18443/open/..;/orders/main.css", "400 (dot_segment)"),
        ("http://h:18443/open/..%3Bx/orders/main.css", "400 (dot_segment)"),
        ("http://h:18443/orders%2fmain.css", "400 (encoded_separator)"),
        (
            "http://h:18080/orders/main.css",
            "sent to the same URL over TLS by the listener plain: it is answered 308",
        ),
    ] {
        let text = explain(1, url);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn explain_tells_programs_who_may_and_why() {
    let json = |code: i32, args: &[&str]| -> Value {
        let command = [&["explain", "-c", RULES, "--format", "json"], args].concat();
        serde_json::from_str(&out(sealgate(&command).assert().code(code))).unwrap()
    };
    let url = "http://h:18443/orders/1";
    let allowed = json(0, &["--actor", "alice", "--groups", "ops", "GET", url]);
    assert_eq!((&allowed["outcome"], &allowed["rule"]), (&"forwarded".into(), &"ops-read".into()));
    assert_eq!((&allowed["action"], &allowed["body_digest"]), (&"orders.access".into(), &"sha256".into()));
    assert_eq!(
        allowed["identity_headers"][2],
        serde_json::json!({ "header": "x-sealgate-provider", "values": ["mesh", "partners"] })
    );
    let denied = json(1, &["--actor", "alice", "PUT", url]);
    assert_eq!(
        (&denied["outcome"], &denied["status"], &denied["reason"]),
        (&"denied".into(), &403.into(), &"denied".into())
    );
    assert_eq!(
        denied["rules"][0],
        serde_json::json!({ "name": "ops-read", "says": "does_not_match", "why": ["its groups are ops, audit", "its methods are GET"] })
    );
    let unknown = json(1, &["GET", url]);
    assert_eq!((&unknown["outcome"], &unknown["status"]), (&"unauthenticated".into(), &401.into()));
    let missed = json(1, &["GET", "http://h:18443/orders/.;x"]);
    assert_eq!((&missed["outcome"], &missed["durability"]), (&"refused".into(), &"best_effort".into()));
}

#[test]
fn explain_refuses_whom_no_provider_vouches_for() {
    let long = "a".repeat(257);
    let many = vec!["g"; 65].join(",");
    for args in [
        vec!["--actor", ""],
        vec!["--actor", &long],
        vec!["--actor", "a\nb"],
        vec!["--groups", "ops"],
        vec!["--actor", "a", "--groups", "x,,y"],
        vec!["--actor", "a", "--groups", &many],
        vec!["--source", "10.0.0.0/8"],
    ] {
        let command = [vec!["explain", "-c", RULES], args.clone(), vec!["GET", "http://h/"]].concat();
        sealgate(&command).assert().code(2);
    }
}

#[test]
fn explain_refuses_what_is_no_request() {
    for [method, url] in [
        ["GET", "/orders"],
        ["GET", "ftp://h/"],
        ["GET", "http:///x"],
        ["G T", "http://h/"],
        ["", "http://h/"],
    ] {
        sealgate(&["explain", "-c", FULL, method, url]).assert().code(2);
    }
    sealgate(&["explain", "-c", "none.yaml", "GET", "http://h/"]).assert().code(78);
}

#[test]
fn keygen_makes_a_key_once() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("new/keys");
    let keygen = || sealgate(&["keygen", "audit.example.com/gw-1", "-o", keys.to_str().unwrap()]);
    let printed = out(keygen().assert().code(0));
    let mode = |name: &str| fs::metadata(keys.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("gateway.key"), mode("gateway.pub")), (0o600, 0o644));
    let private = fs::read_to_string(keys.join("gateway.key")).unwrap();
    let public = fs::read_to_string(keys.join("gateway.pub")).unwrap();
    assert_eq!(printed, public);
    let key: SigningKey = private.trim_end().parse().unwrap();
    assert_eq!(&public.trim_end().parse::<VerifierKey>().unwrap(), key.verifier_key());

    assert!(err(keygen().assert().code(1)).contains("is there already"));
    fs::remove_file(keys.join("gateway.key")).unwrap();
    keygen().assert().code(1);
    assert!(!keys.join("gateway.key").exists(), "no key beside another's public part");
    assert_eq!(fs::read_to_string(keys.join("gateway.pub")).unwrap(), public);
}

#[test]
fn keygen_refuses_a_name_that_no_log_can_have() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["", "UPPER", "a/log", "a//b", "../x"] {
        sealgate(&["keygen", name, "-o", directory.path().to_str().unwrap()]).assert().code(2);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_serve_exits_with_what_is_to_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let proxy = |more: &[&str]| {
        let arguments = ["proxy", "--data", data.to_str().unwrap(), "--admin", "off", "--metrics", "off"];
        sealgate(&[&arguments[..], more].concat())
    };
    let to = ["--to", "http://127.0.0.1:1"];
    proxy(&[&to[..], &["--listen", "nowhere"]].concat()).assert().code(2);
    proxy(&["--to", "localhost:3000"]).assert().code(2);
    proxy(&[&to[..], &["--log", "UPPER"]].concat()).assert().code(2);
    let loop_back = proxy(&["--to", "http://127.0.0.1:8", "--listen", "127.0.0.1:8"]).assert().code(78);
    assert_eq!(err(loop_back).matches("requests would go round").count(), 1);
    let in_use = err(proxy(&[&to[..], &["--listen", &address]].concat()).assert().code(75));
    assert!(in_use.contains(&address) && in_use.matches("in use").count() == 1, "{in_use}");
    assert!(!data.exists(), "nothing is made before the addresses are had");

    let problems = err(sealgate(&["run", "-c", "tests/configurations/wrong-keys.yaml"]).assert().code(78));
    assert_eq!(problems, fs::read_to_string("tests/configurations/wrong-keys.errors").unwrap());
    sealgate(&["run", "-c", LEAST]).env("RUST_LOG", "gateway=loud").assert().code(2);
}

#[test]
fn what_is_printed_for_programs_can_be_read_by_them() {
    let schema: Value = serde_json::from_str(&out(sealgate(&["schema"]).assert().code(0))).unwrap();
    jsonschema::validator_for(&schema).unwrap();
    assert!(
        out(sealgate(&["version"]).assert().code(0))
            .starts_with(&format!("sealgate {}\nformat   1\n", env!("CARGO_PKG_VERSION")))
    );
    assert!(out(sealgate(&["completions", "bash"]).assert().code(0)).contains("_sealgate()"));
}

#[test]
fn a_command_line_that_cannot_be_understood_exits_with_2() {
    for arguments in
        [&[][..], &["serve"], &["validate", "--fast"], &["validate", "--format", "xml"], &["keygen"]]
    {
        sealgate(arguments).assert().code(2);
    }
    sealgate(&["--help"]).assert().code(0);
    sealgate(&["--version"]).assert().code(0);
}

#[test]
fn every_command_says_how_it_is_used() {
    let help = out(sealgate(&["--help"]).assert().code(0));
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"validate") && commands.contains(&"explain"), "{help}");
    for command in commands.iter().filter(|command| !["help", "schema", "version"].contains(command)) {
        let help = out(sealgate(&[command, "--help"]).assert().code(0));
        assert!(help.contains("Example"), "no example for {command}:\n{help}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("sealgate"));
    let output = command.arg("schema").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
