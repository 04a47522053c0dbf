"""Holds a round of kills against its log: what the witnesses saw must be there, or inside a gap."""

from dataclasses import dataclass

from .killing import Account, Life
from .moments import moment
from .stalls import Stalls

UNDECLARED = "what is not on the log was received inside a gap"
STRICT = "strict: what reached an upstream has a `received` record"
WIDE = "a gap begins at most the sync interval and 100 ms before the kill"
NEEDLESS = "a boot that lost nothing writes no gap"
UNFINISHED = "`received` without an end are counted, to the unit"
UNCLEAN = "every start after a kill says so, and where the boot before ended"

PROMISES = [UNDECLARED, STRICT, WIDE, NEEDLESS, UNFINISHED, UNCLEAN]

# Beyond the interval between two groups: writing them, and waiting for a processor.
WRITING_US = 100_000
# The gateway knows when the oldest request that is under way was received to so much.
GRAIN_US = 4_096
# What a record waits for at most: the group before its own, which seals its segment, and its own.
SYNCS = 8


@dataclass(frozen=True)
class Gap:
    """A `gap` record; moments in microseconds."""

    reason: str
    lost: int | None
    begin: int
    end: int
    boot: str

    @classmethod
    def read(cls, record: dict) -> "Gap":
        return cls(record["reason"], record["lost"], moment(record["from"]), moment(record["to"]), record["boot"])

    def __contains__(self, when: int) -> bool:
        return self.begin <= when <= self.end


def reckon(account: Account, records: list[dict], stalls: Stalls) -> dict[str, list[str]]:
    """By promise, what breaks it in the log of a round, each in words."""
    gaps = [Gap.read(record) for record in records if record["kind"] == "gap" and record["reason"] != "unfinished"]
    return {
        UNDECLARED: undeclared(account, records, gaps),
        STRICT: unstarted(account, records),
        WIDE: too_wide(account, gaps, stalls),
        NEEDLESS: needless(account, gaps),
        UNFINISHED: unfinished(records),
        UNCLEAN: unclean(records),
    }


def undeclared(account: Account, records: list[dict], gaps: list[Gap]) -> list[str]:
    """Each request that is not on the log was received inside a gap."""
    recorded = {record.get("request_id") for record in records}
    by_upstream = [
        f"{request_id} reached the upstream at {when}: neither recorded nor in a gap"
        for request_id, when in account.seen
        if request_id not in recorded and not any(when in gap for gap in gaps)
    ]
    by_client = [
        f"{answer} is neither recorded nor in a gap"
        for answer in account.answers
        if answer.status // 100 in (1, 2)
        and answer.request_id not in recorded
        and not any(gap.begin <= answer.answered and answer.sent <= gap.end for gap in gaps)
    ]
    return by_upstream + by_client


def unstarted(account: Account, records: list[dict]) -> list[str]:
    """Strict: what reached an upstream has a `received` record, without exception."""
    if account.setting.durability != "strict":
        return []
    received = {record["request_id"] for record in records if record["kind"] == "received"}
    return [
        f"strict: {request_id} reached the upstream at {when} without a `received` record"
        for request_id, when in account.seen
        if request_id not in received
    ]


def too_wide(account: Account, gaps: list[Gap], stalls: Stalls) -> list[str]:
    """A gap begins at most the sync interval and a little before the kill of the last life that served, or with the
    oldest request that was under way then: before its end it has no record.

    What the machine itself kept waiting comes on top: the syncs that a record can wait for, as long as the slowest that
    was seen then (a seal syncs the segment, the spool's directory and its state), and the time without a processor.
    """
    room = account.setting.sync_interval_ms * 1000 + WRITING_US
    wrong = []
    for gap in gaps:
        if gap.reason != "crash":
            continue
        served = [life for life in account.lives if life.killed <= gap.end and has_served(account, life)]
        if not served:
            wrong.append(f"{gap}: nothing had been served before")
            continue
        killed = served[-1].killed
        account.crashes += 1
        if gap.begin >= oldest_under_way(account, killed - room, killed):
            continue
        account.excused += 1
        stalled = SYNCS * stalls.longest(gap.begin, killed) + served[-1].waited
        if gap.begin < (oldest := oldest_under_way(account, killed - room - stalled, killed)):
            wide = f"{(killed - gap.begin) / 1000:.1f} ms before the kill of {served[-1]}"
            wrong.append(
                f"{gap}: begins {wide}, {(oldest - gap.begin) / 1000:.1f} ms earlier than it may;"
                f" {room / 1000:g} ms are allowed, and {stalled / 1000:.1f} ms for the machine"
            )
    return wrong


def oldest_under_way(account: Account, since: int, until: int) -> int:
    """When the oldest request was sent that was under way between the two moments, as the gateway knows it; else the
    first of them."""
    ends = [(answer.sent, answer.answered) for answer in account.answers]
    sent = (sent - GRAIN_US for sent, ended in ends + account.cut if ended >= since and sent <= until)
    return min([since, *sent])


def needless(account: Account, gaps: list[Gap]) -> list[str]:
    """A life that was killed while its spool said that nothing is owed has lost nothing: no gap spans its end."""
    return [
        f"{gap}: {life} was killed when nothing was owed"
        for life in account.lives
        for gap in gaps
        if life.owed_nothing and gap.reason == "crash" and life.killed in gap
    ]


def has_served(account: Account, life: Life) -> bool:
    """Whether a request may have been received in it; one that broke off need not have reached the upstream."""
    return any(life.launched <= when <= life.over for _, when in account.seen) or any(
        sent <= life.killed and broken >= life.launched for sent, broken in account.cut
    )


def unclean(records: list[dict]) -> list[str]:
    """Every start but the first says that the boot before did not stop, and where it ended."""
    wrong, last = [], {}
    starts = [record for record in records if record.get("event") == "start"]
    for record in records:
        last[record["boot"]] = record["seq"]
    for before, start in zip(starts, starts[1:]):
        if not start["unclean"] or start.get("last_durable_seq") != last[before["boot"]]:
            wrong.append(f"{start} comes after a kill, and after record {last[before['boot']]}")
    return wrong


def unfinished(records: list[dict]) -> list[str]:
    """After each unclean start, one gap counts the `received` of the boots before that have no end."""
    wrong, open_requests, owed = [], set(), 0
    for record in records:
        match record:
            case {"kind": "lifecycle", "event": "start"}:
                if owed:
                    wrong.append(f"{owed} unfinished were not declared before {record}")
                owed = len(open_requests)
                open_requests.clear()
            case {"kind": "gap", "reason": "unfinished"}:
                if record["lost"] != owed:
                    wrong.append(f"{owed} were unfinished: {record}")
                owed = 0
            case {"kind": "received"}:
                open_requests.add(record["request_id"])
            case {"kind": "completed" | "aborted"}:
                open_requests.discard(record["request_id"])
    return wrong
