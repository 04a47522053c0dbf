"""A request id is found by the indexes: of the segments themselves, two frames at most are read."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.binaries import binary, sealaudit
from sealformat.records import completed, start, stop, uuid7
from sealformat.writer import LogWriter

SEGMENTS = 200
FRAMES, RECORDS_PER_FRAME = 3, 8
TAIL = 256 * 1024
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
READ = re.compile(
    r"^(?:\[pid +\d+\] |\d+ +)?(?:read|pread64|preadv|readv)\(\d+<([^>]*\.ndjson\.zst)>.* = (\d+)$", re.MULTILINE
)


class Haystack:
    """A log whose segments are larger than what is read of their ends, and the id of one request in it."""

    def __init__(self, directory: Path):
        self.store = directory / "store"
        writer = LogWriter("audit.test/gw-1", now=BEGIN, step=timedelta(seconds=1))
        self.wanted = ""
        for number in range(SEGMENTS):
            records = [
                self.request(writer.now + timedelta(seconds=place)) for place in range(FRAMES * RECORDS_PER_FRAME - 1)
            ]
            if number == 0:
                records.insert(0, start(writer.signer.verifier.id.hex()))
            if number == SEGMENTS - 1:
                records.append(stop(SEGMENTS * (FRAMES * RECORDS_PER_FRAME - 1)))
            if number == SEGMENTS // 2:
                self.wanted = records[5]["request_id"]
            writer.segment(records, RECORDS_PER_FRAME)
        writer.write(self.store)
        self.bytes = sum(len(sealed.data) for sealed in writer.segments)

    @staticmethod
    def request(moment: datetime) -> dict:
        return completed("/" + os.urandom(20_000).hex(), request_id=uuid7(int(moment.timestamp() * 1000)))


@pytest.fixture(scope="module")
def haystack(module_directory) -> Iterator[Haystack]:
    yield Haystack(module_directory)


def test_by_its_own_figures_a_search_reads_two_frames_at_most(haystack):
    outcome = sealaudit("search", haystack.store, "--request-id", haystack.wanted, "--stats").expect(0)
    assert [row["request_id"] for row in outcome.rows] == [haystack.wanted]
    frames = re.search(r"frames(?: read)?:?\s+(\d+)|(\d+)(?:/\d+)? frames", outcome.err)
    assert frames, f"the number of frames is expected on standard error\n{outcome.err}"
    assert 1 <= int(frames[1] or frames[2]) <= 2, outcome.err


def test_by_the_kernels_figures_a_search_reads_indexes_and_two_frames_at_most(haystack, directory):
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed, and load-tests/setup.sh could not install it")
    trace = directory / "trace"
    command = [
        strace,
        "-f",
        "-y",
        "-e",
        "trace=read,pread64,readv,preadv,mmap",
        "-o",
        trace,
        binary("sealaudit"),
        "search",
        haystack.store,
        "--request-id",
        haystack.wanted,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and haystack.wanted in done.stdout, done.stderr
    text = trace.read_text()
    assert not re.search(r"mmap\(.*\.ndjson\.zst", text), "a mapped file is read without a trace"
    read = sum(int(size) for _, size in READ.findall(text))
    indexes, frames = SEGMENTS * TAIL, 2 * haystack.bytes // (SEGMENTS * FRAMES) + TAIL
    assert 0 < read <= indexes + frames, f"{read} bytes of {haystack.bytes} were read"
    assert indexes + frames < haystack.bytes, "the log is too small to tell"
