"""A stop under full load loses nothing: what was served is on the log, and what was cut is recorded as cut."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.conditions import wait_until
from harness.gateway import Gateway, route
from harness.load import RunningWrk
from harness.traffic import Traffic
from harness.upstream import Upstream
from harness.wire import Closed

CONNECTIONS = 64
LONG = 16


@pytest.fixture(params=["strict", "buffered", "best_effort"])
def busy(request, directory: Path, traffic: Traffic, upstream: Upstream) -> Iterator[Gateway]:
    """Not started yet: fast requests go to one upstream, long ones to the other."""
    upstreams = {"fast": traffic.upstream, "slow": upstream.address}
    routes = [route("fast", "fast"), route("slow", "slow", match={"path_prefix": "/held"})]

    def tune(config: dict) -> None:
        config["audit"] |= {"durability": request.param, "segment": {"max_age": "500ms"}}

    gateway = Gateway(directory / "gateway", upstreams, routes, tune)
    yield gateway
    gateway.kill()


def load(gateway: Gateway, directory: Path) -> RunningWrk:
    return RunningWrk(gateway.port, directory / "wrk", 60, ["/load/"], CONNECTIONS)


def nothing_is_lost(gateway: Gateway, got: list[tuple[str, int]], reached: set[str]) -> list[dict]:
    gateway.verify().expect(0)
    records = gateway.audited().records
    assert not [record for record in records if record["kind"] == "gap"]
    ended = {record["request_id"]: record for record in records if record["kind"] in ("completed", "aborted")}
    unrecorded = [pair for pair in got if pair[1] == 200 and ended.get(pair[0], {}).get("kind") != "completed"]
    assert not unrecorded, f"{len(unrecorded)} of {len(got)} answers are not on the log: {unrecorded[:5]}"
    untold = reached - ended.keys()
    assert not untold, f"{len(untold)} requests reached the upstream, and no record tells"
    (stop,) = [record for record in records if record.get("event") == "stop"]
    counters = stop["counters"]
    assert (counters["queued"], counters["lost"]) == (0, 0), counters
    return records


def test_sigterm_under_full_load_loses_nothing(busy, directory, traffic):
    busy.start()
    with load(busy, directory) as wrk:
        wait_until(lambda: len(traffic.reached) > 3000, "the load is on")
        busy.stop()
        got = wrk.interrupt().got
    assert len(got) > 2000
    nothing_is_lost(busy, got, traffic.reached)


@pytest.mark.parametrize("cut", ["a second SIGTERM", "shutdown.timeout"])
def test_what_a_stop_under_load_cuts_is_recorded_as_cut(busy, directory, traffic, upstream, cut):
    busy.config["shutdown"]["timeout"] = "1s" if cut == "shutdown.timeout" else "60s"
    busy.start()

    def hold(number: int) -> None:
        try:
            busy.ask(f"/held/h{number}")
        except (Closed, OSError):
            return

    with ThreadPoolExecutor(LONG) as pool, load(busy, directory) as wrk:
        for number in range(LONG):
            pool.submit(hold, number)
        wait_until(lambda: len(upstream.seen) == LONG, "the long requests are at their upstream")
        wait_until(lambda: len(traffic.reached) > 2000, "the load is on")
        busy.process.send_signal(signal.SIGTERM)
        if cut == "a second SIGTERM":
            wait_until(lambda: "accepting no more" in busy.log_text(), "it drains")
            busy.process.send_signal(signal.SIGTERM)
        busy.wait(0)
        got = wrk.interrupt().got
    long = {seen.request_id for seen in upstream.seen}
    records = nothing_is_lost(busy, got, traffic.reached | long)
    ends = {record["request_id"]: record for record in records if record["kind"] in ("completed", "aborted")}
    assert {(ends[request_id]["kind"], ends[request_id]["end"]) for request_id in long} == {("aborted", "shutdown")}
