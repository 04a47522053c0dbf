"""A signature is not enough: what the gateway's own key signed is held against every rule of the format as well."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from harness.binaries import Outcome, sealaudit
from sealformat import samples
from sealformat.records import completed, gap, heartbeat, start, stop, stored
from sealformat.segment import Frame, index_frame, make_frames, read_segment
from sealformat.writer import LogWriter, timestamp
from test_forgeries import findings

LOG = "audit.test/gw-1"


def log_of(*records: dict, **more) -> LogWriter:
    """A log of one ordinary segment, and a second one of these records."""
    writer = LogWriter(LOG, **more)
    writer.segment([start(writer.signer.verifier.id.hex()), completed()])
    writer.segment([*records, stop(1 + sum(record["kind"] == "completed" for record in records))])
    return writer


def received(**more) -> dict:
    record = completed(**more)
    for name in ("upstream", "response", "end", "duration_us"):
        del record[name]
    return record | {"kind": "received"}


def log_after_a_crash(unfinished: int) -> LogWriter:
    """A boot that was killed while two requests were under way, and one that says so many were."""
    writer = LogWriter(LOG)
    first = received()
    writer.segment([start(writer.signer.verifier.id.hex()), first, received(), received()])
    writer.segment([completed(request_id=first["request_id"])])
    writer.boot = "5ea1ed01"
    began = timestamp(writer.now + 3 * writer.step)
    begins = start(writer.signer.verifier.id.hex(), unclean=True, last_durable_seq=writer.tree.end - 1) | {"ts": began}
    gaps = [gap(None, "crash", began, began), gap(unfinished, "unfinished", began, began)]
    writer.segment([begins, *gaps, stop(0)])
    return writer


def rewritten(change: Callable[[list[bytes]], object], compressor=None, per_frame: int | None = None) -> LogWriter:
    """Its second segment's lines changed before they were sealed and signed."""
    writer = log_of(completed("/a"), completed("/b"))
    lines = read_segment(writer.segments.pop().data).lines
    first = writer.segments.pop()
    writer.tree = type(writer.tree)()
    writer.seal(read_segment(first.data).frames)
    change(lines)
    writer.seal(make_frames(lines, per_frame, compressor or writer.compressor))
    return writer


def replaced(old: bytes, new: bytes, place: int = 1) -> LogWriter:
    def change(lines: list[bytes]) -> None:
        assert old in lines[place], lines[place]
        lines[place] = lines[place].replace(old, new, 1)

    return rewritten(change)


def with_index(change: Callable[[bytes], bytes]) -> LogWriter:
    """The last index says something else than the records do. No checkpoint speaks of it."""
    writer = samples.ordinary_log(LOG)
    last = writer.segments[-1]
    segment = read_segment(last.data)
    changed = change(segment.index)
    assert changed != segment.index
    last.data = b"".join(frame.compressed for frame in segment.frames) + index_frame(changed)
    return writer


def with_data(change: Callable[[bytes], bytes]) -> LogWriter:
    """The bytes before the last index changed, offsets and all, so that the index still points at frames."""
    writer = samples.ordinary_log(LOG)
    last = writer.segments[-1]
    segment = read_segment(last.data)
    data = b"".join(frame.compressed for frame in segment.frames)
    last.data = change(data) + index_frame(segment.index)
    return writer


def unchecked(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=False).compress(raw)


def wide_window(raw: bytes) -> bytes:
    """A frame whose decoder must keep 16 MiB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_checksum=True, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(raw) + compressor.flush()


def two_frames_as_one() -> LogWriter:
    """What the index calls one frame is two."""
    writer = LogWriter(LOG)
    lines = read_segment(samples.ordinary_log(LOG).segments[0].data).lines
    halves = make_frames(lines, 2)
    writer.seal([Frame(0, b"".join(half.compressed for half in halves), tuple(lines))])
    return writer


def too_large_a_frame() -> LogWriter:
    writer = LogWriter(LOG)
    requests = [completed("/" + "x" * 64_000) for _ in range(70)]
    writer.segment([start(writer.signer.verifier.id.hex()), *requests, stop(70)], lines_per_frame=100)
    return writer


def time_runs_backwards() -> LogWriter:
    writer = LogWriter(LOG)
    writer.segment([start(writer.signer.verifier.id.hex()), completed()])
    writer.now -= timedelta(minutes=5)
    writer.segment([completed(), stop(2)])
    return writer


def two_boots_in_a_segment() -> LogWriter:
    writer = LogWriter(LOG)
    writer.segment([start(writer.signer.verifier.id.hex()), completed(), dict(completed(), boot="0badb007"), stop(2)])
    return writer


def a_segment_of_another_date() -> LogWriter:
    writer = log_of(completed())
    writer.segments[-1].date = "2001-01-01"
    return writer


def a_checkpoint_of_another_size() -> LogWriter:
    writer = log_of(completed())
    writer.segments[0].tree_size, writer.segments[0].root = writer.segments[1].tree_size, writer.segments[1].root
    return writer


def a_segment_without_its_first_record() -> LogWriter:
    return rewritten(lambda lines: lines.__setitem__(0, lines[0].replace(b'"event":"segment"', b'"event":"heartbeat"')))


def a_day_that_no_month_has() -> LogWriter:
    def change(lines: list[bytes]) -> None:
        for place, line in enumerate(lines):
            begin = line.index(b'"ts":"') + 6
            lines[place] = line[: begin + 4] + b"-02-30" + line[begin + 10 :]

    return rewritten(change)


# What is wrong, how such a log is built, and the findings that may name it.
WRONGS: dict[str, tuple[Callable[[], LogWriter], set[str]]] = {
    "a seq is left out": (lambda: replaced(b'"seq":4', b'"seq":5'), {"changed", "missing", "reordered"}),
    "a seq is no integer": (lambda: replaced(b'"seq":4', b'"seq":4.0'), {"changed"}),
    "another version": (lambda: replaced(b'"v":1', b'"v":2'), {"changed"}),
    "an unknown kind": (lambda: replaced(b'"kind":"completed"', b'"kind":"forgotten"'), {"changed"}),
    "a space in the prefix": (lambda: replaced(b'"v":1,', b'"v":1, '), {"changed"}),
    "a time without its microseconds": (lambda: replaced(b'Z","boot"', b'","boot"'), {"changed"}),
    "a day that no month has": (a_day_that_no_month_has, {"changed"}),
    "a boot in capitals": (lambda: replaced(b'"boot":"5ea1ed00"', b'"boot":"5EA1ED00"'), {"changed"}),
    "a number that JSON has not": (lambda: replaced(b'"bytes":0', b'"bytes":NaN'), {"changed"}),
    "a record that does not end": (lambda: replaced(b'"config":"c0ffee00"}', b'"config":"c0ffee00"} '), {"changed"}),
    "bytes that are not UTF-8": (lambda: replaced(b"c0ffee00", b"\xc0\xaf"), {"changed"}),
    "a record too long": (lambda: log_of(completed("/" + "x" * 65_535)), {"changed"}),
    "a segment that begins otherwise": (a_segment_without_its_first_record, {"changed"}),
    "a segment that names another log": (
        lambda: replaced(b'"log":"audit.test/gw-1"', b'"log":"audit.test/gw-2"', 0),
        {"changed"},
    ),
    "a segment that has another number": (
        lambda: replaced(b'"segment":1', b'"segment":2', 0),
        {"changed", "reordered"},
    ),
    "a chain that is broken": (lambda: replaced(b'"prev_sha256":"', b'"prev_sha256":"0', 0), {"changed"}),
    "a chain to nothing": (lambda: log_of(dict(stored(0, "0" * 64))), {"changed"}),
    "frames without a checksum": (lambda: rewritten(lambda lines: None, unchecked), {"changed"}),
    "frames with too wide a window": (lambda: rewritten(lambda lines: None, wide_window), {"changed"}),
    "a frame beyond 4 MiB": (too_large_a_frame, {"changed"}),
    "two frames as one": (two_frames_as_one, {"changed"}),
    "a time that runs backwards": (time_runs_backwards, {"clock", "changed", "reordered"}),
    "two boots in one segment": (two_boots_in_a_segment, {"changed"}),
    "a segment of another date": (a_segment_of_another_date, {"changed", "inserted", "missing"}),
    "a checkpoint of another size": (a_checkpoint_of_another_size, {"changed"}),
    "counters that do not add up": (
        lambda: log_of(heartbeat(1) | {"counters": {"captured": 5, "durable": 1, "queued": 0, "lost": 0}}),
        {"accounting"},
    ),
    "counters of records that are not there": (lambda: log_of(completed(), heartbeat(9)), {"accounting"}),
    "counters that go back": (lambda: log_of(heartbeat(1, lost=3)), {"accounting"}),
    "a loss that was counted but not declared": (
        lambda: replaced(
            b'"captured":3,"durable":3,"queued":0,"lost":0', b'"captured":6,"durable":3,"queued":0,"lost":3', 3
        ),
        {"accounting"},
    ),
    "a loss that was declared but not counted": (
        lambda: log_of(gap(3, "ring_full", MOMENT, MOMENT), heartbeat(1)),
        {"accounting"},
    ),
    "an unfinished gap that counts one too few": (lambda: log_after_a_crash(1), {"accounting"}),
    "an unfinished gap that counts one too many": (lambda: log_after_a_crash(3), {"accounting"}),
    "a gap of a boot before that comes late": (
        lambda: log_of(completed(), gap(None, "crash", MOMENT, MOMENT)),
        {"accounting"},
    ),
    "a gap that ends before it begins": (
        lambda: log_of(gap(0, "ring_full", MOMENT, "1999" + MOMENT[4:])),
        {"clock"},
    ),
    "an index that hides a status": (
        lambda: with_index(lambda index: index.replace(b'"status":[200]', b'"status":[]')),
        {"changed"},
    ),
    "an index that hides a loss": (
        lambda: with_index(lambda index: index.replace(b'"lost":0', b'"lost":1')),
        {"changed"},
    ),
    "an index that gives no sets": (
        lambda: with_index(lambda index: index.replace(b'"kind":["completed","lifecycle"]', b'"kind":null')),
        {"changed"},
    ),
    "an index with a space": (lambda: with_index(lambda index: index.replace(b'"v":1,', b'"v":1, ')), {"changed"}),
    "an index of other times": (
        lambda: with_index(lambda index: index.replace(b'"max_ts":"20', b'"max_ts":"21')),
        {"changed"},
    ),
    "a skippable frame in front": (
        lambda: with_data(lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0hide" + data),
        {"changed"},
    ),
    "a skippable frame before the index": (
        lambda: with_data(lambda data: data + b"\x50\x2a\x4d\x18\x04\0\0\0hide"),
        {"changed"},
    ),
}
MOMENT = "2026-01-01T00:00:00.000000Z"


def verify(directory: Path, writer: LogWriter, *arguments: object) -> Outcome:
    writer.write(directory / "store")
    (directory / "keys.txt").write_text(f"{writer.signer.verifier}\n")
    return sealaudit("verify", directory / "store", "--keys", directory / "keys.txt", *arguments)


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_breaks_a_rule_is_found_although_it_is_signed(directory, wrong):
    build, kinds = WRONGS[wrong]
    outcome = verify(directory, build()).expect(1)
    assert {kind for kind, log, _ in findings(outcome) if log == LOG} & kinds, f"{sorted(kinds)}\n{outcome}"


def test_the_control_is_right(directory):
    """What the wrong ones are made from has nothing to be found."""
    verify(directory, rewritten(lambda lines: None)).expect(0)


def test_a_segment_compressed_anew_breaks_the_chain(directory):
    """Its records are the same, and so is its root; the next segment names the file that it was."""
    writer = samples.ordinary_log(LOG)
    middle = writer.segments[1]
    again = LogWriter(
        LOG, writer.signer, compressor=lambda raw: zstandard.ZstdCompressor(9, write_checksum=True).compress(raw)
    )
    again.seal(read_segment(writer.segments[0].data).frames)
    again.seal(make_frames(read_segment(middle.data).lines, 2, again.compressor))
    assert again.segments[1].root == middle.root and again.segments[1].data != middle.data
    middle.data = again.segments[1].data
    outcome = verify(directory, writer).expect(1)
    assert any(kind == "changed" and {1, 2} & set(segments) for kind, _, segments in findings(outcome)), outcome


def test_a_log_that_has_been_silent_for_too_long_is_stale(directory):
    verify(directory, samples.ordinary_log(LOG), "--max-age", "2h").expect(0)
    outcome = verify(directory, samples.ordinary_log(LOG), "--max-age", "10m").expect(1)
    assert [kind for kind, _, _ in findings(outcome)] == ["stale"], outcome


def test_a_log_that_was_expected_and_is_not_there_is_found(directory):
    (directory / "expected.txt").write_text(f"{LOG}\naudit.test/gone\n")
    outcome = verify(directory, samples.ordinary_log(LOG), "--expect-logs", directory / "expected.txt").expect(1)
    assert {(kind, log) for kind, log, _ in findings(outcome)} == {("absent_log", "audit.test/gone")}, outcome


def test_a_log_without_a_stop_is_open_only_while_it_may_be_alive(directory):
    writer = LogWriter(LOG)
    writer.segment([start(writer.signer.verifier.id.hex()), completed()])
    outcome = verify(directory / "silent", writer).expect(1)
    assert [kind for kind, _, _ in findings(outcome)] == ["open_end"], outcome
    alive = LogWriter(LOG, now=writer.now + timedelta(minutes=59))
    alive.segment([start(alive.signer.verifier.id.hex()), completed(ts=timestamp(alive.now))])
    verify(directory / "alive", alive).expect(0)


def test_a_gap_that_counts_what_a_crash_left_open_is_all_there_is_to_say_of_it(directory):
    outcome = verify(directory, log_after_a_crash(2)).expect(0)
    assert "open 0" in outcome.out and "2 requests were received and have no end (unfinished)" in outcome.out, outcome


def test_a_request_that_was_received_and_never_ended_is_a_notice(directory):
    writer = LogWriter(LOG)
    writer.segment([start(writer.signer.verifier.id.hex()), received(), completed(), stop(2)])
    outcome = verify(directory, writer).expect(0)
    assert "open 1" in outcome.out, outcome
    verify(directory, writer, "--fail-on", "open").expect(1)
