"""TLS to upstreams: a server that cannot prove the name that is expected of it never sees a request."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.binaries import sealgate
from harness.certificates import CLIENT, EXPIRED, NOT_YET_VALID, VALID, Authority, Days, Issued, serving
from harness.conditions import wait_until
from harness.decisions import served
from harness.files import replace
from harness.gateway import Gateway, route
from harness.ports import LOOPBACK
from harness.upstream import Upstream

NAME = "orders.prod.internal"


@dataclass(frozen=True)
class Server:
    """A certificate of a server's, and why it is refused, where it is."""

    word: str | None
    names: tuple[str, ...] = (NAME,)
    authority: str = "internal"
    more: dict = field(default_factory=dict)
    valid: Days = VALID
    sni: str = NAME


SERVERS = {
    "the right one": Server(None),
    "one of several names": Server(None, ("a.test", NAME)),
    "a wildcard": Server(None, ("*.prod.internal",)),
    "an address": Server(None, (LOOPBACK,), sni=LOOPBACK),
    "another authority": Server("upstream_tls_certificate_unknown_issuer", authority="other"),
    "another name": Server("upstream_tls_certificate_wrong_name", ("billing.prod.internal",)),
    "a name that only begins so": Server("upstream_tls_certificate_wrong_name", (f"{NAME}.evil.test",)),
    "a wildcard of another level": Server("upstream_tls_certificate_wrong_name", ("*.orders.prod.internal",)),
    "no name": Server("upstream_tls_certificate_wrong_name", ()),
    "the address that it has": Server("upstream_tls_certificate_wrong_name", (LOOPBACK,)),
    "another address": Server("upstream_tls_certificate_wrong_name", ("127.0.0.2",), sni=LOOPBACK),
    "expired": Server("upstream_tls_certificate_expired", valid=EXPIRED),
    "not yet valid": Server("upstream_tls_certificate_not_yet_valid", valid=NOT_YET_VALID),
    "for clients": Server("upstream_tls_certificate_wrong_purpose", more={"purposes": (CLIENT,)}),
}


@pytest.fixture
def authorities(directory: Path) -> dict[str, Authority]:
    return {"internal": Authority(directory / "tls", "internal"), "other": Authority(directory / "tls", "other")}


@contextmanager
def server(context=None) -> Iterator[Upstream]:
    upstream = Upstream(context)
    try:
        yield upstream
    finally:
        upstream.close()


def gateway_to(directory: Path, upstream: Upstream, **tls) -> Gateway:
    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")])
    gateway.config["upstreams"]["main"]["tls"] = tls
    return gateway


def record_of(gateway: Gateway, response) -> dict:
    return gateway.record(response.get("x-request-id"))


def assert_failed(gateway: Gateway, upstream: Upstream, response, word: str) -> None:
    """502 with this reason, and the upstream knows nothing of the request."""
    record = record_of(gateway, response)
    assert (response.status, record["end"], record.get("error")) == (502, "upstream_failed", word), record
    assert response.get("content-type") == "application/problem+json"
    assert upstream.seen == []


def test_whom_the_upstream_must_be_is_who_it_is(directory, authorities):
    """All servers behind one gateway: the right ones are served beside each wrong one."""
    upstreams = {}
    gateway = Gateway(directory / "gateway", {}, [])
    for number, (what, kind) in enumerate(SERVERS.items()):
        pair = authorities[kind.authority].issue(f"server-{number}", kind.names, valid=kind.valid, **kind.more)
        upstreams[what] = Upstream(serving(pair))
        tls = {"sni": kind.sni, "ca": str(authorities["internal"].cert)}
        gateway.config["upstreams"][f"u{number}"] = {
            "endpoints": {"static": [upstreams[what].address]},
            "tls": tls,
        }
        gateway.config["routes"].append(route(f"r{number}", f"u{number}", match={"path_prefix": f"/{number}"}))
    gateway.start()
    for number, (what, kind) in enumerate(SERVERS.items()):
        response = gateway.ask(f"/{number}")
        if kind.word:
            assert_failed(gateway, upstreams[what], response, kind.word)
            assert upstreams[what].failed_handshakes, what
        else:
            record, _ = served(gateway, upstreams[what], response)
            assert record["upstream"]["name"] == f"u{number}", what
    gateway.stop()
    gateway.verify().expect(0)
    for upstream in upstreams.values():
        upstream.close()


def test_a_server_without_tls_gets_nothing(directory, authorities):
    with server() as plain:
        gateway = gateway_to(directory, plain, sni=NAME, ca=str(authorities["internal"].cert)).start()
        response = gateway.ask("/1")
        assert response.status in (502, 504)
        assert record_of(gateway, response)["end"] in ("upstream_failed", "timeout")
        assert plain.seen == []
        gateway.stop()


@pytest.mark.parametrize(
    ("shown", "word"),
    [
        ("right", None),
        ("none", "upstream_tls_alert"),
        ("stranger", "upstream_tls_alert"),
        ("server", "upstream_tls_alert"),
    ],
)
def test_the_gateway_proves_itself_where_the_upstream_asks(directory, authorities, shown, word):
    internal, other = authorities["internal"], authorities["other"]
    mine: dict[str, Issued | None] = {
        "right": internal.client("gw"),
        "none": None,
        "stranger": other.client("gw2"),
        "server": internal.issue("gw3", ["gw.internal"]),
    }
    pair = mine[shown]
    with server(serving(internal.issue("orders", [NAME]), clients=internal)) as upstream:
        more = {"client": pair.configured} if pair else {}
        gateway = gateway_to(directory, upstream, sni=NAME, ca=str(internal.cert), **more).start()
        response = gateway.ask("/1")
        if word:
            assert_failed(gateway, upstream, response, word)
        else:
            served(gateway, upstream, response)
            der = pair.der
            assert set(upstream.client_certificates) == {der}
        gateway.stop()


def test_a_connection_is_used_again_only_for_what_it_was_verified_with(directory, authorities):
    """Upstreams at one address that differ in what they believe: a kept connection of one is no way for the other."""
    internal, other = authorities["internal"], authorities["other"]
    with server(serving(internal.issue("orders", [NAME]))) as shared:
        gateway = Gateway(
            directory / "gateway",
            {"believes": shared.address, "distrusts": shared.address, "renames": shared.address},
            [route(name, name, match={"path_prefix": f"/{name}"}) for name in ("believes", "distrusts", "renames")],
        )
        for name, tls in {
            "believes": {"sni": NAME, "ca": str(internal.cert)},
            "distrusts": {"sni": NAME, "ca": str(other.cert)},
            "renames": {"sni": "billing.prod.internal", "ca": str(internal.cert)},
        }.items():
            gateway.config["upstreams"][name]["tls"] = tls
        gateway.start()
        for number in range(5):
            served(gateway, shared, gateway.ask(f"/believes/{number}"))
            for name, word in {"distrusts": "unknown_issuer", "renames": "wrong_name"}.items():
                response = gateway.ask(f"/{name}/{number}")
                record = record_of(gateway, response)
                assert (response.status, record.get("error")) == (502, f"upstream_tls_certificate_{word}"), record
        assert {seen.target.split("/")[1] for seen in shared.seen} == {"believes"}
        assert record_of(gateway, gateway.ask("/believes/again"))["upstream"]["reused"], "it was there to be used"
        gateway.stop()


def test_a_new_authority_is_believed_after_a_reload(directory, authorities):
    internal, other = authorities["internal"], authorities["other"]
    believed = directory / "tls" / "believed.pem"
    replace(believed, other.cert.read_bytes())
    with server(serving(internal.issue("orders", [NAME]))) as upstream:
        gateway = gateway_to(directory, upstream, sni=NAME, ca=str(believed)).start()
        assert_failed(gateway, upstream, gateway.ask("/1"), "upstream_tls_certificate_unknown_issuer")
        replace(believed, internal.cert.read_bytes())
        gateway.reload()
        wait_until(lambda: gateway.ask("/2").status == 200, "the new authority is believed")
        replace(believed, other.cert.read_bytes())
        gateway.reload()
        wait_until(lambda: gateway.ask("/3").status == 502, "it is believed no more, by no kept connection either")
        replace(believed, b"garbage")
        failed = gateway.reloads("failed")
        gateway.reload()
        wait_until(lambda: gateway.reloads("failed") > failed, "the reload fails")
        assert gateway.ask("/4").status == 502
        gateway.stop()


@pytest.mark.parametrize(
    ("sni", "passes"),
    [
        (NAME, True),
        (LOOPBACK, True),
        ("::1", True),
        ("", False),
        (" ", False),
        (".", False),
        ("*.prod.internal", False),
        ("https://orders.prod.internal", False),
        ("orders.prod.internal:8443", False),
        (None, False),
        ([], False),
    ],
)
def test_a_name_that_would_verify_nothing_is_a_configuration_error(directory, upstream, authorities, sni, passes):
    gateway = gateway_to(directory, upstream, sni=sni, ca=str(authorities["internal"].cert))
    gateway.write_config()
    validate = ["validate", "--no-environment", "--format", "json", "-c", gateway.config_file]
    outcome = sealgate(*validate).expect(0 if passes else 78)
    if not passes:
        (problem,) = json.loads(outcome.out)
        assert (problem["key"], problem["in"]) == ("sni", "upstreams.main.tls"), outcome
        gateway.launch()
        gateway.wait(78)
        assert "sni" in gateway.log_text()


def test_leaving_the_name_out_is_one_too(directory, upstream, authorities):
    gateway = gateway_to(directory, upstream, ca=str(authorities["internal"].cert))
    gateway.write_config()
    outcome = sealgate("validate", "--no-environment", "-c", gateway.config_file).expect(78)
    assert "`sni`" in outcome.out + outcome.err, outcome
