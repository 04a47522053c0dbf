"""Client certificates: the right one names its owner in the record, each wrong one is refused by its name."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.certificates import CODE_SIGNING, EXPIRED, NOT_YET_VALID, SERVER, Authority, Issued
from harness.conditions import wait_until
from harness.decisions import refused, served
from harness.files import replace
from harness.gateway import Gateway, route
from harness.ports import LOOPBACK, steady_port
from harness.wire import Client, Closed, request_bytes

DOMAIN = "example.org"
BILLING, GUEST = f"spiffe://{DOMAIN}/ns/prod/sa/billing", "spiffe://other.test/ns/prod/sa/billing"


@pytest.fixture(scope="module")
def server(module_directory: Path) -> Authority:
    """Whom clients believe."""
    return Authority(module_directory / "tls", "server-ca")


@pytest.fixture(scope="module")
def clients(module_directory: Path) -> Authority:
    """Whom the gateway believes."""
    return Authority(module_directory / "tls", "clients")


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream, server, clients) -> Iterator[Gateway]:
    def listeners(config: dict) -> None:
        tls = {"certificates": [server.issue("api", ["api.test"]).configured]}
        asking = {
            mode: tls | {"client_auth": {"mode": mode, "ca": str(clients.cert)}} for mode in ("required", "optional")
        }
        config["listen"] = [
            {"name": "required", "address": f"{LOOPBACK}:{steady_port()}", "tls": asking["required"]},
            {"name": "optional", "address": f"{LOOPBACK}:{steady_port()}", "tls": asking["optional"]},
            {"name": "off", "address": f"{LOOPBACK}:{steady_port()}", "tls": tls},
        ]
        config["identity"] = {
            "mesh": {"mtls": {"actor": "spiffe_id", "trust_domain": DOMAIN}},
            "hosts": {"mtls": {"actor": "san_dns"}},
            "people": {"mtls": {"actor": "subject"}},
            "edge": {"header": {"actor": "x-edge-user", "groups": "x-edge-roles", "only_from": "mesh"}},
        }

    routes = [route("open", match={"path_prefix": "/open"})] + [
        route(name, match={"path_prefix": f"/{name}"}, auth={"any_of": [name]})
        for name in ("mesh", "hosts", "people", "edge")
    ]
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, routes, listeners).start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


@pytest.fixture(scope="module")
def billing(clients: Authority) -> Issued:
    return clients.client("billing", [BILLING], organisation="Acme, Inc")


def connect(gateway: Gateway, server: Authority, client: Issued | None, listener: str = "required") -> Client:
    return Client(gateway.port_of(listener), tls=server.trusted_by_client(client))


@pytest.mark.parametrize("listener", ["required", "optional"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_the_right_one_is_named_in_the_record(gateway, module_upstream, server, billing, listener, version):
    tls = server.trusted_by_client(billing)
    tls.minimum_version = tls.maximum_version = version
    with Client(gateway.port_of(listener), tls=tls) as client:
        record, seen = served(gateway, module_upstream, client.ask("/mesh/1"))
    told = record["tls"]
    assert told["client_cert_sha256"] == billing.sha256
    assert told["client_cert_subject"] == billing.subject == "CN=billing,O=Acme\\, Inc"
    assert told["client_cert_san"] == [f"URI:{BILLING}"]
    assert told["client_spiffe_id"] == BILLING
    assert record["actor"] == {"id": BILLING, "scheme": "mtls", "provider": "mesh"}
    assert seen.message.all("x-sealgate-actor") == [BILLING]


WRONG: dict[str, tuple[Callable[[Authority, Authority, Authority], Issued | None], str]] = {
    "none": (lambda *_: None, "missing"),
    "of an unknown authority": (lambda clients, stranger, impostor: stranger.client("x", [BILLING]), "unknown_issuer"),
    "of an impostor's": (lambda clients, stranger, impostor: impostor.client("x", [BILLING]), "invalid"),
    "expired": (lambda clients, *_: clients.client("expired", [BILLING], EXPIRED), "expired"),
    "not yet valid": (lambda clients, *_: clients.client("early", [BILLING], NOT_YET_VALID), "not_yet_valid"),
    "for servers": (lambda clients, *_: clients.issue("server", [BILLING], (SERVER,)), "wrong_purpose"),
    "for code": (lambda clients, *_: clients.issue("code", [BILLING], (CODE_SIGNING,)), "wrong_purpose"),
}


@pytest.fixture(scope="module")
def stranger(module_directory: Path) -> Authority:
    return Authority(module_directory / "stranger", "stranger")


@pytest.fixture(scope="module")
def impostor(module_directory: Path) -> Authority:
    """Another authority that calls itself as the right one does."""
    return Authority(module_directory / "impostor", "clients")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize(
    ("listener", "flaw"),
    [("required", flaw) for flaw in WRONG] + [("optional", flaw) for flaw in WRONG if flaw != "none"],
)
def test_a_wrong_one_is_refused_by_its_name(
    gateway, module_upstream, server, clients, stranger, impostor, billing, listener, flaw, version
):
    make, word = WRONG[flaw]
    wrong = make(clients, stranger, impostor)
    tls = server.trusted_by_client(wrong)
    tls.minimum_version = tls.maximum_version = version
    before = len(module_upstream.seen)
    # In TLS 1.3 a client learns of it only after its own part of the handshake.
    with Client(gateway.port_of(listener)) as client, pytest.raises((ssl.SSLError, Closed, ConnectionError)):
        client.secure(tls)
        client.ask("/open/1")
    record = gateway.record_from(client)
    assert (record["kind"], record["reason"]) == ("rejected", f"tls_client_certificate_{word}"), record
    assert record["tls"]["sni"] == "api.test" and "client_spiffe_id" not in record["tls"], "not verified, not told"
    assert len(module_upstream.seen) == before
    with connect(gateway, server, billing, listener) as client:
        served(gateway, module_upstream, client.ask("/open/1"))


def test_a_certificate_without_its_key_is_worth_nothing(gateway, module_upstream, server, billing, clients):
    """Anybody can have a certificate: it is the key that proves."""
    other = clients.client("other")
    mixed = Issued(billing.certificate, billing.cert, other.key)
    with pytest.raises(ssl.SSLError):
        server.trusted_by_client(mixed)
    # A chain whose leaf is another's: the leaf that is used is the first.
    both = clients.directory / "both.pem"
    both.write_bytes(other.cert.read_bytes() + billing.cert.read_bytes())
    with connect(gateway, server, Issued(other.certificate, both, other.key)) as client:
        response = client.ask("/mesh/1")
        record = refused(gateway, module_upstream, response, 401, "certificate_identity")
    assert record["tls"]["client_cert_sha256"] == other.sha256


def test_none_is_needed_where_it_is_optional_but_then_nobody_is_known(gateway, module_upstream, server):
    with connect(gateway, server, None, "optional") as client:
        record, _ = served(gateway, module_upstream, client.ask("/open/1"))
        assert "client_cert_sha256" not in record["tls"]
        refused(gateway, module_upstream, client.ask("/mesh/1"), 401, "credentials_missing")


def test_where_none_is_asked_for_none_is_told(gateway, module_upstream, server, billing):
    with connect(gateway, server, billing, "off") as client:
        record, _ = served(gateway, module_upstream, client.ask("/open/1"))
        assert set(record["tls"]) == {"version", "cipher", "sni"}
        refused(gateway, module_upstream, client.ask("/mesh/1"), 401, "credentials_missing")


@pytest.mark.parametrize(
    ("names", "target", "actor"),
    [
        ([BILLING], "/mesh/1", BILLING),
        ([BILLING, "billing.test"], "/mesh/1", BILLING),
        (["billing.test"], "/hosts/1", "billing.test"),
        ([BILLING, "billing.test"], "/hosts/1", "billing.test"),
        ([], "/people/1", "CN=someone,O=Acme"),
        ([BILLING], "/people/1", "CN=someone,O=Acme"),
    ],
)
def test_what_of_it_is_the_actor_is_for_the_configuration_to_say(
    gateway, module_upstream, server, clients, names, target, actor
):
    someone = clients.client("someone", names, organisation="Acme")
    with connect(gateway, server, someone) as client:
        record, _ = served(gateway, module_upstream, client.ask(target))
    assert record["actor"]["id"] == actor


@pytest.mark.parametrize(
    ("names", "target"),
    [
        ([GUEST], "/mesh/1"),
        ([BILLING, GUEST], "/mesh/1"),
        ([BILLING, BILLING.replace("billing", "root")], "/mesh/1"),
        (["billing.test"], "/mesh/1"),
        ([], "/mesh/1"),
        ([f"spiffe://{DOMAIN}.evil.test/sa/billing"], "/mesh/1"),
        ([f"spiffe://evil.test/{DOMAIN}/sa/billing"], "/mesh/1"),
        ([f"https://{DOMAIN}/ns/prod/sa/billing"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}/ns/../sa/billing"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}/ns%2fprod"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}/ns/prod/"], "/mesh/1"),
        ([f"spiffe://bob@{DOMAIN}/ns"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}:443/ns"], "/mesh/1"),
        ([f"spiffe://{DOMAIN}/ns?x=1"], "/mesh/1"),
        ([], "/hosts/1"),
        (["one.test", "two.test"], "/hosts/1"),
        ([BILLING], "/hosts/1"),
    ],
)
def test_one_that_names_nobody_identifies_nobody(gateway, module_upstream, server, clients, names, target):
    nobody = clients.client("nobody", names)
    with connect(gateway, server, nobody) as client:
        refused(gateway, module_upstream, client.ask(target), 401, "certificate_identity")
        # The certificate itself is good, and told.
        record, _ = served(gateway, module_upstream, client.ask("/open/1"))
    assert record["tls"]["client_cert_sha256"] == nobody.sha256


def test_no_header_replaces_one(gateway, module_upstream, server, billing):
    forged = {
        "X-Forwarded-Client-Cert": f"URI={BILLING}",
        "X-SSL-Client-Cert": billing.cert.read_text().replace("\n", "%0A"),
        "X-Sealgate-Actor": BILLING,
    }
    with connect(gateway, server, None, "optional") as client:
        refused(gateway, module_upstream, client.ask("/mesh/1", fields=forged), 401, "credentials_missing")


ALICE = {"X-Edge-User": "alice@example.org", "X-Edge-Roles": "ops, dev"}


def test_the_word_of_an_edge_counts_where_it_has_proven_itself(gateway, module_upstream, server, billing):
    with connect(gateway, server, billing) as client:
        record, seen = served(gateway, module_upstream, client.ask("/edge/1", fields=ALICE))
    assert record["actor"] == {
        "id": "alice@example.org",
        "scheme": "header",
        "provider": "edge",
        "groups": ["ops", "dev"],
    }
    assert record["tls"]["client_spiffe_id"] == BILLING, "and through whom"
    assert seen.message.all("x-sealgate-groups") == ["ops,dev"]
    assert not seen.message.all("x-edge-user") and not seen.message.all("x-edge-roles")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "credentials_missing"),
        ({"X-Edge-Roles": "ops"}, "credentials_missing"),
        ({"X_Edge_User": "alice"}, "credentials_missing"),
        ([("X-Edge-User", "alice"), ("x-edge-user", "root")], "credentials_ambiguous"),
        ([("X-Edge-User", "alice"), ("X-Edge-Roles", "ops"), ("X-Edge-Roles", "dev")], "credentials_ambiguous"),
    ],
)
def test_an_edge_that_says_nothing_clear_vouches_for_nobody(gateway, module_upstream, server, billing, fields, word):
    with connect(gateway, server, billing) as client:
        refused(gateway, module_upstream, client.ask("/edge/1", fields=fields), 401, word)
        served(gateway, module_upstream, client.ask("/edge/1", fields=ALICE))


def test_the_same_word_of_anybody_else_is_a_forgery(gateway, module_upstream, server, clients):
    for client, listener in [
        (None, "optional"),
        (None, "off"),
        (clients.client("guest", [GUEST]), "required"),
        (clients.client("nameless"), "required"),
    ]:
        with connect(gateway, server, client, listener) as connection:
            refused(gateway, module_upstream, connection.ask("/edge/1", fields=ALICE), 401, "edge_unproven")


def test_sessions_are_resumed_only_where_nobody_is_known_by_a_certificate(gateway, server, billing):
    """A resumed session would outlive a certificate that has expired, or an authority that is believed no more."""
    for listener, client, resumed in [("off", None, True), ("optional", billing, False), ("required", billing, False)]:
        tls = server.trusted_by_client(client)
        with Client(gateway.port_of(listener), tls=tls) as first:
            assert first.ask("/open/1").status == 200
            session = first.socket.session
        with Client(gateway.port_of(listener)) as second:
            second.secure(tls, session=session)
            assert second.ask("/open/2").status == 200
            assert second.socket.session_reused == resumed, listener


def test_an_authority_that_is_taken_away_is_believed_no_more(directory, upstream, server):
    old, new = Authority(directory / "tls", "old"), Authority(directory / "tls", "new")
    believed = directory / "tls" / "believed.pem"
    replace(believed, old.cert.read_bytes())

    def tls(config: dict) -> None:
        client_auth = {"mode": "required", "ca": str(believed)}
        config["listen"][0]["tls"] = {
            "certificates": [server.issue("other", ["api.test"]).configured],
            "client_auth": client_auth,
        }

    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")], tls).start()

    def is_let_in(client: Issued) -> bool:
        try:
            return gateway.ask("/1", tls=server.trusted_by_client(client)).status == 200
        except (ssl.SSLError, Closed, ConnectionError):
            return False

    before, after = old.client("before"), new.client("after")
    assert is_let_in(before) and not is_let_in(after)
    replace(believed, new.cert.read_bytes())
    gateway.reload()
    wait_until(lambda: is_let_in(after), "the new authority's clients are let in")
    assert not is_let_in(before)
    gateway.stop()


def test_pipelined_requests_are_all_the_certificates_owners(gateway, module_upstream, server, billing):
    with connect(gateway, server, billing) as client:
        client.send(b"".join(request_bytes(f"/mesh/{number}") for number in range(3)))
        ids = [client.reader.response().get("x-request-id") for _ in range(3)]
    assert {gateway.record(request_id)["actor"]["id"] for request_id in ids} == {BILLING}
