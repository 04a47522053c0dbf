"""The attacker: full write access, full knowledge of the format, everything but the key.

`Forger` opens a log, lets its records be edited, and lays it out again with frames, index, chain, names and roots all
right. What it cannot do is sign with the gateway's key; `Signing` lists what it can do instead.
"""

import hashlib
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from .note import Checkpoint, Verifier
from .segment import compact_json, make_frames, read_segment
from .writer import LogWriter, WrittenSegment, put, segment_path

Records = list[list[dict]]


class Signing(Enum):
    """What becomes of the checkpoints."""

    LEFT_AS_THEY_WERE = "left as they were"
    OWN_KEY_UNDER_THE_NAME = "own key under the log's name"
    OWN_KEY_CLAIMING_THE_ID = "own key claiming the real key's id"
    ROOT_REPLACED_UNDER_THE_OLD_SIGNATURE = "root replaced under the old signature"


class Forger:
    def __init__(self, store: Path, name: str):
        self.home, self.name = store / name, name
        self.paths = sorted(self.home.glob("segments/date=*/*.ndjson.zst"), key=lambda path: path.name)
        self.segments = [read_segment(path.read_bytes()) for path in self.paths]
        self.real = Verifier.parse(json.loads((self.home / "log").read_bytes())["keys"][0])

    def records(self) -> Records:
        return [[json.loads(line) for line in segment.lines] for segment in self.segments]

    def forge(self, edit: Callable[[Records], None], signing: Signing) -> None:
        """Edits, then rebuilds in place everything that follows from the records."""
        records = self.records()
        edit(records)
        writer = LogWriter(self.name)
        old = sorted((self.home / "checkpoints").iterdir())
        notes = [path.read_bytes() for path in old]
        for path in [*self.paths, *old]:
            path.unlink()
        for number, segment in enumerate(records):
            sealed = self._reseal(writer, number, segment)
            put(segment_path(self.home, sealed), sealed.data)
            note = self._note(writer, sealed, notes[number] if number < len(notes) else None, signing)
            put(self.home / "checkpoints" / f"{number:010}", note)

    def _reseal(self, writer: LogWriter, number: int, segment: list[dict]) -> WrittenSegment:
        """Renumbers and chains anew, keeping what the attacker wrote otherwise."""
        lines = []
        for place, record in enumerate(segment):
            changed = dict(record, seq=writer.tree.end + place)
            if changed.get("event") == "segment":
                changed |= {"segment": number, "prev_sha256": writer.last_sha256}
            if changed.get("event") == "stored" and changed["segment"] < len(writer.segments):
                changed["sha256"] = hashlib.sha256(writer.segments[changed["segment"]].data).hexdigest()
            lines.append(compact_json(changed))
        per_frame = len(self.segments[min(number, len(self.segments) - 1)].frames[0].lines)
        return writer.seal(make_frames(lines, per_frame))

    def _note(self, writer: LogWriter, sealed: WrittenSegment, old: bytes | None, signing: Signing) -> bytes:
        checkpoint = Checkpoint(self.name, sealed.tree_size, sealed.root)
        match signing:
            case Signing.OWN_KEY_CLAIMING_THE_ID:
                return checkpoint.signed(writer.signer, self.real.id)
            case Signing.LEFT_AS_THEY_WERE if old is not None:
                return old
            case Signing.ROOT_REPLACED_UNDER_THE_OLD_SIGNATURE if old is not None:
                return checkpoint.text() + b"\n" + old.partition(b"\n\n")[2]
            case _:
                return checkpoint.signed(writer.signer)
