"""What a log says of itself in numbers, counted again from its records."""

from collections.abc import Iterable
from dataclasses import dataclass, field

BY_HOOKS = ("received", "completed", "aborted", "rejected")
OF_BOOTS_BEFORE = ("crash", "spool_lost", "unfinished")


@dataclass
class Boot:
    """What one boot has counted so far."""

    records: int = 0
    declared_lost: int = 0
    said: dict[str, int] = field(default_factory=dict)
    start: dict | None = None
    only_started: bool = False


def wrong_accounts(records: Iterable[dict]) -> list[str]:
    """Everything that a log's counters and gaps say otherwise than its records do, each in words."""
    wrong: list[str] = []
    boots: dict[str, Boot] = {}
    open_requests: set[str] = set()
    for record in records:
        boot = boots.setdefault(record["boot"], Boot())
        kind, event = record["kind"], record.get("event")
        if kind == "gap":
            wrong += wrong_gap(record, boot, open_requests)
        elif kind in BY_HOOKS:
            boot.records += 1
            follow(record, open_requests)
        elif event in ("heartbeat", "stop"):
            wrong += wrong_counters(record, boot)
        if event == "start":
            boot.start = record
        boot.only_started = event == "start" or (boot.only_started and of_boots_before(record))
    return wrong


def of_boots_before(record: dict) -> bool:
    return record["kind"] == "gap" and record["reason"] in OF_BOOTS_BEFORE


def follow(record: dict, open_requests: set[str]) -> None:
    if record["kind"] == "received":
        open_requests.add(record["request_id"])
    elif record["kind"] in ("completed", "aborted"):
        open_requests.discard(record["request_id"])


def wrong_gap(gap: dict, boot: Boot, open_requests: set[str]) -> list[str]:
    wrong = []
    if gap["from"] > gap["to"]:
        wrong.append(f"a gap that ends before it begins: {gap}")
    if not of_boots_before(gap):
        boot.declared_lost += gap["lost"]
        return wrong
    if not boot.only_started:
        wrong.append(f"a gap of a boot before that does not follow a start: {gap}")
    elif gap["to"] != boot.start["ts"]:
        wrong.append(f"a gap of a boot before that does not end with the start at {boot.start['ts']}: {gap}")
    if gap["reason"] == "unfinished" and gap["lost"] != len(open_requests):
        wrong.append(f"{len(open_requests)} requests of boots before are unfinished: {gap}")
    if gap["reason"] != "unfinished" and gap["lost"] is not None:
        wrong.append(f"a number that nobody can know: {gap}")
    if gap["reason"] != "crash":
        open_requests.clear()
    return wrong


def wrong_counters(record: dict, boot: Boot) -> list[str]:
    said = record["counters"]
    wrong = []
    if said["captured"] != said["durable"] + said["queued"] + said["lost"]:
        wrong.append(f"counters that do not add up: {record}")
    if said["durable"] != boot.records:
        wrong.append(f"{boot.records} records of the boot come before: {record}")
    if said["lost"] < boot.declared_lost:
        wrong.append(f"{boot.declared_lost} were declared lost before: {record}")
    if record["event"] == "stop" and (said["lost"], said["queued"]) != (boot.declared_lost, 0):
        wrong.append(f"{boot.declared_lost} were declared lost, and nothing comes after: {record}")
    for name in ("captured", "lost", "refused"):
        if said.get(name, 0) < boot.said.get(name, 0):
            wrong.append(f"{name} goes back from {boot.said[name]}: {record}")
    boot.said = said
    return wrong
