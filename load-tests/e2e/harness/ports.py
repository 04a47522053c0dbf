"""Loopback ports."""

import itertools
import os
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Not from the same place in every process: test runs go on side by side.
_next = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def steady_port() -> int:
    """A free port that stays free while its server is dead.

    The system gives outgoing connections ports of a range of their own; a client that calls a dead server on one of
    those may be given that very port, and is then connected to itself.
    """
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for number in itertools.islice(_next, 10000):
        port = 10000 + number % (first_outgoing - 10000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
