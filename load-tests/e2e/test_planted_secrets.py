"""A secret in every place that a request and a configuration have: nothing that a run writes holds any of them.

The gateway runs with all of its logging on, with every kind of identity, TLS on both sides and HTTP/2; what it served,
refused and could not read carries secrets. Then everything is searched: the records (spool, write-ahead log, segments
unpacked), the log, metrics, status, its own answers, and what `sealgate` and `sealaudit` print.
"""

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.binaries import Outcome, sealaudit, sealgate
from harness.certificates import Authority, serving
from harness.files import replace
from harness.gateway import Gateway, route
from harness.planting import Planted, spellings, written_below
from harness.ports import LOOPBACK, steady_port
from harness.tokens import AUDIENCE, ISSUER, TokenKey, bearer, claims, key_set
from harness.upstream import Upstream
from harness.wire import Client, Closed, Message, request_bytes

SIGNING = TokenKey("k1")
TEMPLATES = ["/reset/{token}", "/users/{id}/keys/{key}", "/drop/{token}"]
AUDIT = {"headers": ["user-agent", "x-patient-id"], "query": "keys", "body_digest": "sha256", "action": "probe"}
# Names whose values no query is recorded with.
QUERY_NAMES = [  # Some in capitals: it makes no difference.
    "access_token",
    "Id_Token",
    "refresh_token",
    "TOKEN",
    "api_key",
    "apikey",
    "key",
    "password",
    "secret",
    "client_secret",
    "code",
    "sig",
    "signature",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
]


@dataclass
class Run:
    """One life of a gateway, and all that came of it."""

    gateway: Gateway
    upstream: Upstream
    authority: Authority
    planted: Planted = field(default_factory=Planted)
    told: Planted = field(default_factory=Planted)
    texts: dict[str, bytes] = field(default_factory=dict)

    def answer(self, what: str, message: Message) -> Message:
        """An answer of the gateway's own is one more thing that it wrote."""
        if message.get("content-type") == "application/problem+json":
            self.texts[f"the answer to {what}"] = f"{message.start}{message.fields}".encode() + message.body
        return message

    def output(self, outcome: Outcome) -> None:
        self.texts[f"the output of `{outcome.command}`"] = outcome.out.encode() + outcome.err.encode()


def configured(run: Run, given: Path) -> None:
    """Everything that a configuration can name a secret by."""
    planted, gateway, authority = run.planted, run.gateway, run.authority
    server, client = authority.issue("api", ["api.test"]), authority.client("gw")
    for place, pair in {"the listener's private key": server, "the key for upstreams": client}.items():
        planted.keep(place, pair.secret)
    hmac = planted.keep("the key for HMAC", bytes(range(128, 192)))
    (given / "hmac.key").write_bytes(hmac)
    (given / "hmac.key").chmod(0o600)
    # A careless operator's key set: the private half is in it.
    private = planted.keep("the private half of a key set", SIGNING.private_jwk_member.encode()).decode()
    (given / "jwks.json").write_text(json.dumps(key_set([SIGNING]) | {"d": private}))
    key = planted.at("an API key that is known")
    planted.keep("the hash of an API key", hashlib.sha256(key.encode()).hexdigest().encode())
    keys = {"keys": [{"actor": run.told.at("an actor"), "sha256": hashlib.sha256(key.encode()).hexdigest()}]}
    (given / "keys.yaml").write_text(json.dumps(keys))
    gateway.environment = {"RUST_LOG": "trace", "RUST_BACKTRACE": "1"}
    planted.keep("the log's private key", str(gateway.signer).split("+", 4)[4].encode())

    config = gateway.config
    (edge,) = config["listen"]
    config["listen"].append(edge | {"name": "plain", "address": f"{LOOPBACK}:{steady_port()}"})
    config["listen"].append({"name": "away", "address": f"{LOOPBACK}:{steady_port()}", "redirect_to_https": 443})
    edge |= {
        "http2": True,
        "tls": {
            "certificates": [server.configured],
            "client_auth": {"mode": "optional", "ca": str(authority.cert)},
        },
    }
    config["upstreams"]["main"]["tls"] = {
        "sni": "orders.internal",
        "ca": str(authority.cert),
        "client": client.configured,
    }
    config["identity"] = {
        "corp": {
            "jwt": {
                "issuer": ISSUER,
                "audience": [AUDIENCE],
                "jwks": {"file": str(given / "jwks.json")},
                "algorithms": ["ES256"],
            }
        },
        "partners": {"api_key": {"header": "x-api-key", "file": str(given / "keys.yaml")}},
        "mesh": {"mtls": {"actor": "subject"}},
        "edge": {"header": {"actor": "x-edge-user", "groups": "x-edge-groups", "only_from": "mesh"}},
    }
    config["audit"] |= {
        "redact": {
            "hmac_key": str(given / "hmac.key"),
            "hmac": ["request.headers.x-patient-id"],
            "paths": TEMPLATES,
        }
    }
    hosts = {"hosts": ["api.test"]}
    known = {"any_of": ["corp", "partners", "edge"]}
    config["routes"] = [
        route("open", match=hosts | {"path_prefix": "/"}, audit=AUDIT | {"durability": "strict"}),
        route("values", match=hosts | {"path_prefix": "/values"}, audit=AUDIT | {"query": "values"}),
        route("known", match=hosts | {"path_prefix": "/known"}, auth=known, audit=AUDIT),
        route(
            "ruled",
            match=hosts | {"path_prefix": "/ruled"},
            auth=known,
            allow=[{"name": "nobody", "actors": ["nobody"]}],
            audit=AUDIT,
        ),
    ]


def headers_of(planted: Planted, where: str) -> dict[str, str]:
    """A secret in every header that may have one."""
    names = [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "Referer",
        "X-Custom",
        "X-Edge-User",
        "X-Edge-Groups",
        "X-Sealgate-Actor",
        "X-Forwarded-User",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-Email",
        "X-Request-Id",
        "Traceparent",
        "Tracestate",
        "Baggage",
        "X-Patient-Id",
        "Content-Digest",
        "Origin",
        "From",
        "Sec-WebSocket-Key",
        "X-Amz-Security-Token",
        "X-Original-Url",
        "Via",
    ]
    values = {name: planted.at(f"{name} {where}") for name in names}
    digest = base64.b64encode(planted.at(f"Content-Digest {where}").encode()).decode()
    jwt = ".".join(
        base64.urlsafe_b64encode(f'{{"{planted.at(f"a JWT as user agent {where}")}":1}}'.encode()).rstrip(b"=").decode()
        for _ in range(3)
    )
    return values | {
        "Authorization": f"Bearer {values['Authorization']}",
        "Proxy-Authorization": f"Basic {values['Proxy-Authorization']}",
        "Cookie": f"session={values['Cookie']}; theme=dark",
        "Referer": f"https://other.test/?token={values['Referer']}",
        "Content-Digest": f"sha-256=:{digest}:",
        "User-Agent": jwt,
        planted.at(f"a header's name {where}"): "1",
    }


def over_http1(run: Run, client: Client, where: str) -> None:
    """Requests that are served, refused, and not understood."""
    planted, told = run.planted, run.told
    ask = lambda what, *more, **named: run.answer(f"{what} {where}", client.ask(*more, **named))  # noqa: E731
    fields = headers_of(planted, where)
    query = f"a={planted.at(f'a query value {where}')}&{told.at(f'a query name {where}')}=1"
    path = f"/reset/{planted.at(f'a path template {where}')}"
    assert ask("a template", f"{path}?{query}", fields=fields).status == 200
    body = planted.at(f"a body {where}").encode()
    assert ask("a body", f"/x/{told.at(f'a path {where}')}?{query}", "POST", fields, body).status == 200
    agent = {"User-Agent": told.at(f"a user agent {where}")}
    assert ask("a user agent", "/x", fields=fields | agent).status == 200
    jwt = SIGNING.token(planted.at(f"a subject within a JWT of a query {where}"))
    planted.keep(f"a JWT of a query {where}", jwt.encode())
    pairs = "&".join(f"{name}={planted.at(f'{name} of a query {where}')}" for name in QUERY_NAMES)
    kept = f"page={told.at(f'a value of a query {where}')}"
    assert ask("values", f"/values?{pairs}&{kept}&state={jwt}", fields=fields).status == 200

    # Who asks: known, unknown, and known but denied.
    good = SIGNING.token(told.at(f"an actor {where}"))
    planted.keep(f"a good token {where}", good.encode())
    assert ask("a good token", f"/known?{query}", fields=bearer(good)).status == 200
    key = {"X-Api-Key": planted.at("an API key that is known")}
    assert ask("a good key", f"/known?{query}", fields=key).status == 200
    assert ask("a denied key", f"/ruled?{query}", fields=key).status == 403
    for what, token in {
        "an expired token": SIGNING.token("x", exp=1, note=planted.at(f"a claim {where}")),
        "a token of nobody": TokenKey("k2").token(planted.at(f"a subject {where}")),
        "a token for others": SIGNING.token("x", aud=planted.at(f"an audience {where}")),
        "a token of others": SIGNING.token("x", iss=planted.at(f"an issuer {where}")),
        "a header of a token": SIGNING.sign(claims(), {"alg": "ES256", "kid": planted.at(f"a key's id {where}")}),
        "an algorithm": SIGNING.sign(claims(), {"alg": planted.at(f"an algorithm {where}")}),
    }.items():
        planted.keep(f"{what} {where}", token.encode())
        assert ask(what, f"/known?{query}", fields=fields | bearer(token)).status == 401
    for what, more in {
        "an unknown key": {"X-Api-Key": planted.at(f"an unknown key {where}")},
        "an edge's word": {"X-Edge-User": planted.at(f"an unproven user {where}")},
        "nothing": {},
        "no token": bearer(planted.at(f"no token {where}")),
    }.items():
        assert ask(what, f"/known?{query}", fields=more).status == 401

    # The upstream's part.
    assert (
        ask("a dropped one", f"/drop/{planted.at(f'a path that fails {where}')}?{query}", fields=fields).status == 502
    )


def understood_by_nobody(run: Run, connect, where: str) -> None:
    """Each on a connection of its own: the gateway closes them."""
    planted = run.planted
    secret = lambda what: planted.at(f"{what} {where}")  # noqa: E731
    host, chunked = "Host: api.test\r\n", "Host: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    for what, text in {
        "another version": f"GET /?{secret('a query of another version')} HTTP/9.9\r\n{host}\r\n",
        "no request": f"{secret('no request')}\r\n\r\n",
        "no colon": f"GET / HTTP/1.1\r\n{host}Authorization {secret('a header without a colon')}\r\n\r\n",
        "user information": f"GET http://bob:{secret('a password')}@api.test/ HTTP/1.1\r\n{host}\r\n",
        "user information in Host": f"GET / HTTP/1.1\r\nHost: bob:{secret('a password in Host')}@api.test\r\n\r\n",
        "a fragment": f"GET /x#{secret('a fragment')} HTTP/1.1\r\n{host}\r\n",
        "a refused template": f"GET /reset/{secret('a refused template')}%2fx HTTP/1.1\r\n{host}\r\n",
        "a climbing template": f"GET /../reset/{secret('a climbing template')} HTTP/1.1\r\n{host}\r\n",
        "another host": f"GET /reset/{secret('a template of another host')} HTTP/1.1\r\nHost: none.test\r\n\r\n",
        "extensions": f"POST /x HTTP/1.1\r\n{chunked}1;{secret('a chunk extension')}\r\nx\r\n0\r\n"
        f"X-Trailer: {secret('a trailer')}\r\n\r\n",
        "no chunk": f"POST /x HTTP/1.1\r\n{chunked}{secret('no chunk')}\r\n",
        "a large head": f"GET / HTTP/1.1\r\n{host}X-Large: {secret('a large head')}{'x' * 70000}\r\n\r\n",
        "half a head": f"GET / HTTP/1.1\r\n{host}Cookie: {secret('half a head')}",
    }.items():
        with connect() as client:
            client.send(text.encode())
            client.finish_sending() if where == "in the clear" else None
            if what == "half a head":
                continue
            try:
                run.answer(f"{what} {where}", client.reader.response())
            except (Closed, OSError):
                continue
    with connect() as client:
        upgrade = headers_of(planted, f"of an upgrade {where}") | {"Connection": "Upgrade", "Upgrade": "websocket"}
        client.send(request_bytes("/upgrade/1", fields=upgrade))
        if client.reader.head().status == 101:
            client.send(secret("an upgraded stream").encode())
            client.reader.exactly(len(secret("an upgraded stream")))


def over_http2(run: Run, given: Path) -> None:
    """The same in another spelling, by clients that others wrote."""
    planted, where = run.planted, "over HTTP/2"
    url = f"https://api.test:{run.gateway.port}"
    at = ["--resolve", f"api.test:{run.gateway.port}:{LOOPBACK}", "--cacert", str(run.authority.cert)]
    fields = headers_of(planted, where) | {"User-Agent": run.told.at(f"a user agent {where}")}
    headers = [word for name, value in fields.items() for word in ("-H", f"{name}: {value}")]
    for what, path, status in [
        ("a template", f"/reset/{planted.at(f'a path template {where}')}", 200),
        ("an unknown token", "/known", 401),
        ("a climbing template", f"/../reset/{planted.at(f'a climbing template {where}')}", 400),
        ("a dropped one", f"/drop/{planted.at(f'a path that fails {where}')}", 502),
    ]:
        query = f"?a={planted.at(f'a query value of {what} {where}')}"
        body = ["--data-binary", planted.at(f"a body of {what} {where}")]
        curl = ["curl", "-sS", "--http2", "--path-as-is", "-w", "%{stderr}%{http_code} %{http_version}"]
        words = [*curl, *at, *headers, *body, f"{url}{path}{query}"]
        asked = subprocess.run(words, capture_output=True, timeout=30, check=False)
        assert asked.stderr.decode() == f"{status} 2", (what, asked)
        if status in (400, 401, 502):
            run.texts[f"the answer to {what} {where}"] = asked.stdout
    (given / "body").write_text(planted.at(f"a body of nghttp {where}"))
    trailer = f"--trailer=x-trailer: {planted.at(f'a trailer {where}')}"
    to = f"https://{LOOPBACK}:{run.gateway.port}/nghttp"
    words = ["nghttp", "-d", str(given / "body"), trailer, "-H", ":authority: api.test", to]
    subprocess.run(words, capture_output=True, timeout=30, check=True)


def read_by_operators(run: Run, given: Path) -> None:
    """What the programs print: of what is good, and of what is broken around the secrets."""
    gateway, planted = run.gateway, run.planted
    config = ["-c", gateway.config_file]
    for form in ("text", "json"):
        run.output(sealgate("validate", "--format", form, *config).expect(0))
        run.output(sealgate("explain", *config, "--format", form, "--actor", "x", "GET", "https://api.test/ruled"))
    for command in (
        ["search", "--limit", "0", "--format", "ndjson"],
        ["search", "--format", "table"],
        ["tail", "-n", "100"],
    ):
        run.output(sealaudit(command[0], gateway.store, *command[1:]).expect(0))
    run.output(gateway.verify())
    run.output(sealaudit("logs", gateway.store))
    run.output(sealaudit("show", gateway.store, f"{gateway.signer.name}#5"))
    run.output(sealaudit("search", gateway.directory / "sealgate.yaml"))
    # Files that are broken where a secret stands.
    jwks, keys, secret = given / "jwks.json", given / "keys.yaml", planted.at("a broken file").encode()
    kept = {file: file.read_bytes() for file in (jwks, keys, run.authority.directory / "api.key", given / "hmac.key")}
    for data in (
        secret,
        b'{"keys": [{"kty": "oct", "k": "%s"}]}' % secret,
        b"keys:\n  - { actor: x, sha256: %s }\n" % secret,
        b"-----BEGIN PRIVATE KEY-----\n%s\n" % secret,
        b"keys: [%s: " % secret,
    ):
        for file, good in kept.items():
            replace(file, data)
            for form in ("text", "json"):
                run.output(sealgate("validate", "--format", form, *config))
            replace(file, good)


@pytest.fixture(scope="module")
def run(module_directory) -> Iterator[Run]:
    given = module_directory / "given"
    authority = Authority(given / "tls")
    upstream = Upstream(serving(authority.issue("orders", ["orders.internal"]), clients=authority))
    gateway = Gateway(module_directory / "gateway", {"main": upstream.address}, [])
    run = Run(gateway, upstream, authority)
    configured(run, given)
    gateway.start()
    tls = authority.trusted_by_client()
    with gateway.connect(tls=tls) as client:
        over_http1(run, client, "over TLS")
    with Client(gateway.port_of("plain")) as client:
        over_http1(run, client, "in the clear")
    understood_by_nobody(run, lambda: gateway.connect(tls=tls), "over TLS")
    understood_by_nobody(run, lambda: Client(gateway.port_of("plain")), "in the clear")
    with Client(gateway.port_of("away")) as client:
        client.ask(f"/reset/{run.planted.at('a redirected template')}?a={run.planted.at('a redirected query')}")
    over_http2(run, given)
    # What cannot be read when it is read again is told, and what it says is not.
    keys = (given / "keys.yaml").read_bytes()
    replace(given / "keys.yaml", f"keys: [{{ actor: x, sha256: {run.planted.at('a broken reload')} }}]")
    gateway.reload()
    with gateway.connect(tls=tls) as client:
        client.ask("/x")
    replace(given / "keys.yaml", keys)
    for path in ("/metrics", "/status", "/readyz"):
        run.texts[path] = gateway.admin(path).body
    run.texts |= {f"{where} (while running)": text for where, text in written_below(gateway.directory).items()}
    gateway.stop()
    read_by_operators(run, given)
    run.texts |= written_below(gateway.directory)
    yield run
    upstream.close()


def test_nothing_that_a_run_writes_holds_a_secret(run):
    assert len(run.planted.secrets) > 200 and len(run.upstream.seen) > 15
    own_key = str(run.gateway.directory / "gateway.key")
    texts = {where: text for where, text in run.texts.items() if not where.startswith(own_key)}
    found = run.planted.found_in(texts)
    elsewhere = [one for one in found if "gateway.log" not in one]
    assert not elsewhere, f"{len(elsewhere)} times outside of the log:\n" + "\n".join(elsewhere[:10])
    assert not found, f"{len(found)} times:\n" + "\n".join(found[:10])


def test_what_is_no_secret_is_found_by_the_same_search(run):
    """Else the test above would protect nothing: each of these is in a segment, and in what was there while it ran."""
    for place, secret in run.told.secrets.items():
        holding = [where for where, text in run.texts.items() if secret in text]
        assert [where for where in holding if "(unpacked)" in where], f"{place} is in no segment: {holding}"
        assert [where for where in holding if "while running" in where], f"{place} was not in the spool: {holding}"


def test_the_search_knows_how_programs_write_bytes():
    planted = Planted()
    secret = planted.at("here").encode()
    for form, spelling in spellings(secret).items():
        assert planted.found_in({"a text": b"before " + spelling + b" after"}), form
    assert planted.found_in({"a text": base64.b64encode(b"{}" + b"x" + secret)})
    assert not planted.found_in({"a text": b"nothing of it"})


def test_the_upstream_had_it_all(run):
    """Nothing was lost on the way: it is the evidence that keeps no secrets, not the service."""
    seen = "".join(f"{seen.target}{seen.message.fields}" for seen in run.upstream.seen)
    for place in ("a path template over TLS", "X-Custom over TLS", "Cookie over HTTP/2", "a query value in the clear"):
        assert run.planted.at(place) in seen, place


def test_records_tell_that_something_was_hidden(run):
    records = [record for record in run.gateway.audited().records if "request" in record]
    paths = {record["request"]["path"] for record in records}
    assert {"/reset/{token}", "/drop/{token}"} <= paths
    values = [value for record in records for value in record["request"].get("query_values", [])]
    assert "access_token={redacted}" in values and "state={redacted}" in values
    agents = {record["request"].get("headers", {}).get("user-agent") for record in records}
    assert "{redacted}" in agents
    hashes = {record["request"].get("headers", {}).get("x-patient-id") for record in records} - {None}
    assert hashes and all(value.startswith("hmac-sha256:") for value in hashes)
    run.gateway.verify().expect(0)
