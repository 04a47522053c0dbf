"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL = 0.01


def wait_until(condition: Callable[[], T], what: str, timeout: float = 15.0) -> T:
    """The first truthy answer; fails with `what` when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL)
    return answer
