"""What `audit.redact` hides is found nowhere, whatever its spelling; what it does not hide is told in full."""

import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.binaries import ROOT, sealaudit, sealgate
from harness.gateway import Gateway, route
from harness.schema import RecordSchema
from test_secrets import texts_of

TOKEN = "t0k3nt0k3nt0k3n"
ESCAPED = "".join(f"%{byte:02x}" for byte in TOKEN.encode())
PATIENT = "patient-4711-4711"
KEY = bytes(range(128, 192))
REDACT = {
    "hmac_key": "hmac.key",
    "hmac": ["request.headers.x-patient-id"],
    "paths": ["/reset/{token}", "/users/{id}/keys/{key}", "/drop/{token}", "/cut/{token}"],
}
SERVED = {
    f"/reset/{TOKEN}": "/reset/{token}",
    f"/reset/{TOKEN}/confirm": "/reset/{token}/confirm",
    f"//reset/./{TOKEN}": "/reset/{token}",
    f"/RESET/{TOKEN}": "/RESET/{token}",
    f"/%72eset/{ESCAPED}": "/reset/{token}",
    f"/%2572eset/{TOKEN}": "/%2572eset/{token}",
    f"/reset;v=1/{TOKEN}": "/reset;v=1/{token}",
    f"/reset/{TOKEN}%252fx": "/reset/{token}",
    f"/reset%252f{TOKEN}": "/reset%252f{token}",
    f"/reset%255C{ESCAPED.replace('%', '%25')}": "/reset%255C{token}",
    f"/reset/{TOKEN}/../other": "/reset/{token}",
    f"/reset/{TOKEN}/../../orders/9": "/orders/9",
    f"http://api.test/reset/{TOKEN}": "/reset/{token}",
    f"/users/7/keys/{TOKEN}": "/users/{id}/keys/{key}",
    f"/files/{TOKEN}": "/files/*",
    f"//files/%2e/{ESCAPED}": "/files/*",
}
REFUSED = [
    f"/reset/{TOKEN}%2fx",
    f"/reset%2f{TOKEN}",
    f"/reset%5c{ESCAPED}",
    f"/reset\\{TOKEN}",
    f"/reset/..;{TOKEN}",
    f"/../reset/{TOKEN}",
    f"/reset%c0%af{TOKEN}",
    f"/reset/%00{TOKEN}",
    f"/reset/%zz{TOKEN}",
    f"http://other.test/reset/{TOKEN}",
    f"https://api.test/reset/{TOKEN}",
]


def hash_of(value: str) -> str:
    """What a record has in place of a value, by another implementation."""
    key_id = hashlib.sha256(KEY).hexdigest()[:8]
    return f"hmac-sha256:{key_id}:{hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()}"


@pytest.fixture
def redacting(gateway: Gateway) -> Gateway:
    key = gateway.directory / "hmac.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    gateway.config["audit"]["redact"] = REDACT
    gateway.config["routes"] = [
        route(
            "all",
            match={"hosts": ["api.test"], "path_prefix": "/"},
            audit={"headers": ["user-agent", "x-patient-id"], "query": "keys", "durability": "strict"},
        ),
        route("search", match={"hosts": ["api.test"], "path_prefix": "/search"}, audit={"query": "values"}),
        route("files", match={"hosts": ["api.test"], "path_prefix": "/files"}, audit={"path": "route"}),
    ]
    return gateway


def everything(gateway: Gateway) -> dict[str, bytes]:
    texts = {path: gateway.admin(path).body for path in ("/metrics", "/status", "/readyz")}
    texts |= {f"{path} while running": data for path, data in texts_of(gateway.directory).items()}
    texts["search"] = sealaudit("search", gateway.directory, "--limit", "1000").out.encode()
    return texts


def assert_in_no(texts: dict[str, bytes], secret: str) -> None:
    for place, data in texts.items():
        text = data.decode(errors="replace")
        for spelling in (text, unquote(text), unquote(unquote(text))):
            at = spelling.find(secret)
            assert at < 0, f"{place} holds {spelling[max(0, at - 200) : at + 40]!r}"


def test_what_templates_and_keys_hide_is_found_nowhere(redacting, upstream):
    redacting.start()
    fields = {"X-Patient-Id": PATIENT, "User-Agent": "probe"}
    served = {target: redacting.ask(target, fields=fields) for target in SERVED}
    assert {target: response.status for target, response in served.items()} == dict.fromkeys(SERVED, 200)
    assert sum(TOKEN in unquote(unquote(seen.target)) for seen in upstream.seen) >= len(SERVED) - 2, "sent on in full"
    refused = {target: redacting.ask(target, fields=fields) for target in REFUSED}
    assert {target: response.status for target, response in refused.items()} == dict.fromkeys(REFUSED, 400)
    assert redacting.ask(f"/reset/{TOKEN}", fields=fields, host="none.test").status == 404
    assert redacting.ask(f"/drop/{TOKEN}", fields=fields).status == 502
    with redacting.connect() as client:
        client.send(f"GET /cut/{TOKEN} HTTP/1.1\r\nHost: api.test\r\nX-Patient-Id: {PATIENT}\r\n\r\n".encode())
        client.reader.rest()
    assert redacting.ask(f"/reset/{TOKEN}/{'x' * 9000}", fields=fields).status == 200, "longer than a record"

    texts = everything(redacting)
    redacting.stop()
    texts |= texts_of(redacting.directory)
    for secret in (TOKEN, PATIENT):
        assert_in_no(texts, secret)
    key_file = str(redacting.directory / "hmac.key")
    assert not [place for place, text in texts.items() if KEY in text and not place.startswith(key_file)]

    records = [record for record in redacting.audited().records if "request" in record]
    schema = RecordSchema(json.loads((ROOT / "audit-writer/schema/record.v1.json").read_text()))
    by_id: dict[str, list[dict]] = {}
    for record in records:
        by_id.setdefault(record["request_id"], []).append(record)
        assert schema.flaws(record) == []
    for target, response in served.items():
        told = by_id[response.get("x-request-id")]
        assert {record["request"]["path"] for record in told} == {SERVED[target]}, target
        if "/files" not in target:
            assert [record["kind"] for record in told] == ["received", "completed"], target
            assert {record["request"]["headers"]["x-patient-id"] for record in told} == {hash_of(PATIENT)}
            assert {record["request"]["headers"]["user-agent"] for record in told} == {"probe"}, "told as it was"
        else:
            assert not any("raw" in record["request"] for record in told)
    # What is not even a request has no id, and a record without a target.
    ids = {target: response.get("x-request-id") for target, response in refused.items()}
    told = {target: by_id[request_id][0] for target, request_id in ids.items() if request_id}
    assert len(told) >= len(REFUSED) - 2, told.keys()
    assert {record["end"] for record in told.values()} == {"refused"}
    assert told[f"/reset/{TOKEN}%2fx"]["request"]["raw"] == "/reset/{token}"
    assert "raw" not in told[f"/reset%c0%af{TOKEN}"]["request"], "it could be read in any way"
    redacting.verify().expect(0)


def test_what_is_not_hidden_is_told_in_full(redacting):
    redacting.start()
    for target, path, raw in [
        ("/orders/reset/42", "/orders/reset/42", None),
        ("/users/7/orders", "/users/7/orders", None),
        ("/resets/42", "/resets/42", None),
        ("/orders/./%7Ea", "/orders/~a", "/orders/./%7Ea"),
        ("/orders/a%252Fb", "/orders/a%252Fb", None),
    ]:
        response = redacting.ask(target)
        assert response.status == 200
        asked = redacting.record_where(
            lambda record, r=response: (
                record.get("request_id") == r.get("x-request-id") and record["kind"] == "completed"
            ),
            target,
        )["request"]
        assert (asked["path"], asked.get("raw")) == (path, raw)
    refused = redacting.record(redacting.ask("/orders/..%2f..%2fetc").get("x-request-id"))
    assert refused["request"]["raw"] == "/orders/..%2f..%2fetc"
    redacting.stop()


def test_a_route_can_keep_the_querys_values(redacting, upstream):
    redacting.start()
    query = "page=2&flag&empty=&&page=%C3%A9+x&q=a=b"
    response = redacting.ask(f"/search?{query}")
    asked = redacting.record(response.get("x-request-id"))["request"]
    assert asked["query"] == ["page", "flag", "empty", "page", "q"]
    assert asked["query_values"] == ["page=2", "flag", "empty=", "page=%C3%A9+x", "q=a=b"]
    assert upstream.one("/search").target == f"/search?{query}"
    assert "query_values" not in redacting.record(redacting.ask("/files/1?page=2").get("x-request-id"))["request"]
    assert "query_values" not in redacting.record(redacting.ask("/search").get("x-request-id"))["request"]
    redacting.stop()
    redacting.verify().expect(0)


def test_a_hashed_value_is_found_again_by_who_has_the_key(redacting):
    redacting.start()
    wanted = redacting.ask("/orders/1", fields={"X-Patient-Id": PATIENT}).get("x-request-id")
    redacting.ask("/orders/2", fields={"X-Patient-Id": "somebody-else"})
    redacting.ask("/orders/3")
    redacting.stop()
    printed = sealgate("hash", "-c", redacting.config_file, PATIENT).expect(0).out
    assert printed == f"{hash_of(PATIENT)}\n"
    assert sealgate("hash", "-c", redacting.config_file, "-", stdin=f"{PATIENT}\n").expect(0).out == printed
    found = sealaudit("search", redacting.store, "--format", "ndjson", "--limit", "0").expect(0).rows
    matching = [
        record
        for record in found
        if record.get("request", {}).get("headers", {}).get("x-patient-id") == printed.strip()
    ]
    assert {record["request_id"] for record in matching} == {wanted}
    assert {record["kind"] for record in matching} == {"received", "completed"}


@pytest.mark.parametrize(
    ("key", "mode", "reason"),
    [
        (None, 0o600, "there is no key"),
        (KEY, 0o644, "mode 0600"),
        (KEY[:31], 0o600, "31 bytes, expected at least 32"),
        (b"", 0o600, "is a text"),
        (b"a passphrase that is long enough to be a key", 0o600, "is a text"),
        (bytes(64), 0o600, "one byte over and over"),
        (KEY * 100, 0o600, "no key file"),
    ],
)
def test_a_key_that_cannot_hide_anything_is_an_error_with_its_place(redacting, key, mode, reason):
    file: Path = redacting.directory / "hmac.key"
    file.unlink()
    if key is not None:
        file.write_bytes(key)
        file.chmod(mode)
    redacting.write_config()
    found = sealgate("validate", "--format", "json", "-c", redacting.config_file).expect(78)
    (problem,) = [problem for problem in json.loads(found.out) if problem["in"] == "audit.redact"]
    assert problem["key"] == "hmac_key" and reason in problem["rule"] and problem["line"] > 0
    assert reason in sealgate("hash", "-c", redacting.config_file, "x").expect(78).err
    redacting.launch()
    redacting.wait(78)
    assert reason in redacting.log_text()
    assert not redacting.has_begun(), "nothing was begun"
