"""`sealgate validate` finds what would fail later: each error at its place, beside a configuration that is right."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.binaries import sealgate
from harness.certificates import EXPIRED, NOT_YET_VALID, Authority, Days
from harness.gateway import Gateway, route
from harness.identities import keys_file
from harness.tokens import AUDIENCE, ISSUER, TokenKey, key_set

SOON: Days = (-1, 3)


@dataclass
class Setup:
    """A configuration that is right, and the files that it names; a test breaks one thing of it."""

    gateway: Gateway
    authority: Authority
    files: Path

    @property
    def config(self) -> dict:
        return self.gateway.config

    @property
    def listener_tls(self) -> dict:
        return self.config["listen"][0]["tls"]

    @property
    def upstream_tls(self) -> dict:
        return self.config["upstreams"]["main"]["tls"]

    @property
    def rules(self) -> list[dict]:
        return self.config["routes"][0]["allow"]

    def write(self, name: str, data: str | bytes) -> str:
        path = self.files / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def pair(self, name: str, **more) -> dict[str, str]:
        return self.authority.issue(name, ["api.test"], **more).configured

    def validated(self, code: int, *arguments: str) -> list[dict]:
        self.gateway.write_config()
        outcome = sealgate("validate", "--format", "json", *arguments, "-c", self.gateway.config_file)
        return json.loads(outcome.expect(code).out)

    def line_of(self, text: str) -> int:
        """The line of the configuration that holds this text."""
        lines = self.gateway.config_file.read_text().splitlines()
        (found,) = [number for number, line in enumerate(lines, 1) if text in line]
        return found


@pytest.fixture
def setup(directory: Path, upstream) -> Setup:
    files = directory / "files"
    authority = Authority(files)
    setup = Setup(Gateway(directory / "gateway", {"main": upstream.address}, []), authority, files)
    config = setup.config
    config["listen"][0]["tls"] = {
        "certificates": [setup.pair("api")],
        "client_auth": {"mode": "optional", "ca": str(authority.cert)},
    }
    config["upstreams"]["main"]["tls"] = {
        "sni": "orders.internal",
        "ca": str(authority.cert),
        "client": authority.client("gw").configured,
    }
    jwt = {"issuer": ISSUER, "audience": [AUDIENCE], "algorithms": ["ES256"]}
    config["identity"] = {
        "corp": {"jwt": jwt | {"jwks": {"file": setup.write("jwks.json", json.dumps(key_set([TokenKey("k")])))}}},
        "partners": {"api_key": {"header": "x-api-key", "file": setup.write("keys.yaml", keys_file({"bob": []}))}},
        "mesh": {"mtls": {"actor": "spiffe_id", "trust_domain": "example.org"}},
        "edge": {"header": {"actor": "x-edge-user", "only_from": "mesh"}},
    }
    rules = [
        {"name": "reads", "methods": ["GET"], "paths": ["/orders/*"]},
        {"name": "ops", "groups": ["ops"], "sources": ["10.0.0.0/8"]},
    ]
    config["routes"] = [
        route(
            "orders",
            match={"path_prefix": "/orders", "methods": ["GET", "POST"]},
            auth={"any_of": ["corp", "partners", "edge", "mesh"]},
            allow=rules,
        ),
        route("open", match={"path_prefix": "/open"}),
    ]
    return setup


def first_pair(setup: Setup) -> dict:
    return setup.listener_tls["certificates"][0]


def set_in(place: Callable[[Setup], dict], key: str, value: Callable[[Setup], object]) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        place(setup)[key] = value(setup)

    return change


def certificate(key: str, value: Callable[[Setup], object]) -> Callable[[Setup], None]:
    return set_in(first_pair, key, value)


def client_ca(value: Callable[[Setup], object]) -> Callable[[Setup], None]:
    return set_in(lambda setup: setup.listener_tls["client_auth"], "ca", value)


def upstream(key: str, value: Callable[[Setup], object]) -> Callable[[Setup], None]:
    return set_in(lambda setup: setup.upstream_tls, key, value)


def key_set_file(data: str | bytes) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        setup.write("jwks.json", data)

    return change


def api_keys(data: str | bytes) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        setup.write("keys.yaml", data)

    return change


def pair(name: str, **more) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        setup.listener_tls["certificates"][0] = setup.pair(name, **more)

    return change


GARBAGE = "garbage"
KEY = '{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "x": "%s", "y": "%s"}'
HASH = "0" * 64
# What is broken; where the error is, its key, and a word of it.
FILES: dict[str, tuple[Callable[[Setup], None], str, str, str]] = {
    "a certificate that is not there": (
        certificate("cert", lambda setup: str(setup.files / "none.pem")),
        "listen[0].tls.certificates[0]",
        "cert",
        "No such file",
    ),
    "a certificate that is a directory": (
        certificate("cert", lambda setup: str(setup.files)),
        "listen[0].tls.certificates[0]",
        "cert",
        "no file",
    ),
    "a certificate that is none": (
        certificate("cert", lambda setup: setup.write("x.pem", GARBAGE)),
        "listen[0].tls.certificates[0]",
        "cert",
        "no certificate",
    ),
    "a certificate that is a key": (
        certificate("cert", lambda setup: first_pair(setup)["key"]),
        "listen[0].tls.certificates[0]",
        "cert",
        "no certificate",
    ),
    "a key that is not there": (
        certificate("key", lambda setup: str(setup.files / "none.key")),
        "listen[0].tls.certificates[0]",
        "key",
        "No such file",
    ),
    "a key that is none": (
        certificate("key", lambda setup: setup.write("x.key", GARBAGE)),
        "listen[0].tls.certificates[0]",
        "key",
        "no private key",
    ),
    "another certificate's key": (
        certificate("key", lambda setup: setup.pair("other")["key"]),
        "listen[0].tls.certificates[0]",
        "key",
        "not that of",
    ),
    "an expired certificate": (pair("old", valid=EXPIRED), "listen[0].tls.certificates[0]", "cert", "expired"),
    "a certificate that is not valid yet": (
        pair("early", valid=NOT_YET_VALID),
        "listen[0].tls.certificates[0]",
        "cert",
        "before",
    ),
    "clients' authorities that are not there": (
        client_ca(lambda setup: str(setup.files / "none.pem")),
        "listen[0].tls.client_auth",
        "ca",
        "No such file",
    ),
    "clients' authorities that are none": (
        client_ca(lambda setup: setup.write("x.pem", GARBAGE)),
        "listen[0].tls.client_auth",
        "ca",
        "no certificate",
    ),
    "an upstream's authorities that are not there": (
        upstream("ca", lambda setup: str(setup.files / "none.pem")),
        "upstreams.main.tls",
        "ca",
        "No such file",
    ),
    "an upstream's authorities that are none": (
        upstream("ca", lambda setup: setup.write("x.pem", GARBAGE)),
        "upstreams.main.tls",
        "ca",
        "no certificate",
    ),
    "a certificate for upstreams that has expired": (
        upstream("client", lambda setup: setup.authority.client("old", valid=EXPIRED).configured),
        "upstreams.main.tls.client",
        "cert",
        "expired",
    ),
    "a certificate for upstreams with another's key": (
        upstream("client", lambda setup: {"cert": setup.pair("a")["cert"], "key": setup.pair("b")["key"]}),
        "upstreams.main.tls.client",
        "key",
        "not that of",
    ),
    "a key set that is not there": (
        lambda setup: (setup.files / "jwks.json").unlink(),
        "identity.corp.jwt.jwks",
        "file",
        "No such file",
    ),
    "a key set that is none": (key_set_file(GARBAGE), "identity.corp.jwt.jwks", "file", "key set"),
    "a key set of no keys": (key_set_file('{"keys": []}'), "identity.corp.jwt.jwks", "file", "key"),
    "a key set of secrets": (
        key_set_file('{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}]}'),
        "identity.corp.jwt.jwks",
        "file",
        "key",
    ),
    "a key set of other algorithms": (
        key_set_file(json.dumps(key_set([TokenKey("k", "EdDSA")]))),
        "identity.corp.jwt.jwks",
        "file",
        "key",
    ),
    "a key set whose key is no point": (
        key_set_file('{"keys": [%s]}' % (KEY % ("AA", "AA"))),
        "identity.corp.jwt.jwks",
        "file",
        "key",
    ),
    "keys that are not there": (
        lambda setup: (setup.files / "keys.yaml").unlink(),
        "identity.partners.api_key",
        "file",
        "No such file",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_would_fail_later_is_found_where_it_is_named(setup, what):
    assert setup.validated(0) == [], "the configuration that is right"
    change, where, key, word = FILES[what]
    change(setup)
    (problem,) = setup.validated(78)
    assert (problem["in"], problem["key"], problem["severity"]) == (where, key, "error"), problem
    assert word.lower() in problem["rule"].lower(), problem
    assert problem["line"] > 0 and problem["column"] > 0, problem
    assert setup.validated(0, "--no-environment") == [], "for CI, no file is touched"
    setup.gateway.launch()
    setup.gateway.wait(78)
    assert not setup.gateway.has_begun(), "it does not start either, and nothing was begun"


def test_the_place_of_an_error_is_the_line_that_names_the_file(setup):
    name = str(setup.files / "elsewhere.pem")
    first_pair(setup)["cert"] = name
    (problem,) = setup.validated(78)
    assert problem["line"] == setup.line_of("elsewhere.pem")
    text = sealgate("validate", "-c", setup.gateway.config_file).expect(78)
    assert f"sealgate.yaml:{problem['line']}:{problem['column']}: " in text.out + text.err, text


def test_every_error_is_told_at_once(setup):
    first_pair(setup)["cert"] = str(setup.files / "none.pem")
    setup.upstream_tls["ca"] = str(setup.files / "none.pem")
    key_set_file(GARBAGE)(setup)
    api_keys(GARBAGE)(setup)
    assert len(setup.validated(78)) == 4


@pytest.mark.parametrize(
    ("data", "line", "word"),
    [
        ("", 1, "keys"),
        ("keys: [", 1, ""),
        (f"keys:\n  - {{ actor: a, sha256: {HASH}0 }}\n", 2, "sha256"),
        ("keys:\n  - { actor: a, sha256: the-key-itself }\n", 2, "sha256"),
        (f"keys:\n  - {{ sha256: {HASH} }}\n", 2, "actor"),
        (f"keys:\n  - {{ actor: '', sha256: {HASH} }}\n", 2, "actor"),
        (f"keys:\n  - {{ actor: a, sha256: {HASH}, key: x }}\n", 2, "unknown"),
        (f"keys:\n  - {{ actor: a, sha256: {HASH}, not_after: tomorrow }}\n", 2, "not_after"),
        (f"keys:\n  - {{ actor: a, sha256: {HASH} }}\n  - {{ actor: b, sha256: {HASH} }}\n", 3, "once"),
    ],
)
def test_what_is_wrong_with_a_file_of_keys_has_its_place_there(setup, data, line, word):
    api_keys(data)(setup)
    outcome = sealgate("validate", "-c", config_of(setup)).expect(78)
    said = outcome.out + outcome.err
    assert f"keys.yaml:{line}:" in said and word in said, outcome
    assert "the-key-itself" not in said, "it may be a key"


def config_of(setup: Setup) -> Path:
    setup.gateway.write_config()
    return setup.gateway.config_file


def test_a_certificate_that_ends_soon_is_a_warning_only(setup):
    setup.listener_tls["certificates"].append(setup.pair("soon", valid=SOON))
    (problem,) = setup.validated(0)
    assert problem["severity"] == "warning" and problem["key"] == "cert", problem
    assert problem["in"] == "listen[0].tls.certificates[1]"


def rule(index: int, **changed) -> Callable[[Setup], None]:
    return lambda setup: setup.rules[index].update(changed)


def more_rules(*rules: dict) -> Callable[[Setup], None]:
    return lambda setup: setup.rules.extend(rules)


def open_route(**more) -> Callable[[Setup], None]:
    return lambda setup: setup.config["routes"][1].update(more)


IDLE: dict[str, tuple[Callable[[Setup], None], str, str]] = {
    "a method that the route does not take": (rule(0, methods=["DELETE"]), "routes[0].allow[0]", "methods[0]"),
    "a path beside the route": (rule(0, paths=["/billing/**"]), "routes[0].allow[0]", "paths[0]"),
    "a path that no request has": (rule(0, paths=["/orders/../x"]), "routes[0].allow[0]", "paths[0]"),
    "a path that is none": (rule(0, paths=["orders"]), "routes[0].allow[0]", "paths[0]"),
    "an earlier rule that takes all": (
        lambda setup: setup.rules.insert(0, {"name": "all", "methods": ["GET"]}),
        "routes[0]",
        "allow[1]",
    ),
    "the same rule again": (
        more_rules({"name": "again", "groups": ["ops"], "sources": ["10.1.0.0/16"]}),
        "routes[0]",
        "allow[2]",
    ),
    "a name twice": (rule(1, name="reads"), "routes[0].allow[1]", "name"),
    "a list of nobody": (rule(1, groups=[]), "routes[0].allow[1]", "groups"),
    "no rules": (lambda setup: setup.rules.clear(), "routes[0]", "allow"),
    "actors where nobody is known": (
        open_route(allow=[{"name": "x", "actors": ["bob"]}]),
        "routes[1].allow[0]",
        "actors",
    ),
    "groups where nobody is known": (
        open_route(allow=[{"name": "x", "groups": ["ops"]}]),
        "routes[1].allow[0]",
        "groups",
    ),
    "an unknown condition": (rule(0, path=["/x"]), "routes[0].allow[0]", "path"),
    "a provider that is not there": (open_route(auth={"any_of": ["nobody"]}), "routes[1].auth", "any_of[0]"),
    "no providers": (open_route(auth={"any_of": []}), "routes[1].auth", "any_of"),
    "an edge that nobody proves": (
        lambda setup: setup.config["identity"]["edge"]["header"].update(only_from="nobody"),
        "identity.edge.header",
        "only_from",
    ),
    "an edge that proves itself": (
        lambda setup: setup.config["identity"]["edge"]["header"].update(only_from="edge"),
        "identity.edge.header",
        "only_from",
    ),
    "a record of credentials": (open_route(audit={"headers": ["x-api-key"]}), "routes[1].audit", "headers[0]"),
    "keys by plain HTTP": (
        lambda setup: setup.config["identity"]["corp"]["jwt"].update(jwks={"url": "http://id.example.com/jwks"}),
        "identity.corp.jwt.jwks",
        "url",
    ),
    "an algorithm of shared secrets": (
        lambda setup: setup.config["identity"]["corp"]["jwt"].update(algorithms=["HS256"]),
        "identity.corp.jwt",
        "algorithms[0]",
    ),
    "no algorithm": (
        lambda setup: setup.config["identity"]["corp"]["jwt"].update(algorithms=["none"]),
        "identity.corp.jwt",
        "algorithms[0]",
    ),
    "no audience": (
        lambda setup: setup.config["identity"]["corp"]["jwt"].update(audience=[]),
        "identity.corp.jwt",
        "audience",
    ),
    "a redirect beside TLS": (
        lambda setup: setup.config["listen"][0].update(redirect_to_https=8443),
        "listen[0]",
        "redirect_to_https",
    ),
    "an old version": (lambda setup: setup.listener_tls.update(min_version="1.1"), "listen[0].tls", "min_version"),
    "no certificates": (lambda setup: setup.listener_tls.update(certificates=[]), "listen[0].tls", "certificates"),
    "clients without authorities": (
        lambda setup: setup.listener_tls["client_auth"].pop("ca"),
        "listen[0].tls.client_auth",
        "ca",
    ),
}


@pytest.mark.parametrize("what", IDLE)
def test_what_could_never_do_what_it_says_is_an_error_at_its_place(setup, what):
    assert setup.validated(0) == [], "the configuration that is right"
    change, where, key = IDLE[what]
    change(setup)
    problems = setup.validated(78, "--no-environment")
    places = [(problem["in"], problem["key"]) for problem in problems if problem["severity"] == "error"]
    assert (where, key) in places, problems
    assert all(problem["line"] > 0 for problem in problems), problems
