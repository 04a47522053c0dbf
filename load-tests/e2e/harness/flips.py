"""Changes every byte of a store in turn, and asks `sealaudit verify` each time."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .binaries import sealaudit
from .files import mutable_copy


def changes_not_seen(store: Path, keys: Path, scratch: Path, masks: Sequence[int]) -> list[str]:
    """The changes that are answered neither by a finding (1) nor as unreadable (2). Works on copies below `scratch`."""
    files = [path for path in store.rglob("*") if path.is_file()]
    jobs = [(path.relative_to(store), offset) for path in files for offset in range(path.stat().st_size)]
    assert jobs, f"{store} is empty"
    workers = os.cpu_count() or 1
    copies = [mutable_copy(store, scratch / str(worker)) for worker in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        shares = [pool.submit(_flip, copies[worker], keys, jobs[worker::workers], masks) for worker in range(workers)]
        return [change for share in shares for change in share.result()]


def _flip(store: Path, keys: Path, jobs: Sequence[tuple[Path, int]], masks: Sequence[int]) -> list[str]:
    unseen = []
    for file, offset in jobs:
        right = (store / file).read_bytes()
        for mask in masks:
            (store / file).write_bytes(right[:offset] + bytes([right[offset] ^ mask]) + right[offset + 1 :])
            code = sealaudit("verify", store, "--keys", keys).code
            if code not in (1, 2):
                unseen.append(f"{file} byte {offset} ({right[offset]:#04x} ^ {mask:#04x}): exit {code}")
        (store / file).write_bytes(right)
    return unseen
