"""kill -9, over and over, on one spool and store: what is lost is declared, and the log verifies after each restart."""

import os
import random
from collections.abc import Iterator

import pytest

from harness.reckoning import PROMISES
from harness.rounds import Tally, play

ROUNDS, KILLS_PER_ROUND = 8, 26


@pytest.fixture(scope="module")
def tally(module_directory) -> Iterator[Tally]:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    # Shown where a test fails. It chooses the settings and the moments; what happens in them is the machine's.
    print(f"SEED={seed}")
    tally = play(module_directory, iter([KILLS_PER_ROUND] * ROUNDS), seed)
    print(f"{tally.kills} kills, {tally.seen} requests seen by upstreams", *tally.rounds, sep="\n")
    yield tally


def test_the_gateways_were_killed_often_and_under_load(tally):
    assert tally.kills >= 200
    assert tally.seen > 20 * tally.kills


@pytest.mark.parametrize("promise", PROMISES)
def test_after_all_kills(tally, promise):
    breaches = tally.broken[promise]
    assert not breaches, f"{len(breaches)} times not so: {promise}\n" + "\n".join(breaches[:20])
