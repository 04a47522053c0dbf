"""A store makes its files immutable where privileges allow: undone here, as root could."""

import shutil
import subprocess
from pathlib import Path


def make_mutable(directory: Path) -> None:
    subprocess.run(["chattr", "-R", "-i", str(directory)], capture_output=True, check=False)


def remove(directory: Path) -> None:
    make_mutable(directory)
    shutil.rmtree(directory, ignore_errors=True)


def mutable_copy(source: Path, target: Path) -> Path:
    """A copy that an attacker may do anything to."""
    shutil.copytree(source, target)
    make_mutable(target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target
