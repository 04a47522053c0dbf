"""Builds stores from records: correct ones, with whatever key and shape a test asks for."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .audit import NO_FILE
from .merkle import CompactRange
from .note import Checkpoint, Signer
from .segment import Frame, compact_json, compress, derive_index, index_frame, make_frames


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class WrittenSegment:
    """A segment as it goes to the store."""

    number: int
    data: bytes
    date: str
    tree_size: int
    root: bytes


@dataclass
class LogWriter:
    """Numbers, chains, seals and signs. `records` are given without seq, v, ts and boot; those given are kept."""

    name: str
    signer: Signer | None = None
    boot: str = "5ea1ed00"
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))
    step: timedelta = timedelta(milliseconds=1)
    compressor: Callable[[bytes], bytes] = compress
    tree: CompactRange = field(default_factory=CompactRange)
    segments: list[WrittenSegment] = field(default_factory=list)
    configs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signer = self.signer or Signer.generate(self.name)

    @property
    def last_sha256(self) -> str:
        return hashlib.sha256(self.segments[-1].data).hexdigest() if self.segments else NO_FILE

    def segment(self, records: Sequence[dict], lines_per_frame: int | None = None) -> WrittenSegment:
        """Seals one segment: its own first record, then these."""
        opening = {
            "kind": "lifecycle",
            "event": "segment",
            "log": self.name,
            "segment": len(self.segments),
            "prev_sha256": self.last_sha256,
        }
        lines = [self._line(record, self.tree.end + place) for place, record in enumerate([opening, *records])]
        return self.seal(make_frames(lines, lines_per_frame, self.compressor))

    def seal(self, frames: Sequence[Frame]) -> WrittenSegment:
        """Appends a segment of frames that are given as they are."""
        index, self.tree = derive_index(frames, self.tree)
        data = b"".join(frame.compressed for frame in frames) + index_frame(index)
        date = json.loads(frames[0].lines[0])["ts"][:10]
        sealed = WrittenSegment(len(self.segments), data, date, self.tree.end, self.tree.root())
        self.segments.append(sealed)
        return sealed

    def checkpoint(self, sealed: WrittenSegment) -> bytes:
        return Checkpoint(self.name, sealed.tree_size, sealed.root).signed(self.signer)

    def write(self, store: Path) -> Path:
        """Lays the log out below `store` and gives its folder."""
        home = store / self.name
        put(home / "log", compact_json({"v": 1, "log": self.name, "keys": [str(self.signer.verifier)]}))
        for sealed in self.segments:
            put(segment_path(home, sealed), sealed.data)
            put(home / "checkpoints" / f"{sealed.number:010}", self.checkpoint(sealed))
        for config in self.configs:
            put(home / "configs" / f"{hashlib.sha256(config).hexdigest()}.yaml", config)
        return home

    def _line(self, record: dict, seq: int) -> bytes:
        self.now += self.step
        prefix = {
            "seq": seq,
            "v": 1,
            "kind": record["kind"],
            "ts": record.get("ts", timestamp(self.now)),
            "boot": record.get("boot", self.boot),
        }
        if "request_id" in record:
            prefix["request_id"] = record["request_id"]
        return compact_json(prefix | record)


def segment_path(home: Path, sealed: WrittenSegment) -> Path:
    return home / "segments" / f"date={sealed.date}" / f"{sealed.number:010}.ndjson.zst"


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
