"""The JSON Schemas are closed, and they are those of the records that a gateway really writes."""

import base64
import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.binaries import ROOT
from harness.certificates import Authority
from harness.conditions import wait_until
from harness.gateway import Gateway, route
from harness.identities import as_actor, knows
from harness.ports import LOOPBACK, free_port, steady_port
from harness.schema import RecordSchema
from harness.upstream import Upstream
from harness.wire import ask, request_bytes
from sealformat.audit import audit_store
from sealformat.samples import lossy_log, ordinary_log, unclean_log

SCHEMA = ROOT / "audit-writer" / "schema" / "record.v1.json"
EVENTS = {"segment", "start", "heartbeat", "stored", "stop"}
KINDS = {"received", "completed", "aborted", "rejected", "gap", "lifecycle"}


@pytest.fixture(scope="module")
def schema() -> RecordSchema:
    return RecordSchema(json.loads(SCHEMA.read_text()))


def lively(config: dict) -> None:
    config["audit"] |= {"heartbeat_interval": "1s", "segment": {"max_age": "1s"}}
    config["shutdown"]["timeout"] = "1s"
    config["listen"][0]["client_address"] = {"from": "x-forwarded-for", "trusted": [f"{LOOPBACK}/32"]}


@pytest.fixture(scope="module")
def records(module_directory, module_upstream) -> Iterator[list[dict]]:
    """A life with everything in it: answers, refusals, failures, a crash, heartbeats, a request cut by the stop."""
    routes = [
        route("all", audit={"headers": ["user-agent"]}),
        route("down", "down", match={"path_prefix": "/down"}),
        route("held", "held", match={"path_prefix": "/held"}),
        route(
            "who",
            match={"path_prefix": "/who"},
            auth={"any_of": ["partners"]},
            allow=[{"name": "ops-only", "groups": ["ops"]}],
            audit={"action": "who.asks", "body_digest": "sha256"},
        ),
    ]
    held = Upstream()
    upstreams = {"main": module_upstream.address, "held": held.address, "down": f"{LOOPBACK}:{free_port()}"}
    authority = Authority(module_directory / "tls")

    def secured(config: dict) -> None:
        lively(config)
        tls = {"certificates": [authority.issue("api", ["api.test"]).configured]}
        tls["client_auth"] = {"mode": "optional", "ca": str(authority.cert)}
        config["listen"].append({"name": "secured", "address": f"{LOOPBACK}:{steady_port()}", "tls": tls})

    gateway = Gateway(module_directory / "gateway", upstreams, routes, secured)
    knows(gateway, {"alice": ["ops", "dev"], "bob": []})
    gateway.start()
    gateway.ask("/orders/1")
    gateway.kill()
    gateway.start()
    trace = {
        "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "User-Agent": "probe",
        "X-Forwarded-For": "203.0.113.9",
    }
    gateway.ask("/orders//2?page=1", fields=trace)
    gateway.ask("/long/" + "x" * 20000, fields=trace)
    gateway.ask("/down/1")
    gateway.ask("/../climb")
    tls = authority.trusted_by_client(authority.client("alice", ["spiffe://example.org/alice"]))
    claim = {"Content-Digest": "sha-256=:" + base64.b64encode(hashlib.sha256(b"hello").digest()).decode() + ":"}
    for who, fields in {"alice": trace | claim, "bob": claim, "nobody": {}}.items():
        port = gateway.port_of("secured")
        ask(port, "/who/1", "POST", as_actor(who) | fields, b"hello", tls=tls)
    with gateway.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        client.reader.rest()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    gateway.ask("/orders/3", fields=upgrade)
    wait_until(
        lambda: EVENTS - {"stop"} <= {record.get("event") for record in gateway.written_records()},
        "a heartbeat and a stored segment",
    )
    with ExitStack() as stack:
        for number in range(8):
            client = stack.enter_context(gateway.connect())
            client.send(request_bytes(f"/held/cut-{number}"))
        wait_until(lambda: len(held.tags) == 8, "the requests are at the upstream")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait(0)
    held.close()
    yield audit_store(gateway.store, gateway.signer.verifier)[gateway.signer.name].records


def test_every_kind_and_every_event_occurs(records):
    assert {record["kind"] for record in records} >= KINDS
    assert {record["event"] for record in records if record["kind"] == "lifecycle"} == EVENTS


def test_every_record_is_valid(schema, records):
    for record in records:
        assert not schema.flaws(record), f"{json.dumps(record, indent=1)}\n{schema.flaws(record)[:3]}"


def test_every_optional_part_of_a_request_record_occurs(schema, records):
    requests = [record for record in records if record["kind"] == "completed"]
    seen = {name for record in requests for name in record}
    known = schema.fields(requests[0])
    assert seen == known, f"never written: {known - seen}"


@pytest.mark.parametrize("part", ["actor", "tls", "decision", "request", "response"])
def test_every_optional_part_of_a_part_occurs(schema, records, part):
    parts = [record[part] for record in records if record["kind"] == "completed" and part in record]
    (variant,) = [one for one in schema.schema["oneOf"] if "end" in schema.resolved(one)["properties"]]
    known = set(schema.resolved(schema.resolved(variant)["properties"][part])["properties"])
    # Values of queries are kept by no route here.
    assert {name for found in parts for name in found} == known - {"query_values"}


def test_who_is_denied_is_recorded_as_fully_as_who_is_served(records):
    """But for the upstream, which saw nothing, and the digest of a body that nobody read."""
    served, denied, unknown = (
        next(
            record
            for record in records
            if record.get("route") == "who" and record["response"]["status"] == status
        )
        for status in (200, 403, 401)
    )
    assert served.keys() - denied.keys() == {"trace_id", "upstream"} and denied.keys() - served.keys() == {"error"}
    assert denied.keys() - unknown.keys() == {"actor"} and unknown.keys() <= denied.keys()
    assert served["request"].keys() - denied["request"].keys() == {"body_sha256"}
    assert served["decision"] == {"outcome": "allow", "rule": "ops-only"}
    assert denied["decision"] == unknown["decision"] == {"outcome": "deny"}
    assert (served["request"]["content_digest"], denied["request"]["content_digest"]) == ("match", "incomplete")
    assert denied["action"] == "who.asks" and denied["tls"].keys() == served["tls"].keys()


def test_records_of_before_are_still_valid(schema, tmp_path):
    """Written before records told who asked: they lack every field of that."""
    for number, log in enumerate([ordinary_log(), lossy_log(), unclean_log()]):
        log.write(tmp_path / str(number))
        report = audit_store(tmp_path / str(number), log.signer.verifier)[log.signer.name]
        assert report.records and [schema.flaws(record) for record in report.records if schema.flaws(record)] == []


def test_a_field_less_or_more_makes_a_record_invalid(schema, records):
    """For every shape of record that occurs, at every depth."""
    shapes = {json.dumps(shape(record)): record for record in records}
    broken = [(what, record, case) for record in shapes.values() for what, case in schema.broken(record)]
    assert len(broken) > 100
    for what, record, case in broken:
        assert schema.flaws(case), f"{record['kind']} {record.get('event', '')}: {what} is still valid"


def shape(value: object) -> object:
    return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else None
