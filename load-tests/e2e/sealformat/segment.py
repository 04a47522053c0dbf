"""One segment file: zstd data frames of NDJSON lines, then the index in a skippable frame."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import zstandard

from .merkle import CompactRange, leaf_hash

SKIPPABLE_MAGIC = b"\x5a\x2a\x4d\x18"
INDEX_MAGIC = b"SEALIDX1"
FRAME_RAW_BYTES = 1 << 20
FRAME_RAW_LIMIT = 4 << 20
WINDOW_LIMIT = 8 << 20
SET_LIMIT = 1024


class SegmentError(Exception):
    """A segment file that does not follow docs/format.md."""


@dataclass(frozen=True)
class Frame:
    """A data frame: its compressed bytes, and its lines without their newlines."""

    offset: int
    compressed: bytes
    lines: tuple[bytes, ...]

    @property
    def raw_length(self) -> int:
        return sum(len(line) + 1 for line in self.lines)


@dataclass(frozen=True)
class Segment:
    frames: tuple[Frame, ...]
    index: bytes

    @property
    def lines(self) -> list[bytes]:
        return [line for frame in self.frames for line in frame.lines]


def compact_json(value: object) -> bytes:
    """serde_json's bytes for a value: no spaces, no escapes beyond the necessary."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def compress(raw: bytes, level: int = 1) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(raw)


def read_segment(data: bytes) -> Segment:
    """Takes a file apart without the help of its index."""
    frames, offset = [], 0
    while data[offset : offset + 4] != SKIPPABLE_MAGIC:
        frame = read_frame(data, offset)
        frames.append(frame)
        offset += len(frame.compressed)
    if not frames:
        raise SegmentError("no data frame before the index")
    return Segment(tuple(frames), read_index(data[offset:]))


def read_frame(data: bytes, offset: int) -> Frame:
    try:
        parameters = zstandard.get_frame_parameters(data[offset:])
        decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).decompressobj()
        raw = decoder.decompress(data[offset:])
    except zstandard.ZstdError as broken:
        raise SegmentError(f"no zstd frame at {offset}: {broken}") from broken
    if not decoder.eof:
        raise SegmentError(f"the frame at {offset} does not end")
    if not parameters.has_checksum or parameters.dict_id or parameters.window_size > WINDOW_LIMIT:
        raise SegmentError(f"the frame at {offset} breaks the rules: {parameters}")
    if not raw.endswith(b"\n") or len(raw) > FRAME_RAW_LIMIT:
        raise SegmentError(f"the frame at {offset} holds {len(raw)} bytes and ends in {raw[-1:]!r}")
    length = len(data) - offset - len(decoder.unused_data)
    return Frame(offset, data[offset : offset + length], tuple(raw[:-1].split(b"\n")))


def read_index(frame: bytes) -> bytes:
    """J, of an index frame that must be the last bytes of the file."""
    size = int.from_bytes(frame[4:8], "little")
    if len(frame) != 8 + size or frame[-8:] != INDEX_MAGIC:
        raise SegmentError(f"the index frame says {size} bytes, {len(frame) - 8} follow, ending in {frame[-8:]!r}")
    length = int.from_bytes(frame[-12:-8], "little")
    if size != length + 12:
        raise SegmentError(f"the index says {length} bytes in a frame of {size}")
    return frame[8 : 8 + length]


def index_frame(index: bytes) -> bytes:
    body = index + len(index).to_bytes(4, "little") + INDEX_MAGIC
    return SKIPPABLE_MAGIC + len(body).to_bytes(4, "little") + body


def make_frames(
    lines: Iterable[bytes], lines_per_frame: int | None = None, compressor: Callable[[bytes], bytes] = compress
) -> list[Frame]:
    """Cuts lines into frames: of so many lines, or of about a mebibyte."""
    frames, offset = [], 0
    for group in cut(lines, lines_per_frame):
        compressed = compressor(b"".join(line + b"\n" for line in group))
        frames.append(Frame(offset, compressed, tuple(group)))
        offset += len(compressed)
    return frames


def cut(lines: Iterable[bytes], lines_per_frame: int | None) -> Iterable[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line) + 1
        if len(group) == lines_per_frame or (lines_per_frame is None and size >= FRAME_RAW_BYTES):
            yield group
            group, size = [], 0
    if group:
        yield group


def derive_index(frames: Sequence[Frame], before: CompactRange) -> tuple[bytes, CompactRange]:
    """J as a pure function of the records and of the tree before; and the tree after."""
    records = [[json.loads(line.decode(errors="replace")) for line in frame.lines] for frame in frames]
    flat = [record for group in records for record in group]
    own = CompactRange(before.end)
    for frame in frames:
        for line in frame.lines:
            own.append(leaf_hash(line))
    gaps = [record["lost"] for record in flat if record["kind"] == "gap"]
    first = flat[0]
    index = {
        "v": 1,
        "log": first["log"],
        "segment": first["segment"],
        "boot": first["boot"],
        "first_seq": first["seq"],
        "count": len(flat),
        "lost": sum(lost for lost in gaps if lost is not None),
        "lost_unknown": gaps.count(None),
        "min_ts": min(record["ts"] for record in flat),
        "max_ts": max(record["ts"] for record in flat),
        "raw_bytes": sum(frame.raw_length for frame in frames),
        "frames": [describe(frame, group) for frame, group in zip(frames, records, strict=True)],
        "before": [digest.hex() for digest in before.hashes()],
        "range": [digest.hex() for digest in own.hashes()],
        "sets": {
            "actor": distinct(record.get("actor", {}).get("id") for record in flat),
            "route": distinct(record.get("route") for record in flat),
            "status": distinct(record.get("response", {}).get("status") for record in flat),
            "kind": distinct(record["kind"] for record in flat),
        },
    }
    after = before.copy()
    after.extend(own)
    return compact_json(index), after


def describe(frame: Frame, records: Sequence[dict]) -> dict:
    return {
        "offset": frame.offset,
        "len": len(frame.compressed),
        "raw_len": frame.raw_length,
        "first_seq": records[0]["seq"],
        "count": len(records),
        "min_ts": min(record["ts"] for record in records),
        "max_ts": max(record["ts"] for record in records),
        "sha256": hashlib.sha256(frame.compressed).hexdigest(),
    }


def distinct(values: Iterable) -> list | None:
    """Sorted: strings by their bytes, statuses by number."""
    found = {value for value in values if value is not None}
    if len(found) > SET_LIMIT:
        return None
    return sorted(found, key=lambda value: value.encode() if isinstance(value, str) else value)
