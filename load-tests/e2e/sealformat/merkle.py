"""RFC 6962 section 2.1, twice: the recursive definition, and compact ranges as docs/format.md uses them."""

import hashlib
from collections.abc import Sequence


def leaf_hash(line: bytes) -> bytes:
    """The leaf of one record: its stored bytes, without the newline."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def recursive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, word for word: slow, and obviously right."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """The maximal complete subtrees of [begin, end), left to right, each as (first leaf, number of leaves)."""
    parts = []
    while begin < end:
        aligned = begin & -begin if begin else 1 << (end - begin).bit_length()
        size = aligned
        while size > end - begin:
            size //= 2
        parts.append((begin, size))
        begin += size
    return parts


class CompactRange:
    """The compact range of [begin, end): it grows to the right, and its hashes stand for all its leaves."""

    def __init__(self, begin: int = 0, hashes: Sequence[bytes] = (), end: int | None = None):
        self.begin = begin
        self.end = begin if end is None else end
        self._parts = [
            (first, size, digest) for (first, size), digest in zip(subtrees(begin, self.end), hashes, strict=True)
        ]

    def append(self, leaf: bytes) -> None:
        self._push(self.end, 1, leaf)

    def extend(self, other: "CompactRange") -> None:
        """Appends a range that begins where this one ends."""
        if other.begin != self.end:
            raise ValueError(f"range [{other.begin}, {other.end}) does not follow [{self.begin}, {self.end})")
        for first, size, digest in other._parts:
            self._push(first, size, digest)

    def copy(self) -> "CompactRange":
        return CompactRange(self.begin, self.hashes(), self.end)

    def hashes(self) -> list[bytes]:
        return [digest for _, _, digest in self._parts]

    def root(self) -> bytes:
        """The tree head of [0, end)."""
        if self.begin != 0:
            raise ValueError(f"a range that begins at {self.begin} has no root")
        if not self._parts:
            return hashlib.sha256(b"").digest()
        root = self._parts[-1][2]
        for _, _, digest in reversed(self._parts[:-1]):
            root = node_hash(digest, root)
        return root

    def _push(self, first: int, size: int, digest: bytes) -> None:
        self.end = first + size
        while self._parts:
            left_first, left_size, left_digest = self._parts[-1]
            is_sibling = left_size == size and left_first % (2 * size) == 0 and left_first + size == first
            if not is_sibling:
                break
            self._parts.pop()
            first, size, digest = left_first, 2 * size, node_hash(left_digest, digest)
        self._parts.append((first, size, digest))
