"""The upstream believes `X-Sealgate-*`: a client can never set one, by no spelling and by no protocol's back door."""

import subprocess
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from harness.decisions import served
from harness.gateway import Gateway, route
from harness.identities import as_actor, knows
from harness.ports import LOOPBACK, steady_port
from harness.upstream import Seen

# Every name by which some upstream may take somebody's word for who asks.
TRUSTED_NAMES = [
    "X-Sealgate-Actor",
    "X-Sealgate-Scheme",
    "X-Sealgate-Provider",
    "X-Sealgate-Groups",
    "X-Sealgate-Anything",
    "X-Auth-Request-Email",
    "X-Auth-Request-User",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Access-Token",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
    "Remote-User",
    "X-Remote-User",
    "X-Edge-User",
    "X-Edge-Roles",
]
SPELLINGS = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "mixed": str.swapcase,
    "with underscores": lambda name: name.replace("-", "_"),
    "with one underscore": lambda name: "_".join(name.rsplit("-", 1)),
    "with underscores in capitals": lambda name: name.replace("-", "_").upper(),
}
# Neighbours of those names, which nobody may lose.
HARMLESS = {
    "X-Sealgated": "kept",
    "X-Seal-Gate-Actor": "kept",
    "X-Remote-Users": "kept",
    "My-X-Sealgate-Actor": "kept",
    "X-Authentic": "kept",
}
FORGED = "forged-admin"


def edge(config: dict) -> None:
    config["identity"] |= {
        "mesh": {"mtls": {"actor": "spiffe_id", "trust_domain": "example.org"}},
        "edge": {"header": {"actor": "x-edge-user", "groups": "x-edge-roles", "only_from": "mesh"}},
    }


ROUTES = [
    route("partners", auth={"any_of": ["partners"]}),
    route("open", match={"path_prefix": "/open"}),
]


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, ROUTES)
    knows(gateway, {"bob": ["dev", "on-call"], "björn, root": ["a,b", "c%2Cd", "ops"], "plain": []})
    edge(gateway.config)
    gateway.config["listen"].append({"name": "h2c", "address": f"{LOOPBACK}:{steady_port()}", "http2": True})
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


def assert_unforged(seen: Seen) -> None:
    """Nothing forged reached it, in no header and no trailer."""
    for name, value in seen.message.fields + seen.message.trailers:
        assert FORGED not in value and FORGED not in name, f"{name}: {value}"


def told(seen: Seen) -> dict[str, list[str]]:
    """What the upstream is told of who asks."""
    names = {name.lower() for name, _ in seen.message.fields if "sealgate" in name.lower()}
    return {name: seen.message.all(name) for name in sorted(names) if name.startswith("x-sealgate-")}


BOB = {
    "x-sealgate-actor": ["bob"],
    "x-sealgate-groups": ["dev,on-call"],
    "x-sealgate-provider": ["partners"],
    "x-sealgate-scheme": ["api_key"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_a_client_says_of_itself_never_reaches_the_upstream(gateway, module_upstream, spelling):
    forged = {SPELLINGS[spelling](name): FORGED for name in TRUSTED_NAMES}
    record, seen = served(gateway, module_upstream, gateway.ask("/open/1", fields=forged | HARMLESS))
    assert_unforged(seen)
    assert told(seen) == {} and "actor" not in record
    assert {name: seen.message.get(name) for name in HARMLESS} == HARMLESS

    record, seen = served(gateway, module_upstream, gateway.ask("/1", fields=forged | HARMLESS | as_actor("bob")))
    assert_unforged(seen)
    assert told(seen) == BOB and record["actor"]["id"] == "bob"
    assert {name: seen.message.get(name) for name in HARMLESS} == HARMLESS


@pytest.mark.parametrize("name", TRUSTED_NAMES)
@pytest.mark.parametrize(
    "connection",
    ["keep-alive, {name}", "{name}", "close, {name}", "{name}, x-sealgate-actor, X-SEALGATE-GROUPS"],
)
def test_nomination_as_hop_by_hop_neither_lets_one_through_nor_takes_the_gateways_away(
    gateway, module_upstream, name, connection
):
    fields = [("Connection", connection.format(name=name)), (name, FORGED), *as_actor("bob").items()]
    _, seen = served(gateway, module_upstream, gateway.ask("/1", fields=fields))
    assert_unforged(seen)
    assert told(seen) == BOB


@pytest.mark.parametrize("spelling", ["as it is", "with underscores", "with one underscore"])
def test_http2_lets_none_through(gateway, module_upstream, spelling):
    """Where headers are in small letters whatever a client writes, and `Connection` has no place."""
    forged = [(SPELLINGS[spelling](name), FORGED) for name in TRUSTED_NAMES] * 2
    fields = [*forged, *HARMLESS.items(), *as_actor("bob").items()]
    headers = [word for name, value in fields for word in ("-H", f"{name}: {value}")]
    to = ["-H", "Host: api.test", f"http://{LOOPBACK}:{gateway.port_of('h2c')}/http2"]
    told_by_curl = ["-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version} %header{x-request-id}"]
    words = ["curl", "--http2-prior-knowledge", *told_by_curl, *headers, *to]
    asked = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
    status, version, request_id = asked.split(" ")
    assert (status, version) == ("200", "2")
    (seen,) = [seen for seen in list(module_upstream.seen) if seen.request_id == request_id]
    assert_unforged(seen)
    assert told(seen) == BOB and gateway.record(request_id)["actor"]["id"] == "bob"
    assert {name: seen.message.get(name) for name in HARMLESS} == HARMLESS


def test_repetition_lets_none_through(gateway, module_upstream):
    for names in (["X-Sealgate-Actor"] * 3, ["x-sealgate-actor", "X_Sealgate_Actor", "X-SEALGATE_ACTOR"]):
        fields = [(name, FORGED) for name in names]
        _, seen = served(
            gateway, module_upstream, gateway.ask("/1", fields=[*fields, *as_actor("bob").items(), *fields])
        )
        assert_unforged(seen)
        assert told(seen) == BOB


def test_a_trailer_lets_none_through(gateway, module_upstream):
    with gateway.connect() as client:
        client.send(
            b"POST /1 HTTP/1.1\r\nHost: api.test\r\nX-Api-Key: the-key-of-bob\r\nTE: trailers\r\n"
            b"Trailer: X-Sealgate-Actor\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nX-Sealgate-Actor: forged-admin\r\nX_Sealgate_Groups: forged-admin\r\n\r\n"
        )
        _, seen = served(gateway, module_upstream, client.reader.response())
    assert_unforged(seen)
    assert (told(seen), seen.message.body) == (BOB, b"hi")


def test_what_a_header_cannot_hold_is_escaped_and_nothing_can_be_smuggled_in_it(gateway, module_upstream):
    _, seen = served(gateway, module_upstream, gateway.ask("/1", fields=as_utf8("björn, root")))
    (actor,) = seen.message.all("x-sealgate-actor")
    assert actor.isascii() and "," not in actor and unquote(actor) == "björn, root"
    (groups,) = seen.message.all("x-sealgate-groups")
    assert [unquote(group) for group in groups.split(",")] == ["a,b", "c%2Cd", "ops"]


def as_utf8(actor: str) -> dict[str, str]:
    """A header's bytes are sent as Latin-1."""
    return {name: value.encode().decode("latin-1") for name, value in as_actor(actor).items()}


def test_who_is_in_no_group_has_no_header_of_groups(gateway, module_upstream):
    _, seen = served(gateway, module_upstream, gateway.ask("/1", fields=as_actor("plain")))
    assert "x-sealgate-groups" not in told(seen) and told(seen)["x-sealgate-actor"] == ["plain"]
