"""Holds what clients and upstreams saw against the log and the metrics, to the unit."""

from .gateway import Gateway, Samples, total
from .traffic import Traffic

OWED = ("completed", "aborted")


def holds(samples: Samples) -> bool:
    """captured = durable + queued + lost, as the metrics tell it at one scrape."""
    stage = {word: total(samples, "sealgate_audit_records_total", stage=word) for word in ("captured", "durable")}
    queued = total(samples, "sealgate_audit_ring_slots", state="filled")
    return stage["captured"] == stage["durable"] + queued + total(samples, "sealgate_audit_lost_total")


def declared(records: list[dict]) -> int:
    """What the log says that it lost, where it can say how much."""
    gaps = [record for record in records if record["kind"] == "gap" and record["reason"] != "unfinished"]
    return sum(gap["lost"] for gap in gaps if gap["lost"] is not None)


def settle(gateway: Gateway, traffic: Traffic) -> tuple[Samples, list[dict]]:
    """Ends the traffic, then the gateway; the metrics in between, and the log, on which both readers agree."""
    traffic.rest()
    samples = gateway.metrics()
    gateway.stop()
    gateway.verify().expect(0)
    return samples, gateway.audited().records


def check(traffic: Traffic, samples: Samples, records: list[dict], may_lose: bool = False) -> None:
    """What is true of every boot that stopped: all served is on the log or declared, all refused is counted."""
    statuses = traffic.statuses
    starts = [record for record in records if record.get("event") == "start"]
    assert len(starts) == 1, "it was one process"
    assert set(statuses) <= {200, 503}, statuses
    recorded = {record["request_id"] for record in records if record["kind"] in OWED}
    served = [record for record in records if record["kind"] == "completed" and record["response"]["status"] == 200]
    lost = int(total(samples, "sealgate_audit_lost_total"))
    assert declared(records) == lost
    assert len(served) + lost == statuses[200], f"{len(served)} recorded, {lost} lost, answers {statuses}"
    if not may_lose:
        assert lost == 0
        assert traffic.ids(200) <= recorded, "each 200 is on the log"
        assert traffic.reached <= recorded, "each request that reached the upstream is on the log"
    refused = int(total(samples, "sealgate_audit_refused_total"))
    assert statuses[503] == refused, f"{refused} refused, answers {statuses}"
    (stop,) = [record for record in records if record.get("event") == "stop"]
    counters = stop["counters"]
    assert (counters["queued"], counters["lost"], counters["refused"]) == (0, lost, refused), counters
    assert counters["captured"] == counters["durable"] + lost
