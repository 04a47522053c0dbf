"""Complete: what load generators sent, what upstreams saw and what the log holds are the same, each exactly once."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.gateway import Gateway, route
from harness.load import Aborter, Exchange, Wrk, curl, tag
from harness.ports import LOOPBACK, free_port

SECONDS = 30
BODY_LIMIT = 64 * 1024
# Paths that wrk asks for in turn: answered by the upstream with 200 and 503, by nobody (404), by a dead upstream (502).
WRK_PATHS = ["/up/", "/up/status/503/", "/up/bytes/2000/", "/up/chunked/3/", "/void/", "/down/"]
ROUTES = [
    route("up", match={"path_prefix": "/up"}, rewrite={"strip_prefix": "/up"}),
    route("aborted", match={"path_prefix": "/aborted"}, rewrite={"strip_prefix": "/aborted"}),
    route("down", "down", match={"path_prefix": "/down"}),
]


@dataclass
class Run:
    """The three lists, and the ports of connections that never sent a whole request."""

    sent: list[Exchange]
    answered: list[tuple[str, int]]
    half_heads: list[int]
    upstream: list[tuple[str, str]]
    records: list[dict]


@pytest.fixture(scope="module")
def run(module_directory, module_upstream) -> Iterator[Run]:
    upstreams = {"main": module_upstream.address, "down": f"{LOOPBACK}:{free_port()}"}
    gateway = Gateway(module_directory / "gateway", upstreams, ROUTES, tune).start()
    aborter = Aborter(gateway.port, module_upstream)
    with ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(aborter.run, SECONDS)
        curling = pool.submit(keep_curling, gateway.port, module_directory)
        wrk = Wrk.run(gateway.port, module_directory / "wrk", SECONDS, WRK_PATHS)
        by_curl = curling.result()
        leaving.result()
    gateway.stop()
    gateway.verify().expect(0)
    answered = wrk.got + [(exchange.request_id, exchange.status) for exchange in by_curl]
    sent = [Exchange(target) for target in wrk.sent] + by_curl + aborter.exchanges
    seen = [(tag(seen.target), seen.request_id) for seen in module_upstream.seen]
    yield Run(sent, answered, aborter.half_heads, seen, gateway.audited().records)


def tune(config: dict) -> None:
    config["listen"][0]["limits"] = {"body_bytes": "64KiB"}
    config["audit"] |= {"segment": {"max_age": "2s"}, "heartbeat_interval": "1s"}


def keep_curling(port: int, directory: Path) -> list[Exchange]:
    """GETs, POSTs, a body beyond the limit (413) and a path that climbs out (400), as long as wrk runs."""
    exchanges: list[Exchange] = []
    deadline = time.monotonic() + SECONDS
    for batch in itertools.count():
        if time.monotonic() > deadline:
            return exchanges
        requests: list[tuple[str, bytes | None]] = []
        for place in range(10):
            end = f"c{batch}-{place}"
            requests += [
                (f"/up/g{end}", None),
                (f"/up/p{end}", b"x" * 1000),
                (f"/void/v{end}", None),
                (f"/../r{end}", None),
            ]
        requests.append((f"/up/l{batch}", b"x" * (BODY_LIMIT + 1)))
        exchanges += curl(port, directory, requests)


def of_requests(run: Run) -> list[dict]:
    return [record for record in run.records if "request" in record]


def tag_of(record: dict) -> str:
    return tag(record["request"].get("raw", record["request"]["path"]))


def difference(expected: Counter, found: Counter) -> str:
    missing, excess = expected - found, found - expected
    return f"{missing.total()} missing: {list(missing)[:5]}; {excess.total()} too many: {list(excess)[:5]}"


def test_every_request_sent_is_on_the_log_exactly_once(run):
    sent = Counter(exchange.tag for exchange in run.sent)
    recorded = Counter(tag_of(record) for record in of_requests(run))
    assert len(run.sent) > 1000 and set(sent.values()) == {1}
    assert recorded == sent, difference(sent, recorded)


def test_every_answer_got_is_on_the_log_with_its_id_and_status(run):
    aborted = {exchange.tag for exchange in run.sent if exchange.target.startswith("/aborted/")}
    got = Counter(run.answered)
    recorded = Counter(
        (record["request_id"], record["response"]["status"])
        for record in of_requests(run)
        if tag_of(record) not in aborted
    )
    assert recorded == got, difference(got, recorded)
    assert {200, 400, 404, 413, 502, 503} <= {status for _, status in got}


def test_every_request_that_reached_the_upstream_is_on_the_log_and_no_other(run):
    seen = Counter(run.upstream)
    recorded = Counter(
        (tag_of(record), record["request_id"])
        for record in of_requests(run)
        if record.get("upstream") and record["route"] != "down"
    )
    # A body beyond the limit may be noticed before or after its head went on.
    late = {tag_of(record) for record in of_requests(run) if record.get("response", {}).get("status") == 413}
    for counter in (seen, recorded):
        for key in [key for key in counter if key[0] in late]:
            del counter[key]
    assert recorded == seen, difference(seen, recorded)


def test_requests_without_an_upstream_are_on_the_log_without_one(run):
    alone = [record for record in of_requests(run) if record.get("response", {}).get("status") in (400, 404)]
    assert alone
    assert not [record for record in alone if "upstream" in record]
    down = [record for record in of_requests(run) if record.get("route") == "down"]
    assert down
    assert {(record["response"]["status"], record["error"]) for record in down} == {(502, "ConnectRefused")}


def test_clients_that_left_within_a_head_are_on_the_log(run):
    left = Counter(run.half_heads)
    recorded = Counter(
        record["source"]["port"]
        for record in run.records
        if record["kind"] == "rejected" and record["reason"] == "closed_in_header"
    )
    assert recorded == left, difference(left, recorded)


def test_clients_that_left_later_are_recorded_as_gone(run):
    left = {exchange.tag for exchange in run.sent if exchange.target.startswith("/aborted/")}
    ends = Counter((record["kind"], record["end"]) for record in of_requests(run) if tag_of(record) in left)
    # One who left just before the last byte was written may not have been noticed; that is the minority.
    assert ends[("completed", "client_closed")] > len(left) / 2, ends
