"""Rounds of kills, a few at a time side by side: what the tests play, and `make soak` for longer."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .files import remove
from .killing import Killer, Setting
from .reckoning import reckon
from .stalls import Stalls

# Rounds at once: a gateway is dead or starting for much of its life, and leaves the processors to the other.
LANES = 2
DURABILITIES = ["buffered", "strict", "buffered", "best_effort"]


@dataclass
class Tally:
    """What became of the rounds so far. A round whose log breaks a promise leaves its directory where it is."""

    kills: int = 0
    seen: int = 0
    rounds: list[str] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)


def play(directory: Path, kills: Iterator[int], seed: int, each: Callable[[Tally], None] = lambda tally: None) -> Tally:
    """Plays a round of so many kills for each of `kills`. `each` is called after every kill."""
    tally = Tally()
    rounds = zip(itertools.count(), itertools.cycle(DURABILITIES), kills)

    async def lane() -> None:
        for number, durability, count in rounds:
            # Its own, so that a round chooses the same whatever happens in the other lane.
            rng = random.Random(f"{seed}-{number}")
            home = directory / f"round-{number}"

            def killed() -> None:
                tally.kills += 1
                each(tally)

            account = await Killer(home, Setting.choose(durability, rng), count, rng, killed).run()
            records = (await asyncio.to_thread(account.gateway.audited)).records
            found = await asyncio.to_thread(reckon, account, records, stalls)
            tally.seen += len(account.seen)
            tally.rounds.append(f"round {number}: {account}, {len(records)} records")
            for promise, breaches in found.items():
                tally.broken.setdefault(promise, []).extend(f"round {number}: {breach}" for breach in breaches)
            if not any(found.values()):
                await asyncio.to_thread(remove, home)

    async def lanes() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LANES):
                tasks.create_task(lane())

    with Stalls(directory) as stalls:
        asyncio.run(lanes())
    return tally
