"""API keys: only whoever has the key passes; the gateway has nothing but hashes, and tells nobody what was tried."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from harness.conditions import wait_until
from harness.decisions import refused, served
from harness.files import replace
from harness.gateway import Gateway, route, total
from harness.tokens import TokenKey, bearer, key_set

BILLING, PARTNER, OLD, REVOKED = "billing-key-1", "partner-key-1", "old-key-1", "revoked-key-1"
TRUSTED = TokenKey("k")


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def entry(actor: str, key: str, *groups: str, not_after: str = "2099-01-01T00:00:00Z") -> str:
    named = f", groups: [{', '.join(groups)}]" if groups else ""
    return f"  - {{ actor: {actor}, sha256: {sha256(key)}, not_after: {not_after}{named} }}\n"


KEYS = (
    "keys:\n"
    + entry("svc-billing", BILLING, "partners", "billing")
    + entry("svc-partner", PARTNER)
    + entry("svc-old", OLD, not_after="2020-01-01T00:00:00Z")
    + f"  - {{ actor: svc-ever, sha256: {sha256('ever-key-1')} }}\n"
)


def partners(gateway: Gateway, keys: str = KEYS, **more) -> Gateway:
    (gateway.directory / "keys.yaml").write_text(keys)
    gateway.config["identity"] = {"partners": {"api_key": {"header": "x-api-key", "file": "keys.yaml"}}} | more
    gateway.config["routes"] = [route("all", auth={"any_of": list(gateway.config["identity"])})]
    return gateway


@pytest.fixture(scope="module")
def running(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = partners(Gateway(module_directory / "gateway", {"main": module_upstream.address}, [])).start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    text = gateway.log_text() + "".join(map(str, gateway.audited().records))
    assert not [key for key in (BILLING, PARTNER, OLD) if key in text or sha256(key) in text]


def brought(key: str, name: str = "X-Api-Key") -> dict[str, str]:
    return {name: key}


@pytest.mark.parametrize(
    ("key", "actor"),
    [
        (BILLING, {"id": "svc-billing", "groups": ["partners", "billing"]}),
        (PARTNER, {"id": "svc-partner"}),
        ("ever-key-1", {"id": "svc-ever"}),
    ],
)
@pytest.mark.parametrize("name", ["X-Api-Key", "x-api-key", "X-API-KEY"])
def test_who_has_a_key_is_whom_the_file_says(running, module_upstream, key, actor, name):
    record, seen = served(running, module_upstream, running.ask("/orders/1", fields=brought(key, name)))
    assert record["actor"] == {"scheme": "api_key", "provider": "partners"} | actor
    assert seen.message.all("x-sealgate-actor") == [actor["id"]]
    assert seen.message.all("x-sealgate-scheme") == ["api_key"]
    assert not seen.message.all("x-api-key"), "the upstream need not know it"


REFUSED = {
    "no key": ({}, "credentials_missing"),
    "an unknown key": (brought("guessed"), "api_key_unknown"),
    "an empty key": (brought(""), "api_key_unknown"),
    "a key of another time": (brought(OLD), "api_key_expired"),
    "its hash": (brought(sha256(BILLING)), "api_key_unknown"),
    "its beginning": (brought(BILLING[:-1]), "api_key_unknown"),
    "more than it": (brought(BILLING + "1"), "api_key_unknown"),
    "in capitals": (brought(BILLING.upper()), "api_key_unknown"),
    "two in one": (brought(f"{BILLING}, {PARTNER}"), "api_key_unknown"),
    "quoted": (brought(f'"{BILLING}"'), "api_key_unknown"),
    "an actor's name": (brought("svc-billing"), "api_key_unknown"),
    "very long": (brought("k" * 60000), "api_key_unknown"),
    "twice the same": ([("X-Api-Key", BILLING), ("x-api-key", BILLING)], "credentials_ambiguous"),
    "a good one and a bad one": ([("X-Api-Key", BILLING), ("x-api-key", "x")], "credentials_ambiguous"),
    "a bad one and a good one": ([("X-Api-Key", "x"), ("x-api-key", BILLING)], "credentials_ambiguous"),
    "in another header": ({"X-Api-Token": BILLING}, "credentials_missing"),
    "with underscores": ({"X_Api_Key": BILLING}, "credentials_missing"),
    "as a bearer token": (bearer(BILLING), "credentials_missing"),
    "in a cookie": ({"Cookie": f"x-api-key={BILLING}"}, "credentials_missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_has_no_key_is_refused_and_a_keys_owner_beside_it_served(running, module_upstream, case):
    fields, word = REFUSED[case]
    response = running.ask("/orders/1", fields=fields)
    refused(running, module_upstream, response, 401, word)
    record, _ = served(running, module_upstream, running.ask("/orders/1", fields=brought(BILLING)))
    assert record["actor"]["id"] == "svc-billing"


def test_a_key_in_the_query_is_none(running, module_upstream):
    response = running.ask(f"/orders/1?x-api-key={BILLING}&api_key={BILLING}")
    refused(running, module_upstream, response, 401, "credentials_missing")


def test_what_was_decided_is_counted(running):
    def counted(**labels: str) -> float:
        return total(running.metrics(), "sealgate_auth_total", route="all", **labels)

    allowed, unknown = counted(scheme="api_key", outcome="allowed"), counted(scheme="-", outcome="unauthenticated")
    for _ in range(3):
        assert running.ask("/orders/1", fields=brought(BILLING)).status == 200
        assert running.ask("/orders/1", fields=brought("guessed")).status == 401
    assert counted(scheme="api_key", outcome="allowed") == allowed + 3
    assert counted(scheme="-", outcome="unauthenticated") == unknown + 3


def test_a_key_is_revoked_and_another_given_without_a_restart(gateway, upstream):
    partners(gateway, "keys:\n" + entry("svc-gone", REVOKED)).start()
    served(gateway, upstream, gateway.ask("/orders/1", fields=brought(REVOKED)))
    with gateway.connect() as client:
        assert client.ask("/orders/1", fields=brought(REVOKED)).status == 200
        replace(gateway.directory / "keys.yaml", "keys:\n" + entry("svc-new", BILLING))
        gateway.reload()
        wait_until(lambda: gateway.ask("/orders/1", fields=brought(BILLING)).status == 200, "the new key passes")
        response = client.ask("/orders/1", fields=brought(REVOKED))
        refused(gateway, upstream, response, 401, "api_key_unknown")
        served(gateway, upstream, client.ask("/orders/1", fields=brought(BILLING)))

    for broken in ("keys: [", "keys:\n  - { actor: svc-new, sha256: 123 }\n", "\x00", ""):
        failed = gateway.reloads("failed")
        replace(gateway.directory / "keys.yaml", broken)
        gateway.reload()
        wait_until(lambda failed=failed: gateway.reloads("failed") > failed, "the reload fails")
        served(gateway, upstream, gateway.ask("/orders/1", fields=brought(BILLING)))
    assert "ERROR" in gateway.log_text() and "keys.yaml" in gateway.log_text()
    gateway.stop()


def test_of_several_providers_the_first_that_vouches_decides(gateway, upstream):
    """A bad token does not spoil the key beside it; where none vouches, the first refusal is the reason."""
    (gateway.directory / "jwks.json").write_text(json.dumps(key_set([TRUSTED])))
    corp = {"issuer": "https://id.test", "audience": ["api"], "jwks": {"file": "jwks.json"}, "algorithms": ["ES256"]}
    partners(gateway, KEYS, corp={"jwt": corp}).start()
    good, bad = bearer(TRUSTED.token("alice")), bearer(TokenKey("k").token())
    for fields, actor in [
        (good, "alice"),
        (brought(BILLING), "svc-billing"),
        (brought(BILLING) | good, "svc-billing"),
        (brought(BILLING) | bad, "svc-billing"),
        (brought("guessed") | good, "alice"),
    ]:
        record, seen = served(gateway, upstream, gateway.ask("/orders/1", fields=fields))
        assert record["actor"]["id"] == actor and seen.message.all("x-sealgate-actor") == [actor]
    for fields, word in [
        ({}, "credentials_missing"),
        (bad, "token_signature"),
        (brought("guessed"), "api_key_unknown"),
        (brought("guessed") | bad, "api_key_unknown"),
    ]:
        refused(gateway, upstream, gateway.ask("/orders/1", fields=fields), 401, word)
    gateway.stop()
