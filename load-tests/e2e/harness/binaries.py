"""The binaries under test: `target/debug/`, unless SEALGATE or SEALAUDIT name others."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 120


def binary(name: str) -> Path:
    path = Path(os.environ.get(name.upper(), ROOT / "target" / "debug" / name))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: build it with `cargo build`, or set {name.upper()}")
    return path


@dataclass(frozen=True)
class Outcome:
    """What a command did. It prints itself whole when an assertion on it fails."""

    command: str
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\nexit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def rows(self) -> list[dict]:
        """Standard output as NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    def expect(self, code: int) -> "Outcome":
        assert self.code == code, f"exit {code} expected\n{self}"
        return self


def run(
    program: Path | str,
    *arguments: object,
    cwd: Path | None = None,
    stdin: str = "",
    environment: dict[str, str] | None = None,
) -> Outcome:
    words = [str(program), *map(str, arguments)]
    done = subprocess.run(
        words,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=os.environ | (environment or {}),
    )
    return Outcome(" ".join(words), done.returncode, done.stdout, done.stderr)


def sealgate(*arguments: object, **options) -> Outcome:
    return run(binary("sealgate"), *arguments, **options)


def sealaudit(*arguments: object, **options) -> Outcome:
    return run(binary("sealaudit"), *arguments, **options)
