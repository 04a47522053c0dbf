"""Runs the terminal sessions that a document shows, and holds what comes out against what is shown.

A session is a fenced block marked `console`: a line that begins with `$ ` is typed (a backslash at its end goes on in
the next line), the lines below are its output. All blocks share one directory and one environment; each has a shell of
its own, as a reader would have terminals. What differs from run to run is masked on both sides.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .conditions import wait_until

FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Commands that go on while the reader types elsewhere.
SERVER = re.compile(r"^(sealgate (proxy|run)|python3 -m http\.server)\b|&$")
END = "end-of-command"

# In this order: an id holds what could be taken for a hash or for days.
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]*…"
MASKS = [
    (re.compile(ID), "<id>"),
    (re.compile(r"\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+"), "<key>"),
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{4,63}…|\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "<hash>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"date=\d{4}-\d\d-\d\d"), "date=<date>"),
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?\b"), "<time>"),
    (re.compile(r"\b(\d+(\.\d+)?(ns|µs|us|ms|s|m|h|d))+\b( ago)?"), "<duration>"),
    (re.compile(r"\b\d+\.\d{3}\b"), "<ms>"),
    (re.compile(r"_us\":\d+"), '_us":<n>'),
    (re.compile(r"(127\.0\.0\.1|localhost):[3-6]\d{4}\b"), r"\1:<port>"),
    (re.compile(r"\"port\":\d+"), '"port":<port>'),
    (re.compile(r"\b\d+(\.\d+)? ?([KMG]i?)?B\b"), "<bytes>"),
    (re.compile(r"^\[\d+\] \d+$", re.MULTILINE), "[job]"),
    (re.compile(r"[─━═-]{3,}"), "---"),
    (re.compile(r"[ \t]+"), " "),
]


def masked(text: str) -> list[str]:
    """The lines without what differs from run to run; blank lines and the spaces at the ends do not count."""
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


@dataclass
class Step:
    command: str
    expected: str

    @property
    def is_server(self) -> bool:
        return bool(SERVER.search(self.command))


def sessions(document: str) -> list[list[Step]]:
    return [list(steps(block)) for block in FENCE.findall(document)]


def steps(block: str) -> Iterator[Step]:
    command, expected, goes_on = "", [], False
    for line in block.splitlines():
        if goes_on:
            command += "\n" + line
        elif line.startswith("$ "):
            if command:
                yield Step(command, "\n".join(expected))
            command, expected = line[2:], []
        else:
            expected.append(line)
        goes_on = line.endswith("\\") and (goes_on or line.startswith("$ "))
    if command:
        yield Step(command, "\n".join(expected))


@dataclass
class Terminal:
    """A shell; everything that it and its children print, in order."""

    directory: Path
    environment: dict[str, str]
    printed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.shell.stdout:
            self.printed.append(line)

    def type(self, step: Step) -> str:
        """Types a command and gives what it printed, up to its end; of a server, up to what it is expected to say."""
        begin = len(self.printed)
        self.shell.stdin.write(f"{step.command}\necho {END}\n")
        self.shell.stdin.flush()

        def output() -> str:
            return "".join(line for line in self.printed[begin:] if line != f"{END}\n")

        def is_over() -> bool:
            ended = f"{END}\n" in self.printed[begin:]
            speaks = step.is_server and step.expected.strip()
            return masked(output()) == masked(step.expected) if speaks else ended

        try:
            wait_until(is_over, f"the end of `{step.command}`", timeout=30)
        except AssertionError as late:
            raise AssertionError(f"{late}\nshown:\n{step.expected}\nprinted:\n{output()}") from late
        return output()

    def close(self) -> None:
        """Ends the shell and all that it started."""
        try:
            os.killpg(self.shell.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        self.shell.wait()
