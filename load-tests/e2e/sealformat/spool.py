"""A gateway's spool: the write-ahead log of the open segment, sealed segments that wait, the watermark."""

import struct
from dataclasses import dataclass
from pathlib import Path

from .segment import read_segment

GROUP = struct.Struct("<II")
COUNTED = struct.Struct("<QI")
MARK = struct.Struct("<8sQB8s16sQ11xI")
MARK_MAGIC = b"SGMARK01"
CASTAGNOLI = 0x82F63B78


def crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    """RFC 3720 appendix B.4."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@dataclass(frozen=True)
class Mark:
    """The watermark. What was received before `since`, in microseconds, is on the log or declared; while it is quiet,
    everything is."""

    since: int
    quiet: bool
    boot: str
    next_seq: int


def read_mark(data: bytes) -> Mark | None:
    """None where the bytes are not what a gateway wrote."""
    if len(data) != MARK.size:
        return None
    magic, since, quiet, boot, _, next_seq, checksum = MARK.unpack(data)
    if magic != MARK_MAGIC or quiet > 1 or checksum != crc32c(data[:-4]):
        return None
    return Mark(since, bool(quiet), boot.decode(), next_seq)


def read_groups(data: bytes) -> list[tuple[int, list[bytes]]]:
    """The whole groups, up to the first that is not: where each ends, and its lines."""
    groups: list[tuple[int, list[bytes]]] = []
    offset, expected = 0, None
    while offset + GROUP.size <= len(data):
        length, checksum = GROUP.unpack_from(data, offset)
        body = data[offset + GROUP.size : offset + GROUP.size + length]
        if length < COUNTED.size or len(body) < length or crc32c(body) != checksum:
            break
        first_seq, count = COUNTED.unpack_from(body)
        lines = body[COUNTED.size :].split(b"\n")[:-1]
        if len(lines) != count or (expected is not None and first_seq != expected):
            break
        offset += GROUP.size + length
        expected = first_seq + count
        groups.append((offset, lines))
    return groups


def group_ends(data: bytes) -> list[int]:
    return [end for end, _ in read_groups(data)]


def read_wal(data: bytes) -> list[bytes]:
    """The lines of all whole groups, up to the first that is not."""
    return [line for _, lines in read_groups(data) for line in lines]


def spooled_lines(spool: Path) -> list[bytes]:
    """Every line in the spool. A gateway that seals at this very moment moves files under our feet: ask again."""
    lines: list[bytes] = []
    for path in sorted(spool.glob("*")):
        try:
            if path.name.startswith("wal-"):
                lines += read_wal(path.read_bytes())
            elif path.name.endswith(".ndjson.zst"):
                lines += read_segment(path.read_bytes()).lines
        except FileNotFoundError:
            continue
    return lines
