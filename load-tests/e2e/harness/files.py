"""Files that a gateway reads are replaced whole; those of a store are immutable where privileges allow: undone here."""

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


def replace(file: Path, data: str | bytes) -> None:
    """Gives a file other contents by rename: nobody can read half of them."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(data.encode() if isinstance(data, str) else data)
    if file.exists():
        new.chmod(file.stat().st_mode & 0o777)
    new.rename(file)
