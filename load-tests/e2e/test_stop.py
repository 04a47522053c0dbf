"""A clean stop loses nothing: what was asked is answered, recorded, sealed and signed."""

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from harness.conditions import wait_until
from harness.wire import Client

IN_FLIGHT = 64


def test_sigterm_with_64_requests_in_flight_answers_records_and_seals_them_all(gateway, upstream):
    gateway.start()
    targets = [f"/held/h{number}" if number % 2 else f"/after/2000/s{number}" for number in range(IN_FLIGHT)]
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = [pool.submit(gateway.ask, target) for target in targets]
        wait_until(lambda: len(upstream.seen) == IN_FLIGHT, "all requests are in flight at the upstream")
        gateway.process.send_signal(signal.SIGTERM)
        upstream.released.set()
        responses = [answer.result() for answer in answers]
    gateway.wait(0)
    assert Counter(response.status for response in responses) == {200: IN_FLIGHT}
    records = gateway.audited().records
    recorded = Counter(
        record["request_id"] for record in records if record["kind"] == "completed" and record["end"] == "ok"
    )
    assert recorded == Counter(response.get("x-request-id") for response in responses)
    assert records[-1]["event"] == "stop" or records[-2]["event"] == "stop", records[-2:]
    gateway.verify().expect(0)


def test_counters_of_the_stop_record_are_those_of_the_log(gateway):
    gateway.start()
    for number in range(20):
        gateway.ask(f"/orders/{number}")
    gateway.stop()
    records = gateway.audited().records
    (stop,) = [record for record in records if record.get("event") == "stop"]
    requests = sum(record["kind"] in ("completed", "aborted", "received", "rejected") for record in records)
    assert requests == 20
    assert stop["counters"] == {"captured": 20, "durable": 20, "queued": 0, "lost": 0, "refused": 0}


def test_readiness_ends_before_the_listener_does(gateway, upstream):
    """Lameduck: balancers are told first, and requests that still come are served."""
    gateway.config["shutdown"]["lameduck"] = "1s"
    gateway.start()
    gateway.process.send_signal(signal.SIGTERM)
    wait_until(lambda: gateway.admin("/readyz").status == 503, "not ready any more")
    assert gateway.ask("/still/served").status == 200
    gateway.wait(0)
    assert [record["request"]["path"] for record in gateway.audited().records if "request" in record] == [
        "/still/served"
    ]


def test_a_request_that_outlives_the_shutdown_timeout_is_recorded_as_cut(gateway, upstream):
    gateway.config["shutdown"]["timeout"] = "1s"
    gateway.start()
    with Client(gateway.port) as client:
        client.send(b"GET /held/forever HTTP/1.1\r\nHost: api.test\r\n\r\n")
        wait_until(lambda: "forever" in upstream.tags, "the request is at the upstream")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait(0)
    (record,) = [record for record in gateway.audited().records if "request" in record]
    assert (record["kind"], record["end"]) == ("aborted", "shutdown"), record
    # The runtimes are dropped thread by thread: one may still say 502 to its client when the upstream's is gone.
    assert record.get("response", {}).get("status") in (None, 502), record
    gateway.verify().expect(0)


def test_a_log_goes_on_where_it_stopped(gateway):
    for number in range(3):
        gateway.start()
        assert gateway.ask(f"/boot/{number}").status == 200
        gateway.stop()
        gateway.config["audit"]["create_log"] = False
    records = gateway.audited().records
    starts = [record for record in records if record.get("event") == "start"]
    assert [record["unclean"] for record in starts] == [False, False, False]
    assert len({record["boot"] for record in records}) == 3
    assert [record["request"]["path"] for record in records if "request" in record] == ["/boot/0", "/boot/1", "/boot/2"]
    outcome = gateway.verify().expect(0)
    assert "OK: 1 log, 0 findings" in outcome.out, outcome


def test_connections_that_never_ask_do_not_hold_up_a_stop(gateway):
    gateway.start()
    idle = [gateway.connect() for _ in range(8)]
    kept = gateway.connect()
    assert kept.ask("/kept").status == 200
    stopper = threading.Thread(target=gateway.stop)
    stopper.start()
    stopper.join(15)
    assert not stopper.is_alive(), "idle connections keep the gateway from stopping"
    for client in [*idle, kept]:
        client.close()
    gateway.audited()
