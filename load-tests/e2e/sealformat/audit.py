"""Reads a whole directory store and holds every byte of it against docs/format.md."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from .accounts import wrong_accounts
from .merkle import CompactRange
from .note import Checkpoint, Verifier
from .segment import Segment, derive_index, read_segment

PREFIX = re.compile(
    rb'\{"seq":(0|[1-9][0-9]*),"v":1,"kind":"(received|completed|aborted|rejected|gap|lifecycle)",'
    rb'"ts":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z","boot":"[0-9a-f]{8}"[,}]'
)
RECORD_LIMIT = 65535
NO_FILE = "0" * 64


class AuditError(Exception):
    """The first thing in a store that is not as the format says."""


@dataclass
class LogReport:
    name: str
    segments: list[Segment] = field(default_factory=list)

    @property
    def lines(self) -> list[bytes]:
        return [line for segment in self.segments for line in segment.lines]

    @property
    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]


def expect(holds: bool, message: str) -> None:
    if not holds:
        raise AuditError(message)


def audit_store(store: Path, *verifiers: Verifier) -> dict[str, LogReport]:
    """Checks every log below `store`; each must be signed by one of the verifiers."""
    known = {verifier.name: verifier for verifier in verifiers}
    names = sorted(str(marker.parent.relative_to(store)) for marker in store.rglob("log") if marker.is_file())
    expect(names == sorted(known), f"the store holds {names}, keys are for {sorted(known)}")
    return {name: audit_log(store, known[name]) for name in names}


def audit_log(store: Path, verifier: Verifier) -> LogReport:
    home, name = store / verifier.name, verifier.name
    marker = (home / "log").read_bytes()
    expect(json.loads(marker) == {"v": 1, "log": name, "keys": [str(verifier)]}, f"marker says {marker!r}")
    accounted, report, tree, previous, oldest = {home / "log"}, LogReport(name), CompactRange(), NO_FILE, ""
    for number in range(len(list((home / "checkpoints").iterdir()))):
        place = f"{name} segment {number}"
        found = list(home.glob(f"segments/date=*/{number:010}.ndjson.zst"))
        expect(len(found) == 1, f"{place}: {len(found)} files")
        data = found[0].read_bytes()
        segment = read_segment(data)
        check_records(place, segment, tree.end)
        first = json.loads(segment.lines[0])
        expect((first["kind"], first.get("event")) == ("lifecycle", "segment"), f"{place} begins with {first}")
        expect(
            (first["log"], first["segment"]) == (name, number), f"{place} says it is {first['log']} {first['segment']}"
        )
        expect(first["prev_sha256"] == previous, f"{place} names {first['prev_sha256']} before it, there is {previous}")
        expect(first["ts"] >= oldest, f"{place} begins at {first['ts']}, before {oldest}")
        expect(
            found[0].parent.name == f"date={first['ts'][:10]}",
            f"{place} of {first['ts']} lies in {found[0].parent.name}",
        )
        index, tree = derive_index(segment.frames, tree)
        expect(index == segment.index, f"{place}: index\n{segment.index.decode()}\nexpected\n{index.decode()}")
        signed = home / "checkpoints" / f"{number:010}"
        expect(
            Checkpoint.open(signed.read_bytes(), verifier) == Checkpoint(name, tree.end, tree.root()),
            f"{place}: other root signed",
        )
        previous, oldest = hashlib.sha256(data).hexdigest(), first["ts"]
        accounted |= {found[0], signed}
        report.segments.append(segment)
    check_stored(report, store)
    wrong = wrong_accounts(report.records)
    expect(not wrong, f"{name}: " + "\n".join(wrong))
    for config in home.glob("configs/*.yaml"):
        expect(hashlib.sha256(config.read_bytes()).hexdigest() == config.stem, f"{config} has other content")
        accounted.add(config)
    strays = {path for path in home.rglob("*") if path.is_file()} - accounted
    expect(not strays, f"not accounted for: {sorted(map(str, strays))}")
    return report


def check_records(place: str, segment: Segment, first_seq: int) -> None:
    boots = set()
    for seq, line in enumerate(segment.lines, first_seq):
        prefix = PREFIX.match(line)
        expect(prefix is not None and int(prefix[1]) == seq, f"{place}: seq {seq} expected, found {line[:120]!r}")
        expect(len(line) <= RECORD_LIMIT, f"{place}: seq {seq} has {len(line)} bytes")
        record = json.loads(line)
        expect(
            json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() == line,
            f"{place}: seq {seq} is not compact JSON: {line!r}",
        )
        boots.add(record["boot"])
    expect(len(boots) == 1, f"{place} belongs to the boots {sorted(boots)}")


def check_stored(report: LogReport, store: Path) -> None:
    """A `stored` record names the file that lies there."""
    for record in report.records:
        if record.get("event") == "stored":
            (path,) = (store / report.name).glob(f"segments/date=*/{record['segment']:010}.ndjson.zst")
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            expect(
                found == record["sha256"],
                f"{report.name} segment {record['segment']}: a record says {record['sha256']}, the file has {found}",
            )
