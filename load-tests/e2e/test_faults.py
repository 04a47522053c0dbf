"""The disk fails under load: the gateway refuses or declares, says why, and mends itself in the same process."""

import itertools
from pathlib import Path

import pytest

from harness.accounts import check, declared, holds, settle
from harness.conditions import wait_until
from harness.gateway import FaultyGateway, route, total
from harness.load import Wrk
from harness.traffic import Traffic

# What fails, and what /readyz then says.
FAULTS = {
    "fsync fails": (["sync wal- EIO"], "writer_failed"),
    "fsync fails three times": (["sync wal- EIO 3"], None),
    "a write fails": (["append wal- EIO"], "writer_failed"),
    "the disk is full": (["append wal- ENOSPC"], "spool_full"),
    "the quota is used up": (["append wal- EDQUOT"], "spool_full"),
    "the disk is read-only": ([f"{deed} spool EROFS" for deed in ("append", "create", "rename", "overwrite")], None),
    "the writer panics": (["append wal- panic"], "writer_failed"),
    "the writer panics once": (["sync wal- panic 1"], None),
    "no segment can be begun": (["create wal- EIO"], "writer_failed"),
    "no segment can be sealed": (["link .ndjson.zst EIO"], None),
}
SCRAPES = 200


def start(directory: Path, traffic: Traffic, durability: str, **audit) -> FaultyGateway:
    """A gateway with a small ring and short segments; their ends are met often."""

    def tune(config: dict) -> None:
        config["shutdown"]["timeout"] = "3s"
        config["audit"] |= {
            "durability": durability,
            "ring": {"slots": 64},
            "segment": {"max_age": "500ms"},
            "heartbeat_interval": "1s",
        } | audit

    gateway = FaultyGateway(directory / "gateway", {"main": traffic.upstream}, [route("all")], tune)
    gateway.start()
    return gateway


@pytest.mark.parametrize("durability", ["strict", "buffered"])
@pytest.mark.parametrize("fault", FAULTS)
def test_service_is_refused_while_evidence_cannot_be_kept_and_comes_back(directory, traffic, durability, fault):
    lines, reason = FAULTS[fault]
    gateway = start(directory, traffic, durability)
    traffic.start(gateway.port)
    traffic.wait_for(200, 100)
    gateway.faults(*lines)
    if reason:
        traffic.wait_for(503, 50)
        wait_until(lambda: gateway.admin("/readyz").status == 503, "not ready")
        assert reason in " ".join(gateway.reasons())
    else:
        wait_until(gateway.has_met_a_fault, "the fault is met")
    gateway.faults()
    traffic.wait_for(200, 100, timeout=10)
    wait_until(gateway.is_ready, "ready again")
    check(traffic, *settle(gateway, traffic))


@pytest.mark.parametrize("fault", FAULTS)
def test_best_effort_serves_on_and_declares(directory, traffic, fault):
    lines, reason = FAULTS[fault]
    gateway = start(directory, traffic, "best_effort")
    traffic.start(gateway.port)
    traffic.wait_for(200, 100)
    gateway.faults(*lines)
    wait_until(gateway.has_met_a_fault, "the fault is met")
    traffic.wait_for(200, 200)
    if reason:
        wait_until(lambda: total(gateway.metrics(), "sealgate_audit_lost_total") > 0, "more comes than the ring holds")
    gateway.faults()
    traffic.wait_for(200, 100)
    samples, records = settle(gateway, traffic)
    assert traffic.statuses[503] == 0
    check(traffic, samples, records, may_lose=True)
    if reason:
        assert declared(records) > 0


@pytest.mark.parametrize("durability", ["strict", "buffered", "best_effort"])
def test_a_ring_that_is_full_is_counted_as_the_load_generator_counts(directory, traffic, durability):
    gateway = start(directory, traffic, durability, ring={"slots": 16})
    gateway.faults("sync wal- 200ms")
    counts = Wrk.run(gateway.port, directory / "wrk", 4, ["/full/"], connections=64).counts
    gateway.faults()
    samples = gateway.metrics()
    gateway.stop()
    gateway.verify().expect(0)
    records = gateway.audited().records
    served = sum(record["kind"] == "completed" and record["response"]["status"] == 200 for record in records)
    lost = int(total(samples, "sealgate_audit_lost_total", reason="ring_full"))
    refused = int(total(samples, "sealgate_audit_refused_total", reason="ring_full"))
    assert declared(records) == lost == total(samples, "sealgate_audit_lost_total")
    assert refused == total(samples, "sealgate_audit_refused_total")
    assert counts == {200: served + lost} | ({503: refused} if refused else {}), f"{served=} {lost=} {refused=}"
    if durability == "best_effort":
        assert lost > 0 and refused == 0
    else:
        assert refused > 0 and lost == 0


def test_a_store_that_hangs_does_not_hold_up_service_and_shows(directory, traffic):
    gateway = start(directory, traffic, "buffered")
    traffic.start(gateway.port)
    traffic.wait_for(200, 100)
    gateway.faults("create .incoming hang")

    def oldest() -> float:
        return total(gateway.metrics(), "sealgate_audit_oldest_unshipped_seconds")

    spooled = total(gateway.metrics(), "sealgate_audit_spool_bytes")
    wait_until(lambda: oldest() > 3, "segments wait for the store")
    traffic.wait_for(200, 100)
    samples = gateway.metrics()
    assert gateway.is_ready()
    assert total(samples, "sealgate_audit_spool_bytes") > spooled
    assert 0 < total(samples, "sealgate_audit_spool_seconds_left") < float("inf")
    gateway.faults()
    traffic.rest()
    wait_until(lambda: oldest() == 0, "all is shipped")
    check(traffic, *settle(gateway, traffic))


def test_a_store_that_hangs_does_not_hold_up_a_stop(directory, traffic):
    gateway = start(directory, traffic, "buffered", segment={"max_age": "1h"})
    traffic.start(gateway.port)
    traffic.wait_for(200, 100)
    gateway.faults("create .incoming hang")
    traffic.rest()
    gateway.stop(timeout=10)
    gateway.faults()
    gateway.config["audit"]["create_log"] = False
    gateway.start()
    gateway.stop()
    gateway.verify().expect(0)
    recorded = {record.get("request_id") for record in gateway.audited().records}
    assert traffic.ids(200) <= recorded, "what waited in the spool was shipped by the next boot"


@pytest.mark.parametrize("durability", ["strict", "buffered", "best_effort"])
def test_what_was_captured_is_durable_queued_or_lost_at_every_scrape(directory, traffic, durability):
    gateway = start(directory, traffic, durability)
    traffic.start(gateway.port, clients=32, pause=0)
    faults = itertools.cycle([[], ["sync wal- 50ms"], [], ["append wal- EIO"], [], ["sync wal- panic"]])
    for scrape in range(SCRAPES):
        if scrape % 10 == 0:
            gateway.faults(*next(faults))
        samples = gateway.metrics()
        assert holds(samples), f"scrape {scrape}: {samples['sealgate_audit_records_total']}"
    gateway.faults()
    traffic.wait_for(200, 100)
    wait_until(gateway.is_ready, "ready again")
    check(traffic, *settle(gateway, traffic), may_lose=durability == "best_effort")
