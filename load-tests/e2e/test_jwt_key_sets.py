"""Key sets by URL: fetched in the background, never for a request; what is known stays known, whatever they serve."""

import json
from collections.abc import Iterator

import pytest

from harness.certificates import EXPIRED, Authority, serving
from harness.conditions import wait_until
from harness.decisions import refused, served
from harness.files import replace
from harness.gateway import Gateway, route, total
from harness.key_set_server import GARBAGE, KeySetServer
from harness.tokens import AUDIENCE, ISSUER, TokenKey, bearer, key_set

OLD, NEW, LOST = TokenKey("old"), TokenKey("new"), TokenKey("lost")
REFRESH = "1s"


@pytest.fixture
def keys() -> Iterator[KeySetServer]:
    keys = KeySetServer([OLD])
    yield keys
    keys.close()


def provided(gateway: Gateway, jwks: dict, **more) -> Gateway:
    """A gateway whose one route wants a token of this key set."""
    jwt = {"issuer": ISSUER, "audience": [AUDIENCE], "jwks": jwks, "algorithms": ["ES256"]} | more
    gateway.config["identity"] = {"corp": {"jwt": jwt}}
    gateway.config["routes"] = [route("corp", auth={"any_of": ["corp"]})]
    return gateway


def by_url(gateway: Gateway, keys: KeySetServer, refresh: str = REFRESH, **more) -> Gateway:
    return provided(gateway, {"url": keys.url, "refresh": refresh} | more)


def refreshes(gateway: Gateway) -> dict[str, int]:
    """How often the set was fetched, by outcome."""
    samples = gateway.metrics().get("sealgate_jwks_refreshes_total", [])
    return {labels["outcome"]: int(value) for labels, value in samples if labels["provider"] == "corp"}


def failures(gateway: Gateway) -> int:
    return sum(count for outcome, count in refreshes(gateway).items() if outcome != "ok")


def ask(gateway: Gateway, key: TokenKey, subject: str = "alice"):
    return gateway.ask("/orders/1", fields=bearer(key.token(subject)))


def becomes_good(gateway: Gateway, key: TokenKey) -> None:
    wait_until(lambda: ask(gateway, key).status == 200, f"tokens of `{key.kid}` pass", timeout=30)


def test_a_new_key_is_learnt_and_one_that_is_gone_is_good_no_more(gateway, keys, upstream):
    by_url(gateway, keys).start()
    served(gateway, upstream, ask(gateway, OLD))
    refused(gateway, upstream, ask(gateway, NEW), 401, "token_key_unknown")
    keys.serve([OLD, NEW])
    becomes_good(gateway, NEW)
    served(gateway, upstream, ask(gateway, OLD))
    token = bearer(OLD.token())
    served(gateway, upstream, gateway.ask("/orders/1", fields=token))
    keys.serve([NEW])
    wait_until(lambda: gateway.ask("/orders/1", fields=token).status == 401, "the old key is forgotten", timeout=30)
    refused(gateway, upstream, gateway.ask("/orders/1", fields=token), 401, "token_key_unknown")
    served(gateway, upstream, ask(gateway, NEW))
    gateway.stop()


def test_a_token_of_an_unknown_key_makes_the_background_look_once(gateway, keys, upstream):
    """Long before the next refresh is due; and a flood of such tokens makes no flood of fetches."""
    by_url(gateway, keys, refresh="10m").start()
    served(gateway, upstream, ask(gateway, OLD))
    keys.serve([OLD, NEW])
    before = keys.requests
    for _ in range(100):
        answer = ask(gateway, LOST)
    refused(gateway, upstream, answer, 401, "token_key_unknown")
    becomes_good(gateway, NEW)
    assert keys.requests - before <= 2, "at most one in ten seconds"
    served(gateway, upstream, ask(gateway, OLD))
    gateway.stop()


def test_no_request_ever_fetches_or_waits_for_keys(gateway, keys, upstream):
    by_url(gateway, keys, refresh="10m").start()
    served(gateway, upstream, ask(gateway, OLD))
    assert keys.requests == 1
    for number in range(200):
        assert ask(gateway, OLD, f"actor-{number}").status == 200
    assert keys.requests == 1, "200 tokens that were never seen before, and not one fetch"
    # Whatever asks now is not answered before this test ends: a request that waited for it would have no answer.
    keys.stall()
    for _ in range(5):
        refused(gateway, upstream, ask(gateway, NEW), 401, "token_key_unknown")
        served(gateway, upstream, ask(gateway, OLD))
    gateway.stop()


def garbled(keys: KeySetServer) -> None:
    keys.answer(GARBAGE)


STATES = {
    "down": KeySetServer.go_down,
    "slow": KeySetServer.stall,
    "garbage": garbled,
    "an error": lambda keys: keys.answer(json.dumps(key_set([NEW])).encode(), 500),
    "a redirect": lambda keys: keys.answer(b"", 302, f"Location: {keys.url}\r\n"),
    "more than any key set": lambda keys: keys.answer(
        json.dumps(key_set([NEW]) | {"filler": "x" * (1 << 20)}).encode()
    ),
    "no keys": lambda keys: keys.answer(b'{"keys": []}'),
    "only keys that cannot be used": lambda keys: keys.answer(
        json.dumps({"keys": [{"kty": "oct", "kid": "new", "alg": "HS256", "k": "c2VjcmV0"}]}).encode()
    ),
    "keys that are broken": lambda keys: keys.answer(json.dumps({"keys": [NEW.jwk | {"x": "AA"}]}).encode()),
    "half of an answer": lambda keys: keys.answer(json.dumps(key_set([NEW])).encode()[:-30]),
}


@pytest.mark.parametrize("state", STATES)
def test_known_keys_stay_known_while_the_endpoint_is_ill(gateway, keys, upstream, state):
    by_url(gateway, keys).start()
    token = bearer(OLD.token())
    served(gateway, upstream, gateway.ask("/orders/1", fields=token))
    failed = failures(gateway)
    STATES[state](keys)
    refused(gateway, upstream, ask(gateway, NEW), 401, "token_key_unknown")
    wait_until(lambda: failures(gateway) > failed, "a refresh fails", timeout=20)
    served(gateway, upstream, gateway.ask("/orders/1", fields=token))
    served(gateway, upstream, ask(gateway, OLD, "somebody-new"))
    refused(gateway, upstream, ask(gateway, NEW), 401, "token_key_unknown")
    if state == "down":
        keys.come_up()
    keys.serve([OLD, NEW])
    becomes_good(gateway, NEW)
    served(gateway, upstream, ask(gateway, OLD))
    gateway.stop()
    assert "panicked" not in gateway.log_text()


def test_without_any_keys_yet_nobody_can_be_identified_and_that_is_no_fault_of_the_token(gateway, keys, upstream):
    keys.go_down()
    by_url(gateway, keys).start()
    response = ask(gateway, OLD)
    refused(gateway, upstream, response, 503, "identity_unavailable")
    assert int(response.get("retry-after")) > 0
    # What brings no token at all need not wait for keys to be told so.
    response = gateway.ask("/orders/1")
    assert response.status in (401, 503)
    keys.come_up()
    becomes_good(gateway, OLD)
    samples = gateway.metrics()
    assert total(samples, "sealgate_auth_total", route="corp", outcome="unavailable") >= 1
    assert total(samples, "sealgate_auth_total", route="corp", scheme="jwt", outcome="allowed") >= 1
    assert total(samples, "sealgate_jwks_last_success_timestamp_seconds", provider="corp") > 1.7e9
    gateway.stop()


@pytest.mark.parametrize("flaw", ["none", "another authority", "another name", "expired"])
def test_keys_come_only_from_whom_the_configuration_trusts(gateway, directory, upstream, flaw):
    authority, other = Authority(directory / "tls"), Authority(directory / "tls", "other")
    issuer = other if flaw == "another authority" else authority
    names = ["other.test"] if flaw == "another name" else ["localhost", "127.0.0.1"]
    more = {"valid": EXPIRED} if flaw == "expired" else {}
    keys = KeySetServer([OLD], serving(issuer.issue("keys", names, **more)), "localhost")
    try:
        by_url(gateway, keys, ca=str(authority.cert)).start()
        if flaw == "none":
            becomes_good(gateway, OLD)
            served(gateway, upstream, ask(gateway, OLD))
        else:
            wait_until(lambda: failures(gateway) > 0, "the fetch fails")
            refused(gateway, upstream, ask(gateway, OLD), 503, "identity_unavailable")
            assert keys.requests == 0, "it is not even asked"
        gateway.stop()
    finally:
        keys.close()


def test_a_key_set_in_a_file_is_read_again_when_the_operator_says_so(gateway, upstream):
    file = gateway.directory / "jwks.json"
    file.write_text(json.dumps(key_set([OLD])))
    provided(gateway, {"file": "jwks.json"}).start()
    token = bearer(OLD.token())
    served(gateway, upstream, gateway.ask("/orders/1", fields=token))
    refused(gateway, upstream, ask(gateway, NEW), 401, "token_key_unknown")
    replace(file, json.dumps(key_set([NEW])))
    gateway.reload()
    becomes_good(gateway, NEW)
    refused(gateway, upstream, gateway.ask("/orders/1", fields=token), 401, "token_key_unknown")
    replace(file, GARBAGE.decode())
    gateway.reload()
    wait_until(lambda: gateway.reloads("failed") > 0, "the reload fails")
    assert "ERROR" in gateway.log_text() and "jwks.json" in gateway.log_text()
    served(gateway, upstream, ask(gateway, NEW))
    gateway.stop()
