"""The README is true: every command of its sessions is run, every output compared."""

import os

import pytest

from harness.binaries import ROOT, binary
from harness.transcript import Terminal, masked, sessions, steps

README = ROOT / "README.md"


def test_a_session_is_read_as_it_was_typed():
    block = "$ one\nsays 1\n$ two \\\n    more\n$ three\n\nsays 3\n"
    assert [(step.command, step.expected) for step in steps(block)] == [
        ("one", "says 1"),
        ("two \\\n    more", ""),
        ("three", "\nsays 3"),
    ]


def test_masking_hides_what_differs_and_nothing_else():
    line = (
        "2026-11-24T09:12:03.123456Z GET /orders/42 200 0199c3f2-7a60-7000-8000-00000000cafe 1.2ms from 127.0.0.1:41234"
    )
    assert masked(line) == ["<time> GET /orders/42 200 <id> <duration> from 127.0.0.1:<port>"]
    assert masked("127.0.0.1:8080 records 12  findings 0") == ["127.0.0.1:8080 records 12 findings 0"]


@pytest.fixture
def terminals(directory):
    opened: list[Terminal] = []

    def open_terminal() -> Terminal:
        folders = {str(binary(name).parent) for name in ("sealgate", "sealaudit")}
        path = ":".join([*folders, os.environ["PATH"]])
        environment = {"PATH": path, "HOME": str(directory), "LANG": "C.UTF-8", "TERM": "dumb"}
        opened.append(Terminal(directory, environment))
        return opened[-1]

    yield open_terminal
    for terminal in reversed(opened):
        terminal.close()


def test_every_command_of_the_opening_screen_prints_what_is_shown(terminals):
    screens = [
        screen
        for screen in sessions(README.read_text())
        if not any(step.command.startswith(("make", "cargo", "git")) for step in screen)
    ]
    assert screens, "README.md shows no session"
    for screen in screens:
        terminal = terminals()
        for step in screen:
            printed = terminal.type(step)
            assert masked(printed) == masked(step.expected), (
                f"$ {step.command}\nprinted:\n{printed}\nREADME.md shows:\n{step.expected}"
            )
