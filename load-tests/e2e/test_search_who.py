"""Finding records by who asked, what for and what was decided: records that a gateway wrote, and an index that is used."""

import re
from collections.abc import Iterator

import pytest

from harness.binaries import sealaudit
from harness.conditions import wait_until
from harness.gateway import Gateway, route
from harness.identities import as_actor, knows

PEOPLE = {"alice@example.com": ["ops", "dev"], 'od"d\\ one': ["dev"], "svc-billing": []}


def brisk(config: dict) -> None:
    config["audit"]["segment"] = {"max_age": "1s"}


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    """Each asks in a segment of its own: reads, writes, and nobody at all."""
    rules = [{"name": "read", "methods": ["GET"]}, {"name": "ops-write", "groups": ["ops"]}]
    routes = [
        route(
            "orders",
            match={"path_prefix": "/orders"},
            auth={"any_of": ["partners"]},
            allow=rules,
            audit={"action": "orders.access"},
        ),
        route("whoever", match={"path_prefix": "/whoever"}, auth={"any_of": ["partners"]}),
    ]
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, routes, brisk)
    knows(gateway, PEOPLE)
    gateway.start()
    for number, who in enumerate([*PEOPLE, "nobody"]):
        for target, method in [("/orders/1", "GET"), ("/orders/2", "DELETE"), ("/whoever/1", "GET")]:
            gateway.ask(target, method, as_actor(who))
        sealed = number + 1
        wait_until(lambda: len(list(gateway.store.rglob("*.ndjson.zst"))) >= sealed, "the segment is shipped", timeout=20)
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()
    yield gateway


@pytest.fixture(scope="module")
def requests(gateway) -> list[dict]:
    records = [record for record in gateway.audited().records if record["kind"] == "completed"]
    assert len(records) == 12
    return records


FILTERS = {
    "--actor alice@example.com": lambda record: record.get("actor", {}).get("id") == "alice@example.com",
    "--actor svc-billing --actor alice@example.com": lambda record: (
        record.get("actor", {}).get("id") in ("svc-billing", "alice@example.com")
    ),
    "--groups dev": lambda record: "dev" in record.get("actor", {}).get("groups", []),
    "--groups ops,nothing": lambda record: "ops" in record.get("actor", {}).get("groups", []),
    "--rule ops-write": lambda record: record.get("decision", {}).get("rule") == "ops-write",
    "--rule read --rule ops-write": lambda record: "rule" in record.get("decision", {}),
    "--outcome deny": lambda record: record["decision"]["outcome"] == "deny",
    "--outcome deny --status 403": lambda record: record["response"]["status"] == 403,
    "--outcome allow --groups dev --method GET": lambda record: (
        "dev" in record.get("actor", {}).get("groups", []) and record["request"]["method"] == "GET"
    ),
    "--action orders.access": lambda record: record.get("action") == "orders.access",
}


@pytest.mark.parametrize("words", FILTERS)
def test_a_filter_finds_exactly_what_it_names(gateway, requests, words):
    rows = sealaudit("search", gateway.store, *words.split(" "), "--format", "ndjson").expect(0).rows
    expected = [record["request_id"] for record in requests if FILTERS[words](record)]
    assert sorted(row["request_id"] for row in rows) == sorted(expected) and expected


def test_an_actor_of_any_spelling_is_found(gateway):
    for actor in PEOPLE:
        rows = sealaudit("search", gateway.store, "--actor", actor, "--format", "ndjson").expect(0).rows
        assert [row["actor"]["id"] for row in rows] == [actor] * 3
    sealaudit("search", gateway.store, "--actor", "alice").expect(1)
    sealaudit("search", gateway.store, "--outcome", "maybe").expect(2)


def test_segments_without_the_actor_are_not_read(gateway):
    """Their index lists the actors (`sets.actor`)."""
    outcome = sealaudit("search", gateway.store, "--actor", "svc-billing", "--stats", "--format", "ndjson").expect(0)
    skipped, segments = segments_skipped(outcome.err)
    assert segments >= 4 and skipped >= segments - 2, outcome.err


def segments_skipped(text: str) -> tuple[int, int]:
    """Of `--stats`: how many segments their index ruled out, of how many."""
    (found,) = re.findall(r"segments (\d+) .* ruled out by their index (\d+)", text)
    return int(found[1]), int(found[0])


def test_a_table_shows_who_and_what_was_decided(gateway):
    table = sealaudit("search", gateway.store, "--actor", "alice@example.com", "--format", "table").expect(0).out
    head, *rows = table.splitlines()
    assert [word for word in ("ACTION", "ACTOR", "DECISION") if word not in head] == []
    assert any("DELETE" in row and "alice@example.com" in row and "allow (ops-write)" in row for row in rows), table
    denied = sealaudit("search", gateway.store, "--outcome", "deny", "--format", "table").expect(0).out
    assert "svc-billing" in denied and "deny" in denied
    lifecycle = sealaudit("search", gateway.store, "--kind", "lifecycle", "--format", "table").expect(0).out
    assert "ACTOR" not in lifecycle
