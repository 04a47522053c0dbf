"""Limits hold, and who ran into one is on the log."""

from contextlib import ExitStack

import pytest

from harness.wire import request_bytes


def test_an_address_with_too_many_connections_is_turned_away_and_recorded(gateway):
    gateway.config["listen"][0]["limits"] = {"connections_per_address": 3}
    gateway.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(3)]
        for client in clients:
            assert client.ask("/within").status == 200
        one_more = stack.enter_context(gateway.connect())
        assert b" 200 " not in one_more.reader.rest()
        port = one_more.source_port
        record = gateway.record_where(
            lambda record: record.get("source", {}).get("port") == port, "the one turned away"
        )
        assert (record["kind"], record["reason"]) == ("rejected", "connection_limit_per_address"), record
        assert clients[0].ask("/still/within").status == 200
    gateway.stop()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_beyond_the_limit_is_refused(gateway, is_chunked):
    gateway.config["listen"][0]["limits"] = {"body_bytes": "1KiB"}
    gateway.start()
    with gateway.connect() as client:
        if is_chunked:
            head = request_bytes("/large/1", "POST", {"Transfer-Encoding": "chunked"})
            client.send(head + b"800\r\n" + b"x" * 2048 + b"\r\n")
        else:
            client.send(request_bytes("/large/1", "POST", {"Content-Length": "2048"}))
        response = client.reader.response()
        client.reader.rest()
    assert response.status == 413
    record = gateway.record(response.get("x-request-id"))
    assert (record["end"], record["response"]["status"]) == ("refused", 413), record
    assert gateway.ask("/small/1", "POST", body=b"x" * 1024).status == 200
    gateway.stop()


def test_a_body_that_stalls_is_ended_and_recorded(gateway, upstream):
    gateway.config["listen"][0]["timeouts"] = {"body_idle": "300ms"}
    gateway.start()
    with gateway.connect() as client:
        client.send(request_bytes("/stalled/1", "POST", {"Content-Length": "100"}) + b"half")
        client.reader.rest()
        port = client.source_port
    record = gateway.record_where(lambda record: record.get("source", {}).get("port") == port, "the stalled upload")
    assert record["kind"] == "completed" and record["end"] == "timeout", record
    gateway.stop()


def test_a_silent_upstream_is_given_up(gateway, upstream):
    gateway.config["upstreams"]["main"]["timeouts"] = {"read_idle": "300ms"}
    gateway.start()
    response = gateway.ask("/held/1")
    assert response.status == 504
    record = gateway.record(response.get("x-request-id"))
    assert (record["end"], record["error"]) == ("timeout", "ReadTimedout"), record
    gateway.stop()


def test_requests_are_spread_over_the_endpoints(gateway, upstream, another_upstream):
    gateway.config["upstreams"]["main"]["endpoints"]["static"].append(another_upstream.address)
    gateway.start()
    addresses = [
        gateway.record(gateway.ask(f"/spread/{number}").get("x-request-id"))["upstream"]["addr"] for number in range(10)
    ]
    assert {addresses.count(upstream.address), addresses.count(another_upstream.address)} == {5}
    gateway.stop()
