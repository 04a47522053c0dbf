"""Every durability and kind of request at once on a small ring and a slow disk: clients, upstream and log agree."""

import json
import random
import threading
from collections import Counter
from dataclasses import dataclass

import pytest

from harness.accounts import declared
from harness.conditions import wait_until
from harness.gateway import FaultyGateway, route, total
from harness.wire import Client, Closed, request_bytes

MODES = ["strict", "buffered", "best_effort"]
CLIENTS = 32
REQUESTS = 100
KINDS = [
    ("/status/200/", None),
    ("/events/", None),
    ("/events/", {"Accept": "text/event-stream"}),
    ("/after/3/", None),
    ("/drop/", None),
    ("/nowhere/", None),
]


@dataclass(frozen=True)
class Answer:
    mode: str
    status: int
    request_id: str
    refused: bool


class Clients:
    """Each asks on a connection of its own; now and then it is gone before its answer comes."""

    def __init__(self, port: int, seed: int):
        self.port, self.seed = port, seed
        self.answers: list[Answer] = []
        # Requests whose answer nobody has seen.
        self.unseen = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, number: int) -> None:
        dice = random.Random(self.seed * CLIENTS + number)
        client = Client(self.port)
        for index in range(REQUESTS):
            mode, (path, fields) = dice.choice(MODES), dice.choice(KINDS)
            # No route takes /nowhere, whatever it is asked for: that is `buffered`, the default.
            mode, path = ("buffered", path) if path == "/nowhere/" else (mode, f"/{mode}{path}")
            try:
                client.send(request_bytes(f"{path}{number}-{index}", fields=fields))
                if dice.random() < 0.05:
                    client.reset()
                    raise Closed
                answer = client.reader.response()
                refused = answer.status == 503 and "reason" in json.loads(answer.body)
                with self._lock:
                    self.answers.append(Answer(mode, answer.status, answer.get("x-request-id"), refused))
                if answer.get("connection") == "close":
                    client.close()
                    client = Client(self.port)
            except (Closed, OSError):
                with self._lock:
                    self.unseen += 1
                client = Client(self.port)
        client.close()


def durable(mode: str) -> dict:
    match = {"path_prefix": f"/{mode}"}
    return route(mode, match=match, rewrite={"strip_prefix": f"/{mode}"}, audit={"durability": mode})


@pytest.mark.parametrize("seed", [1, 2])
def test_what_clients_saw_is_what_the_log_says_to_the_unit(directory, upstream, seed):
    def tune(config: dict) -> None:
        config["audit"] |= {"ring": {"slots": 24}, "admit_timeout": "10ms"}

    upstream.released.set()
    gateway = FaultyGateway(directory / "gateway", {"main": upstream.address}, map(durable, MODES), tune)
    gateway.start()
    try:
        gateway.faults("sync wal- 20ms")
        clients = Clients(gateway.port, seed)
        clients.run()
        gateway.faults()
        wait_until(lambda: total(gateway.metrics(), "sealgate_http_requests_in_flight") == 0, "all have ended")
        gateway.stop()
    finally:
        gateway.kill()
    gateway.verify().expect(0)
    records = gateway.audited().records
    ends = Counter(record["request_id"] for record in records if record["kind"] in ("completed", "aborted"))
    begins = Counter(record["request_id"] for record in records if record["kind"] == "received")
    assert set(ends.values()) == {1} and set(begins.values()) == {1}, "each record once"
    assert begins.keys() <= ends.keys(), "what has begun has ended"

    of = {answer.request_id: answer for answer in clients.answers}
    missing = Counter(
        answer.mode for answer in clients.answers if not answer.refused and answer.request_id not in ends
    )
    assert missing.keys() == {"best_effort"}, "only there may what was served have no record"
    lost = declared(records)
    assert missing["best_effort"] <= lost <= missing["best_effort"] + clients.unseen
    (stop,) = [record for record in records if record.get("event") == "stop"]
    refused = sum(answer.refused for answer in clients.answers)
    assert refused <= stop["counters"]["refused"] <= refused + clients.unseen
    assert (stop["counters"]["lost"], stop["counters"]["queued"]) == (lost, 0)
    assert refused and lost, "the ring was full indeed"

    reached = [of[seen.request_id] for seen in upstream.seen if seen.request_id in of]
    assert {answer.request_id for answer in reached if answer.mode == "strict"} <= begins.keys()
    assert {answer.request_id for answer in reached if answer.mode == "buffered"} <= ends.keys()


def test_strict_waits_for_the_disk_and_buffered_does_not(directory, upstream):
    gateway = FaultyGateway(directory / "gateway", {"main": upstream.address}, map(durable, MODES))
    gateway.start()
    try:
        gateway.faults("sync wal- 1000ms")
        for mode in MODES:
            assert gateway.ask(f"/{mode}/status/200/1").status == 200
        samples = gateway.metrics()
        assert total(samples, "sealgate_audit_strict_wait_seconds_count") == 1
        assert total(samples, "sealgate_audit_strict_wait_seconds_sum") >= 1
        took = {
            mode: total(samples, "sealgate_http_request_duration_seconds_sum", route=mode) for mode in MODES
        }
        assert took["strict"] >= 1 > max(took["buffered"], took["best_effort"]), took
        gateway.faults()
        gateway.stop()
    finally:
        gateway.kill()
    gateway.verify().expect(0)


def test_who_waits_in_strict_is_let_go_when_the_disk_fails(directory, upstream):
    """It holds the room for the record of its end, so that the refusal is on the log as soon as there is one again."""
    gateway = FaultyGateway(directory / "gateway", {"main": upstream.address}, map(durable, MODES))
    gateway.start()
    try:
        gateway.faults("sync wal- EIO")
        answer = gateway.ask("/strict/status/200/1")
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "writer_failed")
        assert not upstream.seen, "it never reached the upstream"
        wait_until(lambda: gateway.admin("/readyz").status == 503, "not ready")
        assert json.loads(gateway.admin("/readyz").body)["reasons"] == ["writer_failed"]
        assert json.loads(gateway.admin("/status").body)["audit"]["writer_error"]
        gateway.faults()
        wait_until(gateway.is_ready, "it has mended itself")
        assert gateway.ask("/strict/status/200/2").status == 200
        gateway.stop()
    finally:
        gateway.kill()
    gateway.verify().expect(0)
    records = gateway.audited().records
    of_it = [record for record in records if record.get("request_id") == answer.get("x-request-id")]
    assert [record["kind"] for record in of_it] == ["received", "completed"], of_it
    assert (of_it[1]["end"], of_it[1]["error"], of_it[1]["response"]["status"]) == ("refused", "writer_failed", 503)
    assert "upstream" not in of_it[1]
    (stop,) = [record for record in records if record.get("event") == "stop"]
    assert (stop["counters"]["refused"], stop["counters"]["lost"]) == (1, 0)
