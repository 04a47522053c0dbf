"""What a gateway writes is what docs/format.md says, and an attacker cannot change it unseen."""

import json
from collections.abc import Iterator

import pytest

from harness.binaries import sealaudit
from harness.conditions import wait_until
from harness.files import mutable_copy
from harness.flips import changes_not_seen
from harness.gateway import LOG, Gateway, route
from sealformat.forgery import Forger, Records, Signing
from test_forgeries import findings


def short_segments(config: dict) -> None:
    config["audit"] |= {"segment": {"max_age": "1s"}, "heartbeat_interval": "1s"}


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    """A gateway that has lived twice and written several segments, and is stopped."""
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, [route("all")], short_segments)
    for boot in range(2):
        gateway.start()
        for number in range(3):
            gateway.ask(f"/boot/{boot}/{number}")
            wait_until(lambda number=number, boot=boot: sealed(gateway) > 3 * boot + number, "the next segment")
        gateway.stop()
    yield gateway


def sealed(gateway: Gateway) -> int:
    return len(list(gateway.store.rglob("*.ndjson.zst")))


def test_a_stranger_derives_the_same_bytes_from_the_records(gateway):
    report = gateway.audited()
    assert len(report.segments) >= 6
    gateway.verify().expect(0)


def test_the_configuration_that_served_is_kept_and_named_by_its_hash(gateway):
    (kept,) = gateway.store.glob(f"{LOG}/configs/*.yaml")
    starts = [record for record in gateway.audited().records if record.get("event") == "start"]
    assert {record["config"] for record in starts} == {kept.stem}
    requests = [record for record in gateway.audited().records if "request" in record]
    assert {record["config"] for record in requests} == {kept.stem[:8]}


def test_segments_that_reached_the_store_are_reported_on_the_log(gateway):
    """The reader has compared each hash; the last segments of a boot arrive when nothing more is written."""
    by_boot: dict[str, list[int]] = {}
    stored = set()
    for record in gateway.audited().records:
        if record.get("event") == "segment":
            by_boot.setdefault(record["boot"], []).append(record["segment"])
        if record.get("event") == "stored":
            stored.add(record["segment"])
    assert len(by_boot) == 2
    assert {segments[0] for segments in by_boot.values()} <= stored


def test_counters_of_every_heartbeat_hold(gateway):
    counted: dict[str, int] = {}
    heartbeats = 0
    for record in gateway.audited().records:
        if record.get("event") in ("heartbeat", "stop"):
            counters = record["counters"]
            assert counters["captured"] == counters["durable"] + counters["queued"] + counters["lost"], record
            assert counters["durable"] == counted.get(record["boot"], 0), record
            heartbeats += 1
        elif record["kind"] not in ("lifecycle", "gap"):
            counted[record["boot"]] = counted.get(record["boot"], 0) + 1
    assert heartbeats >= 2


def test_files_of_a_store_are_read_only(gateway):
    modes = {path.stat().st_mode & 0o777 for path in gateway.store.rglob("*") if path.is_file()}
    assert modes == {0o444}


@pytest.mark.parametrize("signing", Signing, ids=lambda signing: signing.value)
def test_an_edited_request_is_found_and_its_segment_named(gateway, directory, signing):
    store = mutable_copy(gateway.store, directory / "store")
    edited: list[int] = []

    def edit(segments: Records) -> None:
        for number, segment in enumerate(segments):
            for record in segment:
                if record.get("request", {}).get("path") == "/boot/0/1":
                    record["response"]["status"] = 403
                    edited.append(number)

    Forger(store, LOG).forge(edit, signing)
    outcome = sealaudit("verify", store, "--keys", gateway.keys).expect(1)
    assert any(edited[0] in segments for _, log, segments in findings(outcome) if log == LOG), outcome


def test_every_single_byte_of_a_small_log_is_protected(directory, module_upstream):
    gateway = Gateway(directory / "gateway", {"main": module_upstream.address}, [route("all")]).start()
    gateway.ask("/only/1")
    gateway.stop()
    unseen = changes_not_seen(gateway.store, gateway.keys, directory / "copies", masks=(0xFF,))
    assert not unseen, f"{len(unseen)} changes were not reported:\n" + "\n".join(unseen[:20])


def test_records_of_a_busy_second_fill_several_frames(directory, module_upstream):
    """Records of a few kilobytes each, some megabytes of them: frames of about a mebibyte."""
    gateway = Gateway(directory / "gateway", {"main": module_upstream.address}, [route("all")]).start()
    with gateway.connect() as client:
        for number in range(800):
            assert client.ask(f"/{'x' * 5000}/{number}").status == 200
    gateway.stop()
    frames = [frame for segment in gateway.audited().segments for frame in segment.frames]
    assert len(frames) >= 3
    assert all(frame.raw_length <= 1 << 21 for frame in frames), [frame.raw_length for frame in frames]
    lines = [json.loads(line) for frame in frames for line in frame.lines]
    assert sum("request" in record for record in lines) == 800
    gateway.verify().expect(0)
