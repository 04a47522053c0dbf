"""An attacker who can write everything but has not the key: every edit is found, and its place is named."""

import copy
import re
from collections.abc import Callable

import pytest

from harness.binaries import Outcome, sealaudit
from sealformat import samples
from sealformat.forgery import Forger, Records, Signing
from sealformat.records import completed, gap

LOG = "audit.test/gw-1"
FINDING = re.compile(r"^FINDING (\w+) log ([^\s:]+)(?: segment (\d+)(?:\.\.(\d+))?)?", re.MULTILINE)


def edit_a_path(segments: Records) -> None:
    segments[1][2]["request"]["path"] = "/users/7"


def edit_a_status(segments: Records) -> None:
    segments[1][2]["response"]["status"] = 200


def edit_a_source(segments: Records) -> None:
    segments[1][2]["source"]["ip"] = "192.0.2.1"


def edit_a_time(segments: Records) -> None:
    segments[1][2]["ts"] = segments[1][3]["ts"]


def edit_the_first_record(segments: Records) -> None:
    segments[1][0]["ts"] = segments[0][0]["ts"]


def drop_a_record(segments: Records) -> None:
    del segments[1][2]


def drop_the_last_record_of_a_segment(segments: Records) -> None:
    del segments[1][-1]


def drop_all_but_the_first_two(segments: Records) -> None:
    del segments[1][2:]


def insert_a_record(segments: Records) -> None:
    segments[1].insert(
        2, dict(completed("/users/8"), v=1, ts=segments[1][2]["ts"], boot=segments[1][2]["boot"]) | {"seq": 0}
    )
    segments[1][2] = in_order(segments[1][2])


def insert_a_gap(segments: Records) -> None:
    victim = segments[1][2]
    segments[1][2] = in_order(
        gap(1, "ring_full", victim["ts"], victim["ts"]) | {"seq": 0, "v": 1, "ts": victim["ts"], "boot": victim["boot"]}
    )


def repeat_a_record(segments: Records) -> None:
    segments[1].insert(3, copy.deepcopy(segments[1][2]))


def swap_two_records(segments: Records) -> None:
    segments[1][2], segments[1][3] = segments[1][3], segments[1][2]


def move_a_record_to_the_next_segment(segments: Records) -> None:
    segments[2].insert(1, segments[1].pop())


def cut_a_value_short(segments: Records) -> None:
    segments[1][2]["request"]["path"] = "/"


def remove_a_segment_and_close_the_ranks(segments: Records) -> None:
    del segments[1]


def split_a_segment(segments: Records) -> None:
    head = copy.deepcopy(segments[1][0])
    segments.insert(2, [head, *segments[1][2:]])
    del segments[1][2:]


def in_order(record: dict) -> dict:
    """The common prefix first, as the format wants it."""
    prefix = ("seq", "v", "kind", "ts", "boot", "request_id")
    return {name: record[name] for name in prefix if name in record} | record


# Each of them first touches segment 1.
EDITS: list[Callable[[Records], None]] = [
    edit_a_path,
    edit_a_status,
    edit_a_source,
    edit_a_time,
    edit_the_first_record,
    drop_a_record,
    drop_the_last_record_of_a_segment,
    drop_all_but_the_first_two,
    insert_a_record,
    insert_a_gap,
    repeat_a_record,
    swap_two_records,
    move_a_record_to_the_next_segment,
    cut_a_value_short,
    remove_a_segment_and_close_the_ranks,
    split_a_segment,
]


def findings(outcome: Outcome) -> list[tuple[str, str, range]]:
    """Kind, log and segments of each finding."""
    return [
        (kind, log, range(int(first or 0), int(last or first or -1) + 1))
        for kind, log, first, last in FINDING.findall(outcome.out)
    ]


@pytest.fixture
def store(directory):
    """A log, its neighbour that nobody touches, and the auditor's keys for both."""
    writers = [samples.ordinary_log(LOG), samples.ordinary_log("audit.test/neighbour")]
    for writer in writers:
        writer.write(directory / "store")
    (directory / "keys.txt").write_text("".join(f"{writer.signer.verifier}\n" for writer in writers))
    return directory / "store"


def verify(store, *arguments: object) -> Outcome:
    return sealaudit("verify", store, "--keys", store.parent / "keys.txt", *arguments)


@pytest.mark.parametrize("signing", Signing, ids=lambda signing: signing.value)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__.replace("_", " "))
def test_a_rebuilt_log_is_found_out_and_its_segment_named(store, edit, signing):
    verify(store).expect(0)
    Forger(store, LOG).forge(edit, signing)
    outcome = verify(store).expect(1)
    assert "FAILED: 2 logs" in outcome.out, outcome
    found = findings(outcome)
    assert found and {log for _, log, _ in found} == {LOG}, f"the forged log, and only that, is expected\n{outcome}"
    assert any(1 in segments for _, _, segments in found), f"segment 1 is expected by name\n{outcome}"


@pytest.mark.parametrize("signing", Signing, ids=lambda signing: signing.value)
def test_rebuilding_without_an_edit_changes_nothing_that_is_signed(store, signing):
    """The control: the forger's own rebuilding is right, so that what is found above is the edit."""
    Forger(store, LOG).forge(lambda segments: None, signing)
    keeps_the_signatures = signing in (Signing.LEFT_AS_THEY_WERE, Signing.ROOT_REPLACED_UNDER_THE_OLD_SIGNATURE)
    verify(store).expect(0 if keeps_the_signatures else 1)


def test_a_tail_cut_off_is_a_rollback_to_an_auditor_who_kept_a_state(store):
    state = store.parent / "state.json"
    verify(store, "--state", state).expect(0)
    home = store / LOG
    for path in [*home.rglob(f"{2:010}.ndjson.zst"), home / "checkpoints" / f"{2:010}"]:
        path.unlink()
    outcome = verify(store, "--state", state).expect(1)
    assert ("rollback", LOG) in {(kind, log) for kind, log, _ in findings(outcome)}, outcome


def test_a_tail_cut_off_leaves_an_open_end(store):
    """The last segment held the `stop`."""
    home = store / LOG
    for path in [*home.rglob(f"{2:010}.ndjson.zst"), home / "checkpoints" / f"{2:010}"]:
        path.unlink()
    outcome = verify(store).expect(1)
    assert ("open_end", LOG) in {(kind, log) for kind, log, _ in findings(outcome)}, outcome


def test_a_state_proves_the_new_from_the_old(directory):
    writer = samples.lonely_log()
    last = writer.segments.pop()
    writer.write(directory / "store")
    (directory / "keys.txt").write_text(f"{writer.signer.verifier}\n")
    verify(directory / "store", "--state", directory / "state.json")
    writer.segments.append(last)
    writer.write(directory / "store")
    verify(directory / "store", "--state", directory / "state.json").expect(0)
    verify(directory / "store", "--state", directory / "state.json").expect(0)
