"""Small file systems of a test's own. Mounting needs root, or a user namespace (test.sh enters one where it can)."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .files import make_mutable

CHUNK = 1 << 16


def mount(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)


def unmount(path: Path) -> None:
    """At once, whoever still works in it: they keep it until they let go."""
    subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)


def why_not() -> str | None:
    """Why nothing can be mounted here, if so."""
    probe = Path(tempfile.mkdtemp())
    try:
        done = mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", probe)
        if done.returncode == 0:
            unmount(probe)
            return None
        return done.stderr.strip()
    finally:
        shutil.rmtree(probe, ignore_errors=True)


WHY_NOT = why_not()
needs_mounts = pytest.mark.skipif(
    WHY_NOT is not None, reason=f"NOT TESTED: full and vanished file systems; nothing can be mounted here ({WHY_NOT})"
)


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size in memory, mounted on `path`."""
    path.mkdir(parents=True, exist_ok=True)
    done = mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", path)
    assert done.returncode == 0, done.stderr
    try:
        yield path
    finally:
        make_mutable(path)
        unmount(path)


@contextmanager
def bound(source: Path, path: Path, *options: str) -> Iterator[Path]:
    """`source`, also seen at `path`; what `path` held is hidden meanwhile."""
    path.mkdir(parents=True, exist_ok=True)
    done = mount("--bind", source, path)
    assert done.returncode == 0, done.stderr
    try:
        for option in options:
            done = mount("-o", f"remount,bind,{option}", path)
            assert done.returncode == 0, done.stderr
        yield path
    finally:
        unmount(path)


class Ballast:
    """A file that takes all the room that is left in a directory's file system."""

    def __init__(self, directory: Path):
        self.path = directory / "ballast"

    def fill(self) -> None:
        """To the last byte, and again where somebody else has freed some."""
        with self.path.open("ab", buffering=0) as file:
            for size in (CHUNK, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self.path.unlink()
