"""A spool that is full, read-only or deleted under load: refused and counted, and back without a restart."""

import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness.accounts import check, settle
from harness.conditions import wait_until
from harness.gateway import Gateway, route, total
from harness.mounts import Ballast, bound, needs_mounts, small_disk
from harness.traffic import Traffic

# Within so many seconds of free space, requests are served again.
BACK = 5


@pytest.fixture
def served(directory: Path, traffic: Traffic) -> Iterator[Gateway]:
    """Not started yet; short segments, so that every file of the spool is made and removed often."""

    def tune(config: dict) -> None:
        config["audit"] |= {"segment": {"max_age": "500ms"}, "heartbeat_interval": "1s"}
        config["audit"]["spool"]["min_free"] = "0B"
        config["shutdown"]["timeout"] = "5s"

    gateway = Gateway(directory / "gateway", {"main": traffic.upstream}, [route("all")], tune)
    yield gateway
    gateway.kill()


def shipped(gateway: Gateway) -> bool:
    return total(gateway.metrics(), "sealgate_audit_oldest_unshipped_seconds") == 0


def is_refused(gateway: Gateway, traffic: Traffic, *words: str, timeout: float = 15) -> None:
    traffic.wait_for(503, 50, timeout)
    wait_until(lambda: gateway.admin("/readyz").status == 503, "not ready")
    reasons = " ".join(gateway.reasons())
    assert any(word in reasons for word in words), f"{reasons!r} says none of {words}"


def is_back(gateway: Gateway, traffic: Traffic, since: float) -> None:
    traffic.wait_for(200, 1, timeout=BACK + 10)
    took = time.monotonic() - since
    assert took < BACK, f"the first request was served {took:.1f} s after there was room"
    traffic.wait_for(200, 100)
    wait_until(gateway.is_ready, "ready again")


@needs_mounts
@pytest.mark.parametrize("durability", ["strict", "buffered"])
def test_a_full_spool_refuses_and_is_back_soon_after_there_is_room(served, traffic, durability):
    served.config["audit"]["durability"] = durability
    with small_disk(served.spool, 16):
        ballast = Ballast(served.spool)
        served.start()
        traffic.start(served.port)
        for _ in range(3):
            traffic.wait_for(200, 100)
            traffic.wait_for(503, 50, meanwhile=ballast.fill)
            is_refused(served, traffic, "spool_full")
            ballast.free()
            is_back(served, traffic, time.monotonic())
        check(traffic, *settle(served, traffic))


@needs_mounts
def test_best_effort_serves_on_over_a_full_spool_and_declares(served, traffic):
    served.config["audit"] |= {"durability": "best_effort", "ring": {"slots": 64}}
    with small_disk(served.spool, 16):
        ballast = Ballast(served.spool)
        served.start()
        traffic.start(served.port)
        traffic.wait_for(200, 100)

        def loses() -> bool:
            ballast.fill()
            return total(served.metrics(), "sealgate_audit_lost_total") > 50

        wait_until(loses, "records are lost")
        assert traffic.statuses[503] == 0
        ballast.free()
        traffic.wait_for(200, 200)
        check(traffic, *settle(served, traffic), may_lose=True)


@needs_mounts
def test_a_spool_that_is_covered_by_a_read_only_mount_refuses_and_comes_back(served, traffic, directory):
    other = directory / "other"
    other.mkdir()
    served.start()
    traffic.start(served.port)
    traffic.wait_for(200, 100)
    with bound(other, served.spool, "ro"):
        is_refused(served, traffic, "writer_failed", "spool")
    is_back(served, traffic, time.monotonic())
    check(traffic, *settle(served, traffic))


def test_a_spool_that_is_deleted_refuses_and_comes_back_with_its_directory(served, traffic):
    # What waits for the store would be lost with the spool, whoever mends it.
    served.config["audit"]["segment"] = {"max_age": "1h"}
    served.start()
    traffic.start(served.port)
    traffic.wait_for(200, 100)
    shutil.rmtree(served.spool)
    is_refused(served, traffic, "writer_failed", "spool")
    served.spool.mkdir()
    is_back(served, traffic, time.monotonic())
    check(traffic, *settle(served, traffic))


@pytest.mark.parametrize(
    "limit",
    [{"max_bytes": "1MiB"}, pytest.param({"min_free": "6MiB"}, marks=needs_mounts)],
    ids=["max_bytes", "min_free"],
)
def test_a_limit_of_the_spool_refuses_until_the_store_is_back(served, traffic, directory, limit):
    served.config["audit"]["spool"] |= limit
    away = directory / "away"
    with small_disk(served.spool, 8) if "min_free" in limit else nullcontext():
        served.start()
        traffic.start(served.port, pause=0)
        traffic.wait_for(200, 100)
        wait_until(lambda: shipped(served), "all is shipped")
        served.store.rename(away)
        is_refused(served, traffic, "spool_full", timeout=40)
        away.rename(served.store)
        traffic.wait_for(200, 100, timeout=40)
        wait_until(served.is_ready, "ready again")
        check(traffic, *settle(served, traffic))
