"""What happens to a store's files is seen: every byte, every name, every place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.binaries import sealaudit
from harness.flips import changes_not_seen
from sealformat import samples
from sealformat.note import Signer
from sealformat.segment import compact_json
from test_forgeries import findings

LOG, OTHER = "audit.test/gw-1", "audit.test/gw-2"


def segment(home: Path, number: int) -> Path:
    (path,) = home.glob(f"segments/date=*/{number:010}.ndjson.zst")
    return path


def checkpoint(home: Path, number: int) -> Path:
    return home / "checkpoints" / f"{number:010}"


def other(home: Path) -> Path:
    return home.parent / "gw-2"


def another_date(path: Path) -> Path:
    moved = path.parent.parent / "date=2001-01-01" / path.name
    moved.parent.mkdir()
    return moved


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def swap(left: Path, right: Path) -> None:
    kept = left.read_bytes()
    left.write_bytes(right.read_bytes())
    right.write_bytes(kept)


def another_key(home: Path) -> None:
    (home / "log").write_bytes(compact_json({"v": 1, "log": LOG, "keys": [str(Signer.generate(LOG).verifier)]}))


def place(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# What is done to the log's folder, and the findings that say so (any of them).
DEEDS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a segment is removed": (lambda home: segment(home, 1).unlink(), {"missing"}),
    "the first segment is removed": (lambda home: segment(home, 0).unlink(), {"missing"}),
    "the last segment is removed": (lambda home: segment(home, 2).unlink(), {"missing"}),
    "a checkpoint is removed": (lambda home: checkpoint(home, 1).unlink(), {"missing"}),
    "the first checkpoint is removed": (lambda home: checkpoint(home, 0).unlink(), {"missing"}),
    "all checkpoints are removed": (lambda home: shutil.rmtree(home / "checkpoints"), {"missing", "inserted"}),
    "all segments are removed": (lambda home: shutil.rmtree(home / "segments"), {"missing"}),
    "the marker is removed": (lambda home: (home / "log").unlink(), {"missing", "absent_log"}),
    "the whole log is removed": (shutil.rmtree, {"absent_log"}),
    "the marker names another key": (another_key, {"changed", "unknown_key"}),
    "the marker gets a newline": (lambda home: edit(home / "log", lambda data: data + b"\n"), {"changed"}),
    "the marker names another log": (
        lambda home: edit(home / "log", lambda data: data.replace(b"gw-1", b"gw-3", 1)),
        {"changed"},
    ),
    "a segment is renamed": (
        lambda home: segment(home, 1).rename(segment(home, 1).with_name(f"{7:010}.ndjson.zst")),
        {"missing", "inserted"},
    ),
    "a segment loses a digit": (
        lambda home: segment(home, 1).rename(segment(home, 1).with_name(f"{1:09}.ndjson.zst")),
        {"missing", "inserted"},
    ),
    "a segment is moved to another date": (
        lambda home: segment(home, 1).rename(another_date(segment(home, 1))),
        {"missing", "inserted", "changed"},
    ),
    "a segment is copied to another date": (
        lambda home: shutil.copy(segment(home, 1), another_date(segment(home, 1))),
        {"inserted"},
    ),
    "a segment comes from another log": (
        lambda home: shutil.copy(segment(other(home), 1), segment(home, 1)),
        {"changed"},
    ),
    "a segment and its checkpoint come from another log": (
        lambda home: (
            shutil.copy(segment(other(home), 1), segment(home, 1)),
            shutil.copy(checkpoint(other(home), 1), checkpoint(home, 1)),
        ),
        {"changed", "bad_signature", "unknown_key"},
    ),
    "a checkpoint comes from another log": (
        lambda home: shutil.copy(checkpoint(other(home), 1), checkpoint(home, 1)),
        {"changed", "bad_signature", "unknown_key"},
    ),
    "another log's next segment is appended": (
        lambda home: shutil.copy(segment(other(home), 2), segment(home, 2).with_name(f"{3:010}.ndjson.zst")),
        {"inserted", "changed", "missing"},
    ),
    "two segments change places": (lambda home: swap(segment(home, 0), segment(home, 1)), {"changed", "reordered"}),
    "two checkpoints change places": (
        lambda home: swap(checkpoint(home, 0), checkpoint(home, 1)),
        {"changed", "reordered"},
    ),
    "a checkpoint is put in the place of an earlier one": (
        lambda home: shutil.copy(checkpoint(home, 2), checkpoint(home, 1)),
        {"changed", "reordered"},
    ),
    "a checkpoint gets trailing bytes": (
        lambda home: edit(checkpoint(home, 1), lambda data: data + b"x"),
        {"changed", "bad_signature"},
    ),
    "a checkpoint gets a second newline": (
        lambda home: edit(checkpoint(home, 1), lambda data: data + b"\n"),
        {"changed", "bad_signature"},
    ),
    "a checkpoint loses its newline": (
        lambda home: edit(checkpoint(home, 1), lambda data: data[:-1]),
        {"changed", "bad_signature"},
    ),
    "a checkpoint is emptied": (lambda home: edit(checkpoint(home, 1), lambda data: b""), {"changed", "bad_signature"}),
    "a segment gets trailing bytes": (lambda home: edit(segment(home, 1), lambda data: data + b"\0"), {"changed"}),
    "a segment is cut": (lambda home: edit(segment(home, 1), lambda data: data[:-1]), {"changed"}),
    "a segment is emptied": (lambda home: edit(segment(home, 1), lambda data: b""), {"changed"}),
    "a segment gets a second index": (
        lambda home: edit(segment(home, 1), lambda data: data + data[data.index(b"\x5a\x2a\x4d\x18") :]),
        {"changed"},
    ),
    "a configuration has another content": (
        lambda home: place(home / "configs" / f"{'0' * 64}.yaml", b"version: 1\n"),
        {"changed", "inserted"},
    ),
    "a stray file lies beside the marker": (lambda home: place(home / "notes.txt"), {"inserted"}),
    "a stray file lies among the segments": (lambda home: place(home / "segments" / "notes.txt"), {"inserted"}),
    "a stray file lies under a date": (lambda home: place(segment(home, 0).with_name("notes.txt")), {"inserted"}),
    "a stray file lies among the checkpoints": (lambda home: place(home / "checkpoints" / "notes.txt"), {"inserted"}),
    "a hidden file lies among the checkpoints": (lambda home: place(home / "checkpoints" / ".hidden"), {"inserted"}),
    "a checkpoint without a segment is added": (
        lambda home: shutil.copy(checkpoint(home, 2), checkpoint(home, 3)),
        {"inserted", "missing", "changed"},
    ),
    "a log is laid inside the log": (lambda home: shutil.copytree(other(home), home / "inner"), {"inserted"}),
}


@pytest.fixture
def store(directory):
    writers = [samples.ordinary_log(LOG), samples.ordinary_log(OTHER)]
    for writer in writers:
        writer.write(directory / "store")
    (directory / "keys.txt").write_text("".join(f"{writer.signer.verifier}\n" for writer in writers))
    return directory / "store"


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_done_to_files_is_found(store, deed):
    act, kinds = DEEDS[deed]
    act(store / LOG)
    outcome = sealaudit("verify", store, "--keys", store.parent / "keys.txt").expect(1)
    found = findings(outcome)
    assert {kind for kind, log, _ in found if log.startswith(LOG)} & kinds, (
        f"one of {sorted(kinds)} is expected\n{outcome}"
    )
    assert all(log != OTHER for _, log, _ in found), f"{OTHER} was not touched\n{outcome}"


def test_a_log_that_no_key_is_known_for_is_found(store):
    keys = store.parent / "one-key.txt"
    keys.write_text((store.parent / "keys.txt").read_text().splitlines()[0] + "\n")
    outcome = sealaudit("verify", store, "--keys", keys).expect(1)
    assert {(kind, log) for kind, log, _ in findings(outcome)} == {("unknown_key", OTHER)}, outcome


def test_every_single_byte_of_every_file_is_protected(directory):
    """All bits of a byte are changed, then the one that letters' case hangs on, then the lowest."""
    writer = samples.lonely_log(segments=2)
    writer.configs.append(b"version: 1\n")
    writer.write(directory / "store")
    keys = directory / "keys.txt"
    keys.write_text(f"{writer.signer.verifier}\n")
    sealaudit("verify", directory / "store", "--keys", keys).expect(0)
    unseen = changes_not_seen(directory / "store", keys, directory / "copies", masks=(0xFF, 0x20, 0x01))
    assert not unseen, f"{len(unseen)} changes were not reported:\n" + "\n".join(unseen[:20])
