"""The tests' own tools, against published vectors and against each other."""

import base64
import hashlib
import random
import struct

import pytest

from sealformat.accounts import wrong_accounts
from sealformat.audit import AuditError, audit_store
from sealformat.forgery import Forger, Signing
from sealformat.merkle import CompactRange, leaf_hash, recursive_root, subtrees
from sealformat.note import Checkpoint, NoteError, Signer, Verifier
from sealformat.records import completed, gap, heartbeat, start, stop
from sealformat.segment import SegmentError, read_segment
from sealformat.spool import crc32c, read_wal
from sealformat.writer import LogWriter

MOMENT = "2026-11-24T09:12:03.123456Z"

# The inputs and roots of the Certificate Transparency reference implementation's own test.
RFC6962_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
RFC6962_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The example of the signed note specification's reference implementation.
NOTE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_published_for_rfc_6962(size):
    hashed = [leaf_hash(bytes.fromhex(leaf)) for leaf in RFC6962_LEAVES[:size]]
    assert recursive_root(hashed).hex() == RFC6962_ROOTS[size - 1]


def test_compact_ranges_over_any_segmentation_give_the_recursive_root():
    choose = random.Random(6962)
    for size in range(1, 200):
        hashed, tree = leaves(size), CompactRange()
        while tree.end < size:
            part = CompactRange(tree.end)
            for leaf in hashed[tree.end : choose.randint(tree.end + 1, size)]:
                part.append(leaf)
            assert [(first, count) for first, count, _ in part._parts] == subtrees(part.begin, part.end)
            tree.extend(part)
        assert tree.root() == recursive_root(hashed), f"size {size}"
        assert CompactRange(0, tree.hashes(), size).root() == tree.root()


def test_a_published_note_verifies_and_another_text_does_not():
    verifier = Verifier.parse(NOTE_KEY)
    blob = base64.b64decode(NOTE_SIGNATURE)
    assert blob[:4] == verifier.id and str(verifier) == NOTE_KEY
    verifier.check(NOTE_TEXT.encode(), blob[4:])
    with pytest.raises(NoteError):
        verifier.check(NOTE_TEXT.upper().encode(), blob[4:])


def test_a_checkpoint_opens_only_as_it_was_signed():
    signer = Signer.generate("audit.test/gw-1")
    note = Checkpoint(signer.name, 7, hashlib.sha256(b"root").digest()).signed(signer)
    assert Checkpoint.open(note, signer.verifier).size == 7
    assert Signer.parse(str(signer)) == signer
    for other in (note + b"\n", note.replace(b"\n7\n", b"\n07\n"), note.replace(b"\n7\n", b"\n8\n")):
        with pytest.raises(NoteError):
            Checkpoint.open(other, signer.verifier)


def small_log(name: str = "audit.test/gw-1") -> LogWriter:
    writer = LogWriter(name)
    writer.segment(
        [start(writer.signer.verifier.id.hex()), *(completed(f"/orders/{n}") for n in range(5))], lines_per_frame=3
    )
    writer.segment([completed("/orders/é"), stop(6)])
    return writer


def test_what_the_writer_builds_the_reader_finds_right(directory):
    writer = small_log()
    writer.write(directory)
    report = audit_store(directory, writer.signer.verifier)[writer.name]
    assert [record["seq"] for record in report.records] == list(range(10))
    assert [len(segment.frames) for segment in report.segments] == [3, 1]


@pytest.mark.parametrize("signing", Signing)
def test_the_forger_gets_everything_right_but_the_signature(directory, signing):
    writer = small_log()
    home = writer.write(directory)
    Forger(directory, writer.name).forge(lambda segments: segments[0][2]["request"].update(path="/orders/9"), signing)
    with pytest.raises((NoteError, AuditError)) as caught:
        audit_store(directory, writer.signer.verifier)
    assert caught.type is NoteError or "root" in str(caught.value)
    signed = (home / "checkpoints" / f"{0:010}").read_bytes()
    assert writer.name.encode() in signed


def test_the_reader_refuses_bytes_between_and_after_frames():
    data = small_log().segments[0].data
    assert len(read_segment(data).frames) == 3
    for broken in (data + b"\0", data[:-1], b"\0" + data):
        with pytest.raises(SegmentError):
            read_segment(broken)


def test_the_wal_reader_stops_at_the_first_group_that_is_not_whole():
    def group(first: int, *lines: bytes) -> bytes:
        body = struct.pack("<QI", first, len(lines)) + b"".join(line + b"\n" for line in lines)
        return struct.pack("<II", len(body), crc32c(body)) + body

    assert crc32c(b"123456789") == 0xE3069283
    first, second = group(0, b"a", b"b"), group(2, b"c")
    assert read_wal(first + second) == [b"a", b"b", b"c"]
    assert read_wal(first + second[:-1]) == [b"a", b"b"]
    assert read_wal(first + group(3, b"c")) == [b"a", b"b"]
    assert read_wal(first[:-1] + b"x" + second) == []


def test_counters_and_gaps_are_counted_again():
    log = LogWriter("audit.test/gw-1")
    key_id = log.signer.verifier.id.hex()
    begins = start(key_id) | {"ts": MOMENT}
    opened = {name: value for name, value in completed().items() if name not in ("upstream", "response", "end")}
    opened = opened | {"kind": "received", "boot": "5ea1ed00"}
    before = [record | {"boot": "5ea1ed00"} for record in (start(key_id), completed())] + [opened]
    unfinished, late = gap(1, "unfinished", MOMENT, MOMENT), gap(None, "crash", MOMENT, MOMENT)

    def wrong(*records: dict) -> list[str]:
        return wrong_accounts([*before, *(record | {"boot": "5ea1ed01"} for record in records)])

    assert wrong(begins, late, unfinished, completed(), heartbeat(1), stop(1)) == []
    assert len(wrong(begins, gap(2, "unfinished", MOMENT, MOMENT))) == 1
    assert len(wrong(begins, completed(), late)) == 1
    assert len(wrong(begins, unfinished, heartbeat(1))) == 1
    assert len(wrong(begins, gap(3, "ring_full", MOMENT, MOMENT), heartbeat(0, 2))) == 1
    assert len(wrong(begins, gap(3, "ring_full", MOMENT, MOMENT), stop(0, 4))) == 1
    assert wrong(begins, heartbeat(0, 2), heartbeat(0, 1))
