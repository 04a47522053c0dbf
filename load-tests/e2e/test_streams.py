"""What may live long is on the log from its begin, in every durability, and leaves half of the slots to the others."""

import json
from collections.abc import Callable, Iterator

import pytest

from harness.conditions import wait_until
from harness.gateway import Gateway, route, total
from harness.wire import Client, request_bytes

MODES = ["strict", "buffered", "best_effort"]
SLOTS = 16
ACCEPT = {"Accept": "text/event-stream"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
def start(directory, upstream) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def begin(of_all: str, **audit) -> Gateway:
        gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all", timeout="none")])
        gateway.config["audit"] |= {"durability": of_all} | audit
        started.append(gateway)
        return gateway.start()

    yield begin
    for gateway in started:
        gateway.kill()


def kinds(gateway: Gateway, request_id: str) -> list[str]:
    return [record["kind"] for record in gateway.written_records() if record.get("request_id") == request_id]


def slots_in_use(gateway: Gateway) -> int:
    return json.loads(gateway.admin("/status").body)["audit"]["ring_slots_in_use"]


class Stream:
    """One that was asked for, up to the head of its answer."""

    def __init__(self, gateway: Gateway, target: str, fields: dict[str, str] | None = None):
        self.client = Client(gateway.port)
        self.client.send(request_bytes(target, fields=fields))
        self.head = self.client.reader.head()
        self.request_id = self.head.get("x-request-id")


@pytest.mark.parametrize("of_all", MODES)
@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/events/announced", ACCEPT),
        ("/events/announced-among-others", {"Accept": "application/json, Text/Event-Stream;q=0.9"}),
        ("/events/unannounced", None),
        ("/upgrade/1", UPGRADE),
        ("/held/grpc", {"Content-Type": "application/grpc+proto"}),
    ],
)
def test_a_stream_is_on_the_log_while_it_lives(start, upstream, of_all, target, fields):
    gateway = start(of_all)
    with Client(gateway.port) as client:
        client.send(request_bytes(target, fields=fields))
        wait_until(lambda: upstream.seen, "it is at the upstream")
        request_id = upstream.one(target).request_id
        wait_until(lambda: kinds(gateway, request_id) == ["received"], "a record of its begin, while it goes on")
        upstream.released.set()
        assert client.reader.head().status in (200, 101)
    wait_until(lambda: kinds(gateway, request_id)[1:] == ["completed"], "a record of its end")
    waits = total(gateway.metrics(), "sealgate_audit_strict_wait_seconds_count")
    assert waits == (1 if of_all == "strict" else 0)
    gateway.stop()
    assert "open 0" in gateway.verify().expect(0).out


@pytest.mark.parametrize("of_all", MODES)
@pytest.mark.parametrize("fields", [ACCEPT, None], ids=["announced", "unannounced"])
def test_streams_hold_half_of_the_slots_at_most(start, upstream, of_all, fields):
    gateway = start(of_all, ring={"slots": SLOTS}, admit_timeout="20ms")
    streams = [Stream(gateway, f"/events/{number}", fields) for number in range(SLOTS // 2)]
    assert {stream.head.status for stream in streams} == {200}
    for stream in streams:
        wait_until(lambda stream=stream: kinds(gateway, stream.request_id) == ["received"], "each has begun")
    wait_until(lambda: slots_in_use(gateway) == SLOTS // 2, "the slots of what is written are free")
    one_more = Stream(gateway, "/events/one-more", fields)
    assert gateway.ask("/status/200/ordinary").status == 200, "the others still have room"
    if of_all == "best_effort":
        assert one_more.head.status == 200, "it is served, and its end will be recorded"
        assert kinds(gateway, one_more.request_id) == []
    else:
        assert (one_more.head.status, one_more.head.get("retry-after")) == (503, "1")
        body = json.loads(one_more.client.reader.with_body(one_more.head, may_last_to_close=False).body)
        assert body["reason"] == "ring_full"
        assert total(gateway.metrics(), "sealgate_audit_refused_total") == 1
        record = gateway.record_where(
            lambda record: record.get("request_id") == one_more.request_id and record["kind"] == "completed",
            "the record of the refused stream",
        )
        assert (record["end"], record["error"], record["response"]["status"]) == ("refused", "ring_full", 503)
        # Announced, it never went upstream; otherwise the upstream has seen it, and the record says so.
        assert ("upstream" in record) == (fields is None), record
    upstream.released.set()
    for stream in streams:
        assert stream.client.reader.with_body(stream.head, may_last_to_close=False).body.endswith(b"data: 2\n\n")
        stream.client.close()
    for stream in streams:
        wait_until(lambda stream=stream: kinds(gateway, stream.request_id)[1:] == ["completed"], "each has ended")
    again = Stream(gateway, "/events/again", fields)
    assert again.head.status == 200, "there is room for streams again"
    again.client.close()
    one_more.client.close()
    gateway.stop()
    report = gateway.audited()
    assert not [record for record in report.records if record["kind"] == "gap"], "nothing was lost"
    assert "open 0" in gateway.verify().expect(0).out


def test_strict_streams_that_were_not_announced_count_as_streams(start, upstream):
    """They have `received` already: what they join is the number of those that live long."""
    gateway = start("strict", ring={"slots": SLOTS}, admit_timeout="20ms")
    streams = [Stream(gateway, f"/events/{number}") for number in range(SLOTS // 2)]
    wait_until(lambda: slots_in_use(gateway) == SLOTS // 2, "each holds the slot of its end, and no other")
    refused = Stream(gateway, "/events/refused")
    assert refused.head.status == 503
    wait_until(lambda: kinds(gateway, refused.request_id) == ["received", "completed"], "both records")
    upstream.released.set()
    for stream in [*streams, refused]:
        stream.client.close()
    gateway.stop()
    gateway.verify().expect(0)
