"""What each durability promises: before the upstream sees a request, and where there is no room for its record."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from harness.binaries import sealgate
from harness.conditions import wait_until
from harness.gateway import Gateway, route, total
from harness.upstream import Seen
from harness.wire import Client, Message, request_bytes
from sealformat.spool import spooled_lines

MODES = ["strict", "buffered", "best_effort"]
SLOTS = 16
PROBLEM = "application/problem+json"


@pytest.fixture
def start(directory, upstream) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with a route for each durability: `/strict`, `/buffered`, `/best_effort`, and one without."""
    started: list[Gateway] = []

    def begin(of_all: str | None = None, **audit) -> Gateway:
        routes = [durable(mode) for mode in MODES] + [durable("held", None), durable("plain", None)]
        gateway = Gateway(directory / f"gateway-{len(started)}", {"main": upstream.address}, routes)
        gateway.config["audit"] |= audit | ({"durability": of_all} if of_all else {})
        started.append(gateway)
        return gateway.start()

    yield begin
    for gateway in started:
        gateway.kill()


def durable(name: str, mode: str | None = "as its name") -> dict:
    audit = {"durability": name if mode == "as its name" else mode} if mode else {}
    return route(name, match={"path_prefix": f"/{name}"}, audit=audit)


def kinds(gateway: Gateway, request_id: str) -> list[str]:
    return [record["kind"] for record in gateway.written_records() if record.get("request_id") == request_id]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Holders:
    """Requests that wait at the upstream and hold every slot of a small ring."""

    def __init__(self, gateway: Gateway, upstream, count: int = SLOTS):
        self.upstream = upstream
        self.clients = [Client(gateway.port) for _ in range(count)]
        for number, client in enumerate(self.clients):
            client.send(request_bytes(f"/held/h{number}"))
        wait_until(lambda: len(upstream.seen) >= count, "every holder is at the upstream")

    def release(self) -> list[Message]:
        self.upstream.released.set()
        answers = [client.reader.response() for client in self.clients]
        for client in self.clients:
            client.close()
        return answers


def test_strict_has_a_synced_received_record_before_the_upstream_sees_the_request(start, upstream):
    gateway = start()
    found: dict[str, list[str]] = {}

    def look(seen: Seen) -> None:
        lines = [json.loads(line) for line in spooled_lines(gateway.spool)]
        of_it = [line["kind"] for line in lines if line.get("request_id") == seen.request_id]
        found[seen.message.get("x-tag")] = of_it

    upstream.on_request = look
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(gateway.ask, f"/{mode}/{number}", fields={"X-Tag": f"{mode}-{number}"})
            for number in range(40)
            for mode in ("strict", "buffered")
        ]
        assert {answer.result().status for answer in asked} == {200}
    assert {tag: kinds for tag, kinds in found.items() if tag.startswith("strict")} == {
        f"strict-{number}": ["received"] for number in range(40)
    }
    assert {tuple(kinds) for tag, kinds in found.items() if tag.startswith("buffered")} == {()}
    waits = total(gateway.metrics(), "sealgate_audit_strict_wait_seconds_count")
    assert waits == 40, "each strict request waited, and no other"
    assert total(gateway.metrics(), "sealgate_audit_strict_wait_seconds_sum") > 0
    gateway.stop()
    of_strict = Counter(
        record["kind"] for record in gateway.audited().records if record.get("route") == "strict"
    )
    assert of_strict == {"received": 40, "completed": 40}
    assert "open 0" in gateway.verify().expect(0).out


@pytest.mark.parametrize("of_all", [None, *MODES])
def test_the_stricter_of_what_is_written_holds_and_explain_says_so(start, of_all):
    """A `received` record is what shows that a request was served in `strict`."""
    gateway = start(of_all)
    explained = {}
    for name in [*MODES, "plain"]:
        outcome = sealgate(
            "explain", "-c", gateway.config_file, "--format", "json", "GET", f"http://api.test/{name}"
        ).expect(0)
        explained[name] = (json.loads(outcome.out)["durability"], json.loads(outcome.out)["durability_from"])
    default = (of_all, "audit.durability") if of_all else ("buffered", "default")
    strength = MODES[::-1].index
    for index, name in enumerate(MODES):
        own = (name, f"routes[{index}].audit.durability")
        is_stricter = of_all is None or strength(name) > strength(of_all)
        assert explained[name] == (own if is_stricter else default), name
    assert explained["plain"] == default
    served = json.loads(gateway.admin("/status").body)["durability"]
    assert served["default"] == default[0]
    assert {name: served["routes"][name] for name in explained} == {name: mode for name, (mode, _) in explained.items()}
    ids = {name: gateway.ask(f"/{name}/1").get("x-request-id") for name in explained}
    gateway.stop()
    records = gateway.audited().records
    for name, (mode, _) in explained.items():
        of_it = [record["kind"] for record in records if record.get("request_id") == ids[name]]
        assert of_it == (["received", "completed"] if mode == "strict" else ["completed"]), (name, mode)
    warned = sealgate("validate", "--no-environment", "-c", gateway.config_file).expect(0).err
    weaker = [name for name in MODES if of_all and strength(name) < strength(of_all)]
    assert len(warned.splitlines()) == len(weaker), warned
    assert all("warning: no effect of `durability`" in line for line in warned.splitlines()), warned


def refusal(answer: Message, reason: str) -> None:
    """RFC 9457 and RFC 9110, section 10.2.3."""
    assert (answer.status, answer.get("content-type")) == (503, PROBLEM), answer
    assert int(answer.get("retry-after")) >= 1
    body = json.loads(answer.body)
    assert (body["type"], body["title"], body["status"]) == ("about:blank", "Service Unavailable", 503)
    assert (body["reason"], body["request_id"]) == (reason, answer.get("x-request-id"))
    assert body["detail"]


def test_without_room_strict_and_buffered_refuse_and_best_effort_declares(start, upstream):
    gateway = start(ring={"slots": SLOTS}, admit_timeout="20ms")
    holders = Holders(gateway, upstream)
    refused = [gateway.ask(target) for target in ("/strict/1", "/buffered/1", "/buffered/2", "/nowhere")]
    for answer in refused:
        refusal(answer, "ring_full")
    assert len(upstream.seen) == SLOTS, "what is refused never reaches the upstream"
    served = [gateway.ask(f"/best_effort/{number}") for number in range(5)]
    assert {answer.status for answer in served} == {200}
    assert gateway.admin("/readyz").status == 200, "a ring that is full is no reason to take the gateway out"
    # A client has its answer before the request's end is recorded, or declared.
    wait_until(lambda: lost(gateway, "ring_full") == 5, "each loss is counted")
    assert total(gateway.metrics(), "sealgate_audit_refused_total", reason="ring_full") == 4
    assert {answer.status for answer in holders.release()} == {200}
    gateway.stop()
    report = gateway.audited()
    gaps = [record for record in report.records if record["kind"] == "gap"]
    assert sum(gap["lost"] for gap in gaps) == 5 and {gap["reason"] for gap in gaps} == {"ring_full"}, gaps
    ids = {record.get("request_id") for record in report.records}
    assert not ids & {answer.get("x-request-id") for answer in [*refused, *served]}
    (stop,) = [record for record in report.records if record.get("event") == "stop"]
    assert (stop["counters"]["lost"], stop["counters"]["refused"]) == (5, 4)
    assert stop["counters"]["captured"] == SLOTS + 5
    assert "declared lost 5" in gateway.verify().expect(0).out


def test_the_gap_of_a_loss_reaches_from_when_the_first_was_received(start, upstream):
    gateway = start(ring={"slots": SLOTS})
    holders = Holders(gateway, upstream)
    seen: list[str] = []
    upstream.on_request = lambda request: seen.append(request.request_id)
    answers = [gateway.ask(f"/best_effort/after/{milliseconds}/x") for milliseconds in (1, 30)]
    assert {answer.status for answer in answers} == {200}
    holders.release()
    gateway.stop()
    gaps = [record for record in gateway.audited().records if record["kind"] == "gap"]
    # A request's id is a UUIDv7 of the moment when it was received.
    received = [int(request_id.replace("-", "")[:12], 16) / 1000 for request_id in seen]
    assert len(received) == 2
    for when in received:
        assert any(moment(gap["from"]) - 0.001 <= when <= moment(gap["to"]) for gap in gaps), (when, gaps)


def test_what_was_refused_is_not_lost(start, upstream):
    gateway = start(ring={"slots": SLOTS}, admit_timeout="10ms")
    holders = Holders(gateway, upstream)
    refusal(gateway.ask("/buffered/1"), "ring_full")
    holders.release()
    assert gateway.ask("/buffered/2").status == 200, "there is room again"
    gateway.stop()
    report = gateway.audited()
    assert not [record for record in report.records if record["kind"] == "gap"], "nothing that was served was lost"
    gateway.verify().expect(0)


def test_a_request_that_waits_for_room_is_served_once_there_is_some(start, upstream):
    gateway = start(ring={"slots": SLOTS}, admit_timeout="10s")
    holders = Holders(gateway, upstream)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(gateway.ask, f"/{mode}/1") for mode in ("strict", "buffered")]
        assert not any(answer.done() for answer in waiting)
        holders.release()
        assert [answer.result().status for answer in waiting] == [200, 200]
    assert total(gateway.metrics(), "sealgate_audit_refused_total") == 0
    gateway.stop()
    gateway.verify().expect(0)


def test_a_stop_refuses_who_still_waits_for_room_and_loses_nothing(start, upstream):
    gateway = start(ring={"slots": SLOTS}, admit_timeout="1h")
    gateway.kill()
    gateway.config["shutdown"]["timeout"] = "1s"
    gateway.start()
    holders = Holders(gateway, upstream)
    waiting = Client(gateway.port)
    waiting.send(request_bytes("/buffered/waits"))
    wait_until(lambda: total(gateway.metrics(), "sealgate_http_requests_in_flight") == SLOTS + 1, "it waits")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait(0)
    assert waiting.reader.rest() == b"", "it was not served"
    for client in [waiting, *holders.clients]:
        client.close()
    report = gateway.audited()
    ended = [record["kind"] for record in report.records if "request" in record]
    (stop,) = [record for record in report.records if record.get("event") == "stop"]
    assert stop["counters"]["lost"] == 0
    # Those that held a slot have their records. The one that waited has one where a slot was given back in time.
    assert len(ended) + stop["counters"]["refused"] == SLOTS + 1, (Counter(ended), stop)
    gateway.verify().expect(0)


@pytest.mark.parametrize("of_all", MODES)
def test_readiness_says_why_and_only_where_something_is_refused(directory, upstream, of_all):
    """A spool that must leave more room than its disk has takes no record from the beginning."""
    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")])
    gateway.config["audit"] |= {"durability": of_all, "admit_timeout": "1ms"}
    gateway.config["audit"]["spool"]["min_free"] = "1024TiB"
    gateway.launch()
    try:
        wait_until(lambda: answers(gateway), "the admin listener answers")
        wait_until(lambda: refusing(gateway) == "spool_full", "/status says it in any case")
        refuses = of_all != "best_effort"
        ready = json.loads(gateway.admin("/readyz").body)
        assert ready == {"ready": not refuses, "reasons": ["spool_full"] if refuses else []}
        status = json.loads(gateway.admin("/status").body)
        assert (status["ready"], status["reasons"]) == (ready["ready"], ready["reasons"])
        assert status["durability"] == {"default": of_all, "routes": {"all": of_all}}
        answer = gateway.ask("/x")
        if refuses:
            refusal(answer, "spool_full")
        else:
            assert answer.status == 200
            wait_until(lambda: lost(gateway, "spool_full") == 1, "its loss is counted")
    finally:
        gateway.kill()


def answers(gateway: Gateway) -> bool:
    try:
        return gateway.admin("/livez").status == 200
    except OSError:
        return False


def lost(gateway: Gateway, reason: str) -> float:
    return total(gateway.metrics(), "sealgate_audit_lost_total", reason=reason)


def refusing(gateway: Gateway) -> str | None:
    return json.loads(gateway.admin("/status").body)["audit"]["refusing"]


def test_proxy_takes_a_durability_from_the_command_line(directory, upstream):
    wrong = sealgate("proxy", "--to", f"http://{upstream.address}", "--durability", "best-effort", cwd=directory)
    assert "possible values: strict, buffered, best_effort" in wrong.expect(2).err


def test_what_is_wrong_with_a_durability_is_an_error_with_its_place(directory, upstream):
    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [durable("a", "Strict"), durable("b", "none")])
    gateway.config["audit"]["durability"] = ["strict"]
    gateway.write_config()
    outcome = sealgate("validate", "--no-environment", "-c", gateway.config_file).expect(78)
    lines = outcome.err.splitlines()
    assert len(lines) == 3 and all(f"{Path(gateway.config_file)}:" in line for line in lines), outcome
    assert all("expected `strict`, `buffered` or `best_effort`" in line for line in lines), outcome
    assert "did you mean `strict`?" in lines[0], outcome
