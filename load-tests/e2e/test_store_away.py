"""The store is away: its file system is full, or not mounted. The spool takes it, and shipping resumes in order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.accounts import check, settle
from harness.conditions import wait_until
from harness.files import make_mutable
from harness.gateway import Gateway, Samples, route, total
from harness.mounts import Ballast, bound, needs_mounts, small_disk
from harness.traffic import Traffic

pytestmark = needs_mounts


@pytest.fixture
def served(directory: Path, traffic: Traffic) -> Iterator[Gateway]:
    def tune(config: dict) -> None:
        config["audit"] |= {"segment": {"max_age": "300ms"}, "heartbeat_interval": "1s"}

    gateway = Gateway(directory / "gateway", {"main": traffic.upstream}, [route("all")], tune)
    yield gateway
    gateway.kill()


def oldest(samples: Samples) -> float:
    return total(samples, "sealgate_audit_oldest_unshipped_seconds")


def failures(gateway: Gateway) -> float:
    return total(gateway.metrics(), "sealgate_audit_upload_failures_total", kind="unavailable")


def everything_is_shipped(gateway: Gateway) -> bool:
    samples = gateway.metrics()
    captured, uploaded = (
        total(samples, "sealgate_audit_records_total", stage=stage) for stage in ("captured", "uploaded")
    )
    return captured == uploaded > 0 and oldest(samples) == 0


def waits_and_serves(gateway: Gateway, traffic: Traffic, failed: float) -> None:
    """The outage shows in the metrics, and nowhere else."""
    wait_until(lambda: failures(gateway) > failed, "the store cannot be written")
    before = gateway.metrics()
    traffic.wait_for(200, 200)
    wait_until(lambda: oldest(gateway.metrics()) > oldest(before) + 2, "what waits grows older")
    samples = gateway.metrics()
    assert total(samples, "sealgate_audit_spool_bytes") > total(before, "sealgate_audit_spool_bytes")
    assert 0 < total(samples, "sealgate_audit_spool_seconds_left") < float("inf")
    assert gateway.is_ready() and set(traffic.statuses) == {200}


def resumes(gateway: Gateway, traffic: Traffic) -> None:
    wait_until(lambda: oldest(gateway.metrics()) < 2, "all that waited is shipped", timeout=40)
    check(traffic, *settle(gateway, traffic))


def test_a_store_without_room_is_waited_for(served, traffic):
    with small_disk(served.store, 64):
        ballast = Ballast(served.store)
        served.start()
        traffic.start(served.port)
        traffic.wait_for(200, 100)
        failed = failures(served)
        wait_until(lambda: ballast.fill() or failures(served) > failed, "the store is full")
        waits_and_serves(served, traffic, failed)
        ballast.free()
        resumes(served, traffic)


def test_a_store_that_is_not_mounted_any_more_is_waited_for_and_nothing_is_put_in_its_place(served, traffic, directory):
    disk = directory / "disk"
    disk.mkdir()
    # Heartbeats alone would be sealed and shipped as well.
    served.config["audit"]["heartbeat_interval"] = "5m"
    with bound(disk, served.store):
        served.start()
        traffic.start(served.port)
        traffic.wait_for(200, 100)
        # Between two puts of one commit, a mount that vanishes is another matter.
        traffic.rest()
        wait_until(lambda: everything_is_shipped(served), "nothing is under way to the store")
        failed = failures(served)
    traffic.go_on()
    waits_and_serves(served, traffic, failed)
    assert not list(served.store.iterdir()), "below the mount lies nothing"
    with bound(disk, served.store):
        resumes(served, traffic)
        make_mutable(disk)
