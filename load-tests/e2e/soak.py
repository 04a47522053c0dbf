"""`make soak`: the kills of test_kills.py, for as long as one likes. Exit code 1 where a promise did not hold."""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness.rounds import Tally, play

KILLS_PER_ROUND = 50


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=1000)
    options.add_argument("--minutes", type=float, default=20, help="no new round begins after so long")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = options.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sealgate-soak-"))
    begin = time.monotonic()
    print(f"seed {chosen.seed}; rounds of {KILLS_PER_ROUND} kills in {directory}", flush=True)

    def rounds():
        for played in itertools.count(step=KILLS_PER_ROUND):
            if played >= chosen.kills or time.monotonic() - begin > chosen.minutes * 60:
                return
            yield min(KILLS_PER_ROUND, chosen.kills - played)

    def progress(tally: Tally) -> None:
        if sys.stdout.isatty() or tally.kills % KILLS_PER_ROUND == 0:
            text = f"{tally.kills}/{chosen.kills} kills, {tally.seen} requests judged, {time.monotonic() - begin:.0f} s"
            print(f"\r{text}" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)

    tally = play(directory, rounds(), chosen.seed, progress)
    print()
    breaches = 0
    for promise, found in tally.broken.items():
        print(f"{'FAILED' if found else 'ok':6} {promise}")
        breaches += len(found)
        for breach in found[:10]:
            print(f"       {breach}")
    late = "" if tally.kills >= chosen.kills else f" (of {chosen.kills}: the time was over)"
    print(f"{tally.kills} kills{late}, {tally.seen} requests reached an upstream, {breaches} breaches")
    if breaches:
        print(f"seed {chosen.seed}; what was found is in {directory}")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
