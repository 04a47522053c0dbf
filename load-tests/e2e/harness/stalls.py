"""What the machine itself keeps waiting: a process that does nothing but append, sync and sleep, beside the gateways.

Run as a program, it prints when each turn began that took long, and how long it took, in microseconds.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PAUSE_US = 10_000
# A disk and a scheduler at work take as long as that.
WORTH_TELLING_US = 4_000


@dataclass(frozen=True)
class Stall:
    begin: int
    took: int


class Stalls:
    """The stalls of the file system that holds `directory`, and of the processors, for as long as the block lasts."""

    def __init__(self, directory: Path):
        self.file, self.said = directory / "stalls.probe", directory / "stalls.txt"

    def __enter__(self) -> "Stalls":
        with self.said.open("wb") as said:
            self.process = subprocess.Popen([sys.executable, __file__, self.file], stdout=said)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def longest(self, begin: int, end: int) -> int:
        """The longest of those that were under way between two moments, in microseconds."""
        lines = (line.split() for line in self.said.read_text().splitlines())
        told = (Stall(int(line[0]), int(line[1])) for line in lines if len(line) == 2)
        return max((one.took for one in told if one.begin < end and one.begin + one.took > begin), default=0)


def probe(path: Path) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while True:
        begin = time.time_ns() // 1000
        os.write(file, b"x" * 64)
        os.fdatasync(file)
        time.sleep(PAUSE_US / 1_000_000)
        took = time.time_ns() // 1000 - begin - PAUSE_US
        if took > WORTH_TELLING_US:
            print(begin, took, flush=True)


if __name__ == "__main__":
    probe(Path(sys.argv[1]))
