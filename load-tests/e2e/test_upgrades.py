"""A connection that switches protocols lives long: the log knows of it from its begin, not only at its end."""

import pytest

from harness.conditions import wait_until
from harness.wire import Client, request_bytes

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def switch(client: Client, target: str) -> str:
    """Asks for the upgrade, and gives the request's id once the protocols were switched."""
    client.send(request_bytes(target, fields=UPGRADE))
    head = client.reader.head()
    assert head.status == 101, head
    return head.get("x-request-id")


def kinds(gateway, request_id: str) -> list[str]:
    return [record["kind"] for record in gateway.written_records() if record.get("request_id") == request_id]


def test_an_upgraded_connection_is_recorded_when_it_begins_and_when_it_ends(gateway):
    gateway.start()
    with gateway.connect() as client:
        request_id = switch(client, "/upgrade/1")
        client.send(b"ping")
        assert client.reader.exactly(4) == b"ping"
        wait_until(lambda: kinds(gateway, request_id) == ["received"], "a record of the begin, while it goes on")
    wait_until(lambda: kinds(gateway, request_id) == ["received", "completed"], "a record of the end")
    gateway.stop()
    (record,) = [record for record in gateway.audited().records if record["kind"] == "completed"]
    assert record["response"]["status"] == 101, record
    assert "open 0" in gateway.verify().expect(0).out


def test_an_upgraded_connection_that_a_crash_cut_is_declared_as_unfinished(gateway):
    gateway.start()
    with gateway.connect() as client:
        request_id = switch(client, "/upgrade/2")
        wait_until(lambda: kinds(gateway, request_id) == ["received"], "a record of the begin")
        wait_until(gateway.owes_nothing, "nothing else is owed")
        gateway.kill()
    gateway.start()
    gateway.stop()
    records = gateway.audited().records
    (received,) = [record for record in records if record.get("request_id") == request_id]
    assert received["kind"] == "received"
    gaps = [(gap["reason"], gap["lost"], gap["from"]) for gap in records if gap["kind"] == "gap"]
    assert gaps == [("unfinished", 1, received["ts"])], gaps
    outcome = gateway.verify().expect(0)
    assert "1 request was received and has no end (unfinished)" in outcome.out and "open 0" in outcome.out, outcome
    gateway.verify("--fail-on", "gap").expect(1)


@pytest.mark.parametrize("target", ["/status/200/3", "/status/404/3"])
def test_an_upgrade_that_the_upstream_declines_is_an_ordinary_request(gateway, target):
    gateway.start()
    response = gateway.ask(target, fields=UPGRADE)
    assert response.status in (200, 404)
    wait_until(lambda: "completed" in kinds(gateway, response.get("x-request-id")), "its end")
    gateway.stop()
    assert "open 0" in gateway.verify().expect(0).out
