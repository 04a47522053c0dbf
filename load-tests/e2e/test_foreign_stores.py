"""`sealaudit verify` accepts every right store, whoever wrote it: these come from the tests' own writer."""

import json
from pathlib import Path

import pytest
import zstandard

from harness.binaries import sealaudit
from sealformat import samples
from sealformat.audit import audit_store
from sealformat.records import completed, start, stop
from sealformat.writer import LogWriter

SHAPES = {
    "three segments of several frames": samples.ordinary_log,
    "two boots, the first one killed": samples.unclean_log,
    "a declared loss": samples.lossy_log,
    "unicode and control characters": samples.unicode_log,
    "more distinct values than an index keeps": samples.wide_log,
    "exactly as many distinct values as an index keeps": lambda: samples.wide_log(values=1024),
    "segments of a single record": samples.lonely_log,
    "records of the largest size": samples.large_log,
    "a name with many parts": lambda: samples.ordinary_log("audit.test/eu-1/edge_a/gw.7"),
}


def streamed(raw: bytes) -> bytes:
    """A frame that does not say how long its content is, in several blocks."""
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=False).compressobj()
    half = len(raw) // 2
    return (
        compressor.compress(raw[:half])
        + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        + compressor.compress(raw[half:])
        + compressor.flush()
    )


def keys_file(directory: Path, *writers: LogWriter) -> Path:
    path = directory / "keys.txt"
    path.write_text("# trusted keys\n\n" + "".join(f"{writer.signer.verifier}\n" for writer in writers))
    return path


def write_and_verify(directory: Path, *writers: LogWriter):
    for writer in writers:
        writer.write(directory / "store")
    audit_store(directory / "store", *(writer.signer.verifier for writer in writers))
    return sealaudit("verify", directory / "store", "--keys", keys_file(directory, *writers))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_right_store_verifies_whatever_its_shape(directory, shape):
    writer = SHAPES[shape]()
    outcome = write_and_verify(directory, writer).expect(0)
    assert (
        f"log {writer.name}: segments {len(writer.segments)}/{len(writer.segments)}  records {writer.tree.end}  "
        in outcome.out
    ), outcome
    assert "store directory (not write-once)" in outcome.out and "root ok" in outcome.out, outcome
    assert "OK: 1 log, 0 findings" in outcome.out, outcome


@pytest.mark.parametrize(
    "compressor",
    [streamed, lambda raw: zstandard.ZstdCompressor(level=19, write_checksum=True).compress(raw)],
    ids=["streamed", "level 19"],
)
def test_any_zstd_encoder_within_the_rules_will_do(directory, compressor):
    writer = LogWriter("audit.test/gw-1", compressor=compressor)
    writer.segment(
        [start(writer.signer.verifier.id.hex()), *(completed(f"/orders/{n}") for n in range(100)), stop(100)],
        lines_per_frame=40,
    )
    write_and_verify(directory, writer).expect(0)


def test_several_logs_verify_together_each_with_its_own_key(directory):
    writers = [samples.ordinary_log(f"audit.test/gw-{number}") for number in range(3)]
    outcome = write_and_verify(directory, *writers).expect(0)
    assert "OK: 3 logs, 0 findings" in outcome.out, outcome


def test_a_gap_is_a_notice_unless_fail_on_names_it(directory):
    writer = samples.lossy_log()
    outcome = write_and_verify(directory, writer).expect(0)
    assert "declared lost 17" in outcome.out, outcome
    sealaudit("verify", directory / "store", "--keys", directory / "keys.txt", "--fail-on", "gap").expect(1)


def test_verify_says_json_when_asked(directory):
    write_and_verify(directory, samples.ordinary_log()).expect(0)
    outcome = sealaudit("verify", directory / "store", "--keys", directory / "keys.txt", "--format", "json").expect(0)
    json.loads(outcome.out)
