"""kill -9 at any moment: what was on disk is sealed, what may be lost is declared, and the log verifies."""

import json
import shutil
import threading
from collections.abc import Iterator

import pytest

from harness.conditions import wait_until
from harness.gateway import Gateway
from harness.wire import Closed
from sealformat.spool import read_wal

CLIENTS = 8


class Askers:
    """Clients that ask on and on, and keep the ids of what was answered, in order, until the gateway is gone."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway
        self.answered: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        try:
            with self.gateway.connect() as client:
                while True:
                    self.answered.append(client.ask("/load/1").get("x-request-id"))
        except (Closed, OSError):
            return

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def busy(gateway) -> Iterator[Gateway]:
    gateway.config["audit"]["segment"] = {"max_age": "1s"}
    gateway.start()
    yield gateway


def wal_lines(gateway: Gateway) -> list[bytes]:
    return [line for path in sorted(gateway.spool.glob("wal-*")) for line in read_wal(path.read_bytes())]


@pytest.mark.parametrize("answers", [5, 300, 1500])
def test_after_a_kill_whole_groups_are_sealed_and_the_start_says_unclean(busy, answers):
    askers = Askers(busy)
    wait_until(lambda: len(askers.answered) >= answers, f"{answers} answers", timeout=60)
    busy.kill()
    askers.join()
    left = wal_lines(busy)
    busy.config["audit"]["create_log"] = False
    busy.start()
    assert busy.ask("/after/0/crash").status == 200
    busy.stop()
    report = busy.audited()
    assert set(left) <= set(report.lines), "every line of a whole WAL group is on the log, byte for byte"
    starts = [record for record in report.records if record.get("event") == "start"]
    assert [record["unclean"] for record in starts] == [False, True]
    second = starts[1]["boot"]
    before = [record["seq"] for record in report.records if record["boot"] != second]
    assert starts[1]["last_durable_seq"] == before[-1]
    gaps = [record for record in report.records if record["kind"] == "gap"]
    assert [(record["lost"], record["reason"], record["boot"]) for record in gaps] == [(None, "crash", second)]
    recorded = {record.get("request_id") for record in report.records}
    lost = [request_id for request_id in askers.answered if request_id not in recorded]
    assert not set(askers.answered[: -CLIENTS * 50]) & set(lost), (
        "only what came within the last sync interval may be lost"
    )
    outcome = busy.verify().expect(0)
    assert "gap" in outcome.out, outcome


def test_a_wal_cut_within_a_group_is_recovered_up_to_it(gateway):
    gateway.start()
    askers = Askers(gateway)
    wait_until(lambda: len(askers.answered) >= 100, "some answers")
    gateway.kill()
    askers.join()
    (wal,) = gateway.spool.glob("wal-*")
    wal.write_bytes(wal.read_bytes()[:-3])
    whole = read_wal(wal.read_bytes())
    gateway.start()
    gateway.stop()
    lines = gateway.audited().lines
    assert lines[: len(whole)] == whole, "the groups before are on the log as they were"
    assert json.loads(lines[len(whole)])["event"] == "segment", "and nothing of the one that was cut"
    gateway.verify().expect(0)


def test_a_gateway_that_lost_its_spool_goes_on_from_the_store_and_says_so(gateway):
    gateway.start()
    gateway.ask("/before")
    gateway.stop()
    shutil.rmtree(gateway.spool)
    gateway.start()
    gateway.ask("/after/0/loss")
    gateway.stop()
    records = gateway.audited().records
    start = max(place for place, record in enumerate(records) if record.get("event") == "start")
    following = records[start + 1]
    assert (following["kind"], following["reason"], following["lost"]) == ("gap", "spool_lost", None), following
    gateway.verify().expect(0)
