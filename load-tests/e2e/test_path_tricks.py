"""No spelling of a path gets around an `allow` rule: what is authorised, sent upstream and recorded is one string."""

import json
import subprocess
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest

from harness.binaries import sealgate
from harness.decisions import refused, served
from harness.gateway import Gateway, route
from harness.identities import HEADER, as_actor, key_of, knows
from harness.ports import LOOPBACK, steady_port

# What bob, who may read below /public and nowhere else, asks for; and as what it is denied.
DENIED = {
    "/admin": "/admin",
    "/admin/x": "/admin/x",
    "/public/../admin/x": "/admin/x",
    "/public/./../admin/x": "/admin/x",
    "/public/a/../../admin/x": "/admin/x",
    "/public/%2e%2e/admin/x": "/admin/x",
    "/public/%2E%2e/admin/x": "/admin/x",
    "/public/.%2e/admin/x": "/admin/x",
    "/public/%2e./admin/x": "/admin/x",
    "/public//../admin/x": "/admin/x",
    "/public/..//admin/x": "/admin/x",
    "/public": "/public",
    "/public/x/../../": "/",
    "//admin/x": "/admin/x",
    "///admin/x": "/admin/x",
    "/./admin/x": "/admin/x",
    "/%2e/admin/x": "/admin/x",
    "/%61dmin/x": "/admin/x",
    "/%61%64%6D%69%6e/x": "/admin/x",
    "/admin/%78": "/admin/x",
    "/admin/x/.": "/admin/x/",
    "/admin?/public/x": "/admin",
    "/admin/x?a=/../../public/x": "/admin/x",
    "/%70ublic/../%61dmin": "/admin",
    "/PUBLIC/x": "/PUBLIC/x",
    "/Public/x": "/Public/x",
    "/publicx": "/publicx",
    "/public%20/x": "/public%20/x",
    "/.public/x": "/.public/x",
    "http://api.test/admin/x": "/admin/x",
    "http://api.test/public/../admin/x": "/admin/x",
    "http://api.test//admin/x": "/admin/x",
    "http://api.test": "/",
    "http://api.test?/public/x": "/",
}
# Where /public/x is what is asked for, however it is spelled; and as what it is authorised, sent on and recorded.
ALLOWED = {
    "/public/x": "/public/x",
    "/public//x": "/public/x",
    "//public///x": "/public/x",
    "/public/./x": "/public/x",
    "/./public/%2e/x": "/public/x",
    "/admin/../public/x": "/public/x",
    "/admin/%2E%2e/public/x": "/public/x",
    "/%70ublic/%78": "/public/x",
    "/%70%75%62%6C%69%63/x": "/public/x",
    "/public/%c3%a9": "/public/%C3%A9",
    "/public/%C3%a9": "/public/%C3%A9",
    "/public/a%3fb": "/public/a%3Fb",
    "/public/a%23b": "/public/a%23b",
    "/public/a%25b": "/public/a%25b",
    "/public/%252e%252e/admin": "/public/%252e%252e/admin",
    "/public/..%252fadmin": "/public/..%252fadmin",
    "/public/.../admin": "/public/.../admin",
    "/public/..a/admin": "/public/..a/admin",
    "/public/x?/../../admin": "/public/x",
    "/public/x?a=%2f..%5c;y": "/public/x",
    "http://api.test/public/x": "/public/x",
    "http://api.test/admin/../public/./x": "/public/x",
}
# What two servers could read differently is refused, whoever asks, before anybody decides.
AMBIGUOUS = {
    "/public/..%2fadmin/x": "encoded_separator",
    "/public/..%2Fadmin/x": "encoded_separator",
    "/public%2f..%2fadmin/x": "encoded_separator",
    "/public/%2fadmin": "encoded_separator",
    "/admin%2fx": "encoded_separator",
    "/public/..%5cadmin/x": "encoded_separator",
    "/public/..%5Cadmin/x": "encoded_separator",
    "/public/..;/admin/x": "dot_segment",
    "/public/..;x=1/admin/x": "dot_segment",
    "/public/.;/admin/x": "dot_segment",
    "/public/%2e%2e;/admin/x": "dot_segment",
    "/public/..;%2e/admin/x": "dot_segment",
    "/public/..%3b/admin/x": "dot_segment",
    "/public/..%3Bx/admin/x": "dot_segment",
    "/;x/../..;/admin": "dot_segment",
    "/public/%c0%ae%c0%ae/admin/x": "not_utf8",
    "/public/%c0%af..%c0%afadmin/x": "not_utf8",
    "/public/%e0%80%ae%e0%80%ae/admin/x": "not_utf8",
    "/public/%f0%80%80%ae/admin/x": "not_utf8",
    "/public/%c1%9c..%c1%9cadmin": "not_utf8",
    "/public/%ed%a0%80": "not_utf8",
    "/public/%ff": "not_utf8",
    "/public/%00/../admin": "control_character",
    "/public/..%00/admin": "control_character",
    "/public/..%09/admin": "control_character",
    "/public/x%0d%0aX-Sealgate-Actor:%20root": "control_character",
    "/public/%7f": "control_character",
    "/public/%zz/../admin": "bad_escape",
    "/public/%2": "bad_escape",
    "/public/%": "bad_escape",
    "/public/%u002e%u002e/admin": "bad_escape",
    "/../admin/x": "above_root",
    "/public/../../admin/x": "above_root",
    "/%2e%2e/admin/x": "above_root",
}
# What is not even a request that two servers would agree on: it may be refused at any layer.
MALFORMED = [
    "/public/..\\admin/x",
    "/public\\..\\admin",
    "http://evil.test/public/x",
    "http://api.test@evil.test/public/x",
    "http://bob@api.test/public/x",
    "https://api.test/public/x",
    "ftp://api.test/public/x",
    "http://API.test:80/public/x",
    "public/x",
    "?/public/x",
    "*",
    "/public/x /admin",
    "/public/\x01x",
]
RULES = [
    {"name": "public", "paths": ["/public/**"], "methods": ["GET"]},
    {"name": "admins", "groups": ["admins"]},
]


def also_http2(config: dict) -> None:
    config["listen"].append({"name": "h2c", "address": f"{LOOPBACK}:{steady_port()}", "http2": True})


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    routes = [route("all", auth={"any_of": ["partners"]}, allow=RULES)]
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, routes, also_http2)
    knows(gateway, {"bob": [], "root": ["admins"]})
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


def path_of(target: str) -> str:
    return target.partition("?")[0]


def explained(gateway: Gateway, target: str, actor: str, groups: str = "") -> dict:
    url = target if target.startswith("http") else f"http://api.test{target}"
    who = ["--actor", actor, *(["--groups", groups] if groups else [])]
    return json.loads(sealgate("explain", "-c", gateway.config_file, "--format", "json", *who, "GET", url).out)


@pytest.mark.parametrize(("target", "path"), DENIED.items())
def test_a_path_that_no_rule_allows_is_denied_however_it_is_spelled(gateway, module_upstream, target, path):
    record = refused(gateway, module_upstream, gateway.ask(target, fields=as_actor("bob")), 403, "denied")
    assert (record["request"]["path"], record["actor"]["id"]) == (path, "bob")
    # The same by who may: it is the rule that refuses, not the spelling.
    record, seen = served(gateway, module_upstream, gateway.ask(target, fields=as_actor("root")))
    assert record["request"]["path"] == path_of(seen.target) == path
    assert record["decision"] == {"outcome": "allow", "rule": "admins"}


@pytest.mark.parametrize(("target", "path"), ALLOWED.items())
def test_authorised_forwarded_recorded_and_explained_are_one_string(gateway, module_upstream, target, path):
    record, seen = served(gateway, module_upstream, gateway.ask(target, fields=as_actor("bob")))
    assert (record["request"]["path"], path_of(seen.target)) == (path, path)
    assert record["decision"] == {"outcome": "allow", "rule": "public"}
    assert record["request"].get("raw", path_of(target)).partition("?")[0] == path_of(target), "as it was received"
    assert seen.target.partition("?")[2] == target.partition("?")[2], "a query is nobody's path"
    if "/../" not in target and not target.startswith("//"):
        assert explained(gateway, target, "bob")["path"] == path


@pytest.mark.parametrize(("target", "word"), AMBIGUOUS.items())
def test_what_two_servers_could_read_differently_is_refused_to_everybody(gateway, module_upstream, target, word):
    for actor in ("bob", "root"):
        refused(gateway, module_upstream, gateway.ask(target, fields=as_actor(actor)), 400, word)
    record, _ = served(gateway, module_upstream, gateway.ask("/public/x", fields=as_actor("bob")))
    assert record["decision"]["rule"] == "public"


@pytest.mark.parametrize("target", MALFORMED)
def test_what_is_no_target_reaches_nobody(gateway, module_upstream, target):
    before = len(module_upstream.seen)
    with gateway.connect() as client:
        assert client.ask(target, fields=as_actor("root")).status in (400, 404)
    record = gateway.record_from(client)
    assert record.get("error") or record.get("reason"), record
    assert len(module_upstream.seen) == before
    served(gateway, module_upstream, gateway.ask("/public/x", fields=as_actor("bob")))


def test_what_follows_a_fragments_mark_is_nobodys_path(gateway, module_upstream):
    """It has no place in a target (RFC 9112, section 3.2), and decides, reaches and tells nothing."""
    record, seen = served(gateway, module_upstream, gateway.ask("/public/x#/../admin", fields=as_actor("bob")))
    assert record["request"]["path"] == seen.target == "/public/x" and "admin" not in str(record["request"])
    refused(gateway, module_upstream, gateway.ask("/admin#/public/x", fields=as_actor("bob")), 403, "denied")


def test_no_reading_of_what_was_forwarded_leaves_what_was_allowed(gateway, module_upstream):
    """Servers that decode once more, take off parameters, or know other separators, read a path below /public too."""
    forwarded = []
    for target in [*DENIED, *ALLOWED, *AMBIGUOUS, "/public;x/../admin", "/public;x/y", "/public/a;x/b", "/public;/x"]:
        response = gateway.ask(target, fields=as_actor("bob"))
        if response.status == 200:
            forwarded.append(served(gateway, module_upstream, response)[1].target)
    assert len(forwarded) >= len(ALLOWED)
    for target in forwarded:
        for reading in readings(path_of(target)):
            assert reading.startswith("/public/"), f"{target} can be read as {reading}"


def readings(path: str) -> Iterator[str]:
    yield path
    decoded = unquote_to_bytes(path).decode()
    for text in (path, decoded):
        yield resolved(text)
        yield resolved(text.replace("\\", "/"))
        yield resolved("/".join(segment.partition(";")[0] for segment in text.split("/")))


def resolved(path: str) -> str:
    """Without dot segments and doubled slashes."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)


@pytest.mark.parametrize(
    ("target", "status"),
    [(target, 200) for target in ALLOWED if target.startswith("/")]
    + [(target, 403) for target in DENIED if target.startswith("/")]
    + [(target, 400) for target in AMBIGUOUS],
)
def test_the_same_over_http2(gateway, module_upstream, target, status):
    address = gateway.config["listen"][1]["address"]
    curl = [
        "curl",
        "-s",
        "--http2-prior-knowledge",
        "--path-as-is",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_version} %header{x-request-id}",
    ]
    asked = subprocess.run(
        [*curl, "-H", f"{HEADER}: {key_of('bob')}", "-H", "Host: api.test", f"http://{address}{target}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    code, version, request_id = asked.stdout.split(" ")
    assert (int(code), version) == (status, "2"), asked
    record = gateway.record(request_id)
    seen = [seen for seen in list(module_upstream.seen) if seen.request_id == request_id]
    if status == 200:
        assert record["request"]["path"] == path_of(seen[0].target) == ALLOWED[target]
    else:
        assert not seen and record["error"] == AMBIGUOUS.get(target, "denied")
    assert record["request"]["http"] == "2"
