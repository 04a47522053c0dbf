"""The start-up audit of the real binary: its exit codes, its messages, and what the log then declares."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.conditions import wait_until
from harness.files import make_mutable
from harness.gateway import Gateway
from sealformat.note import Signer
from sealformat.spool import group_ends, read_wal


def refuses(gateway: Gateway, code: int, *words: str) -> None:
    before = len(gateway.log_text())
    gateway.launch()
    gateway.wait(code)
    text = gateway.log_text()[before:]
    for word in words:
        assert word in text, f"{word!r} is expected in:\n{text}"


def gaps(records: list[dict]) -> list[tuple[str, int | None]]:
    return [(record["reason"], record["lost"]) for record in records if record["kind"] == "gap"]


def unclean(records: list[dict]) -> list[bool]:
    return [record["unclean"] for record in records if record.get("event") == "start"]


@pytest.fixture
def killed(gateway: Gateway) -> Gateway:
    """Killed when nothing was owed: one segment in the store, the next one open with several groups."""
    gateway.start()
    gateway.stop()
    gateway.start()
    for number in range(6):
        request_id = gateway.ask(f"/orders/{number}").get("x-request-id")
        gateway.record(request_id)
    wait_until(gateway.owes_nothing, "nothing is owed")
    gateway.kill()
    return gateway


def wal(gateway: Gateway) -> Path:
    (path,) = gateway.spool.glob("wal-*")
    return path


def restarted(gateway: Gateway) -> list[dict]:
    gateway.start()
    gateway.stop()
    records = gateway.audited().records
    gateway.verify().expect(0)
    return records


def test_a_kill_when_nothing_is_owed_declares_nothing(killed):
    records = restarted(killed)
    assert (gaps(records), unclean(records)) == ([], [False, False, True])


def test_a_watermark_that_cannot_be_read_declares_since_the_newest_segment(killed):
    (killed.spool / "watermark").write_bytes(b"SGMARK01")
    records = restarted(killed)
    assert gaps(records) == [("crash", None)]
    (gap,) = [record for record in records if record["kind"] == "gap"]
    begun = [record["ts"] for record in records if record.get("event") == "segment"]
    assert gap["from"] in begun


def test_a_torn_group_is_told_and_what_it_held_is_declared(killed):
    wal(killed).write_bytes(wal(killed).read_bytes()[:-3])
    whole = read_wal(wal(killed).read_bytes())
    records = restarted(killed)
    assert gaps(records) == [("crash", None)]
    assert "ends in a torn group" in killed.log_text()
    assert len(whole) < 9 and json.loads(whole[-1])["seq"] in {record["seq"] for record in records}


def test_damage_that_no_crash_leaves_is_told_as_an_error_kept_aside_and_declared(killed):
    path = wal(killed)
    data = bytearray(path.read_bytes())
    ends = group_ends(bytes(data))
    assert len(ends) > 4
    data[ends[1] + 100] ^= 1
    path.write_bytes(data)
    damaged = bytes(data)
    records = restarted(killed)
    assert gaps(records) == [("crash", None)]
    (gap,) = [record for record in records if record["kind"] == "gap"]
    lost = [json.loads(line) for line in damaged[ends[2] :].split(b"\n") if line.startswith(b'{"seq"')]
    assert all(gap["from"] <= record["ts"] <= gap["to"] for record in lost)
    assert (killed.spool / f"damaged-{path.name}").read_bytes() == damaged
    assert "the write-ahead log is damaged" in killed.log_text() and "ERROR" in killed.log_text()


def test_a_write_ahead_log_that_was_taken_away_is_told_and_declared(killed):
    wal(killed).unlink()
    records = restarted(killed)
    assert gaps(records) == [("crash", None)]
    assert "records that were durable are gone from the spool" in killed.log_text()


@pytest.fixture
def pending(gateway: Gateway) -> Iterator[Gateway]:
    """Stopped, with sealed segments that the store does not have yet."""
    gateway.config["audit"]["segment"] = {"max_age": "100ms"}
    gateway.config["shutdown"]["timeout"] = "1s"
    gateway.start()
    gateway.stop()
    away = gateway.directory / "store-away"
    make_mutable(gateway.store)
    gateway.store.rename(away)
    gateway.start()
    for number in range(3):
        gateway.ask(f"/orders/{number}")
        wait_until(
            lambda number=number: len(list(gateway.spool.glob("*.ndjson.zst"))) > number, f"segment {number} is sealed"
        )
    gateway.kill()
    away.rename(gateway.store)
    yield gateway


def sealed(gateway: Gateway) -> list[Path]:
    return sorted(gateway.spool.glob("*.ndjson.zst"))


def test_a_sealed_segment_that_is_missing_is_named(pending):
    aside = pending.directory / "aside"
    first, second, *_ = sealed(pending)
    second.rename(aside)
    refuses(pending, 70, f"not segment {int(second.name[:10])} before it", "move the whole spool aside")
    aside.rename(second)
    last = json.loads((pending.spool / "state").read_text())["open"]["segment"]
    for path in [*sealed(pending), *pending.spool.glob("wal-*")]:
        if int(path.name.removeprefix("wal-")[:10]) >= last:
            path.rename(pending.directory / path.name)
    refuses(pending, 70, f"has sealed segment {last}", "holds nothing after record")
    assert first.exists()


def test_a_sealed_segment_that_is_damaged_is_named_and_the_log_goes_on_without_the_spool(pending):
    path = sealed(pending)[0]
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    refuses(pending, 70, path.name, "is damaged", "move the whole spool aside")
    pending.spool.rename(pending.directory / "spool-aside")
    assert gaps(restarted(pending)) == [("spool_lost", None)]


def test_a_state_that_is_garbage_missing_or_another_logs(killed):
    state = killed.spool / "state"
    good = state.read_text()
    state.write_text("{")
    refuses(killed, 70, "is not a spool's state")
    state.unlink()
    refuses(killed, 70, "but no `state`")
    state.write_text(good.replace("audit.test/gw-1", "audit.test/gw-2", 1))
    refuses(killed, 78, "is of the log audit.test/gw-2, not of audit.test/gw-1")
    state.write_text(good)
    assert gaps(restarted(killed)) == []


def test_a_write_ahead_log_of_another_segment(killed):
    path = wal(killed)
    path.rename(path.with_name("wal-0000000007"))
    refuses(killed, 70, "wal-0000000007", "the segment to go on with is 1, not 7")


def test_a_store_that_is_not_mounted_is_named_and_served_again_when_it_is(killed):
    away = killed.directory / "store-away"
    make_mutable(killed.store)
    killed.store.rename(away)
    killed.store.mkdir()
    refuses(killed, 78, "has committed 1 of its segments", "mount or configure the store")
    killed.store.rmdir()
    away.rename(killed.store)
    assert gaps(restarted(killed)) == []


def test_an_old_spool_and_an_old_store_are_told_apart(gateway):
    gateway.start()
    gateway.stop()
    make_mutable(gateway.directory)
    old_spool, old_store = gateway.directory / "old-spool", gateway.directory / "old-store"
    shutil.copytree(gateway.spool, old_spool)
    shutil.copytree(gateway.store, old_store)
    gateway.start()
    gateway.ask("/more")
    gateway.stop()
    make_mutable(gateway.directory)
    new_spool = gateway.directory / "new-spool"
    gateway.spool.rename(new_spool)
    old_spool.rename(gateway.spool)
    refuses(gateway, 70, "the store's newest checkpoint is 1", "this spool ends with segment 0", "root")
    shutil.rmtree(gateway.spool)
    new_spool.rename(gateway.spool)
    shutil.rmtree(gateway.store)
    old_store.rename(gateway.store)
    refuses(gateway, 70, "this spool committed segment 1", "is 0")


def test_a_key_that_has_not_written_the_spool(killed):
    key = killed.directory / "gateway.key"
    key.write_text(f"{Signer.generate(killed.signer.name)}\n")
    refuses(killed, 70, "restore the key")


def test_a_stream_that_a_kill_cut_is_counted_as_unfinished(gateway):
    gateway.start()
    with gateway.connect() as client:
        client.send(b"GET /events/cut HTTP/1.1\r\nHost: api.test\r\nAccept: text/event-stream\r\n\r\n")
        gateway.record_where(lambda record: record["kind"] == "received", "a received")
        wait_until(gateway.owes_nothing, "nothing else is owed")
        gateway.kill()
    records = restarted(gateway)
    assert gaps(records) == [("unfinished", 1)]
    # Once: the boot after says nothing of it.
    assert [reason for reason, _ in gaps(restarted(gateway))].count("unfinished") == 1
