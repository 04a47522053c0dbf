//! What it costs to find out who asks, and to decide: each part in a loop, beside what it cannot do without.

use std::{fs, hint::black_box, net::IpAddr, path::Path};

use anyhow::{Context, anyhow, ensure};
use audit_writer::{redact::HmacKey, time::Timestamp};
use gateway::{
    authorise::{Decided, Question, Rule, decide},
    config::{Config, Provider},
    identity::{
        IdentityMetrics, Presented, Principal, Providers,
        jwt::{JwtProvider, KeySet},
    },
};
use globset::GlobBuilder;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use sha2::{Digest, Sha256};

use crate::{
    cores::{MEASURED, bind_thread, thread_time},
    median::median,
    report::{Line, Report},
    token::{AUDIENCE, ISSUER, Issuer},
};

const ROUNDS: usize = 15;
/// Times in a round, for what takes microseconds, and for what takes nanoseconds.
const FEW: u32 = 500;
const MANY: u32 = 50_000;
const KEY: &str = "bm90IGEgc2VjcmV0LCBidXQgYXMgbG9uZyBhcyBvbmU=";

/// Measures all of it on one thread.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<Report> {
    bind_thread(MEASURED)?;
    fs::create_dir_all(folder)?;
    let issuer = Issuer::new()?;
    let config = configuration(folder, &issuer)?;
    let token = issuer.token("alice")?;
    let (jwt, principal) = token_provider(&config, &issuer, &token)?;
    let metrics = IdentityMetrics::new(&prometheus::Registry::new())?;
    let providers = Providers::start(&config, &metrics)?;
    let keys = providers.any_of(&config.routes[0].auth)?.context("the route asks for a key")?;
    let bearer = headers(AUTHORIZATION.as_str(), &format!("Bearer {token}"))?;
    let key = headers("x-api-key", KEY)?;
    let rules: Vec<Rule> = config.routes[0].allow.iter().map(Rule::new).collect::<Result<_, _>>()?;
    let question = Question {
        principal: Some(&principal),
        method: &Method::GET,
        path: "/orders/4711/invoices/2026/11",
        source: Some(IpAddr::from([10, 1, 2, 3])),
    };
    ensure!(decide(&rules, &question) == Some(Decided::Allowed(Some(9))), "the last rule lets it in");
    ensure!(keys.identify(&Presented::now(&key, None)).is_ok(), "the key is known");
    let glob = GlobBuilder::new("/orders/*/invoices/**").literal_separator(true).build()?.compile_matcher();
    let hmac_key = HmacKey::new(&[7; 32]);
    let value = b"patient-4711";

    let now = Timestamp::now();
    let uncached = time(FEW, || jwt.verify_anew(token.as_bytes(), now).is_ok());
    let verify = time(FEW, || issuer.verify_alone(&token).is_ok());
    let cached = time(MANY, || jwt.identify(&Presented::now(&bearer, None)));
    let of_token = time(MANY, || Sha256::digest(black_box(token.as_bytes())));
    let api_key = time(MANY, || keys.identify(&Presented::now(&key, None)).is_ok());
    let of_key = time(MANY, || Sha256::digest(black_box(KEY.as_bytes())));
    let decided = time(MANY, || decide(&rules, black_box(&question)));
    let one_glob = time(MANY, || glob.is_match(black_box(question.path)));
    let header = time(MANY, || hmac_key.hash(black_box(value)));
    let bare = time(MANY, || {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("HMAC takes keys of any length");
        mac.update(black_box(value));
        mac.finalize()
    });
    let line = |what: &str, figure: f64, anchor: f64, target| Line {
        what: what.into(),
        figure: shown(figure),
        ratio: Some(figure / anchor),
        target,
    };
    Ok(Report {
        title: "who asks, and what they may",
        how: format!(
            "a token of {} bytes, 10 rules of which the last matches; {ROUNDS} rounds of {FEW} or {MANY} times, medians of \
             the thread's processor time",
            token.len()
        ),
        lines: vec![
            line("JWT, ES256, seen for the first time", uncached, verify, ""),
            Line::anchor("aws-lc's ECDSA P-256 verification alone", shown(verify)),
            line("JWT, ES256, seen before", cached, of_token, ""),
            Line::anchor("SHA-256 of the token alone", shown(of_token)),
            line("API key, among a thousand", api_key, of_key, ""),
            Line::anchor("SHA-256 of the key alone", shown(of_key)),
            line("ten rules", decided, one_glob, ""),
            Line::anchor("one glob of globset alone", shown(one_glob)),
            line("HMAC of a header's value, as the record has it", header, bare, ""),
            Line::anchor("HMAC-SHA-256 alone", shown(bare)),
        ],
    })
}

/// The median time of one call.
fn time<T>(times: u32, mut call: impl FnMut() -> T) -> f64 {
    let mut round = || {
        let started = thread_time();
        for _ in 0..times {
            black_box(call());
        }
        (thread_time() - started).as_nanos() as f64 / f64::from(times)
    };
    round();
    median((0..ROUNDS).map(|_| round()))
}

fn shown(nanoseconds: f64) -> String {
    if nanoseconds < 10_000.0 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.1} µs", nanoseconds / 1000.0)
    }
}

fn headers(name: &str, value: &str) -> anyhow::Result<HeaderMap> {
    let name: http::HeaderName = name.parse()?;
    Ok(HeaderMap::from_iter([(name, HeaderValue::from_str(value)?)]))
}

/// A provider that knows the issuer's keys and has seen the token, and whom that is about.
fn token_provider(config: &Config, issuer: &Issuer, token: &str) -> anyhow::Result<(JwtProvider, Principal)> {
    let jwt = config.identity.values().find_map(|provider| match provider {
        Provider::Jwt(jwt) => Some(jwt),
        _ => None,
    });
    let jwt = jwt.context("a provider of tokens")?;
    let provider = JwtProvider::new("corp", jwt);
    provider.use_keys(KeySet::parse(issuer.key_set().as_bytes(), &jwt.algorithms)?);
    let verified = provider.verify_anew(token.as_bytes(), Timestamp::now());
    let principal = verified.map_err(|refusal| anyhow!("the token is refused: {}", refusal.as_str()))?;
    Ok((provider, principal))
}

/// Files and text of a configuration with a thousand API keys and ten rules.
fn configuration(folder: &Path, issuer: &Issuer) -> anyhow::Result<Config> {
    let hash = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut keys = format!("keys:\n  - {{ actor: acme, groups: [partners], sha256: {} }}\n", hash(KEY));
    for number in 0..999 {
        keys.push_str(&format!("  - {{ actor: a{number}, sha256: {} }}\n", hash(&number.to_string())));
    }
    fs::write(folder.join("keys.yaml"), keys)?;
    fs::write(folder.join("jwks.json"), issuer.key_set())?;
    let mut rules = String::new();
    for number in 0..9 {
        rules.push_str(&format!(
            "      - {{ name: r{number}, groups: [ops], methods: [GET], paths: [\"/orders/*/{number}/**\"] }}\n"
        ));
    }
    let at = std::path::absolute(folder)?;
    let at = at.display();
    let text = format!(
        "version: 1\n\
         listen: [{{ name: edge, address: 127.0.0.1:18080 }}]\n\
         upstreams: {{ orders: {{ endpoints: {{ static: [127.0.0.1:9] }} }} }}\n\
         identity:\n  \
         corp: {{ jwt: {{ issuer: {ISSUER}, audience: [{AUDIENCE}], jwks: {{ file: {at}/jwks.json }}, algorithms: [ES256] }} }}\n  \
         partners: {{ api_key: {{ header: x-api-key, file: {at}/keys.yaml }} }}\n\
         routes:\n  \
         - name: orders\n    match: {{ path_prefix: /orders }}\n    upstream: orders\n    auth: {{ any_of: [partners] }}\n    \
         allow:\n{rules}      \
         - {{ name: last, groups: [ops], methods: [GET], paths: [\"/orders/*/invoices/**\"], sources: [10.0.0.0/8] }}\n\
         audit: {{ log: bench.localhost/gw-1, key: {{ file: k }}, spool: {{ path: s }}, store: {{ directory: d }} }}\n"
    );
    Ok(Config::from_text("bench", text)?)
}
