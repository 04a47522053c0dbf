"""Load generators, each of which keeps its own list of what it sent and what it got."""

import itertools
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .conditions import wait_until
from .ports import LOOPBACK
from .upstream import Upstream
from .wire import Client, request_bytes

SCRIPT = Path(__file__).with_name("tagged.lua")
# Long enough for what is in flight when the script sends no more.
SETTLE = 3


@dataclass(frozen=True)
class Exchange:
    """What a generator knows of one request. Without an answer it has neither status nor request id."""

    target: str
    status: int | None = None
    request_id: str | None = None

    @property
    def tag(self) -> str:
        return tag(self.target)


def tag(target: str) -> str:
    """The id that a generator put at the end of a path."""
    return target.partition("?")[0].rsplit("/", 1)[-1]


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed: load-tests/setup.sh e2e installs it"
    return found


@dataclass
class Wrk:
    """A run of wrk: what it sent, what it got, and the counts that it printed itself."""

    sent: list[str]
    got: list[tuple[str, int]]
    counts: Counter

    @classmethod
    def run(cls, port: int, directory: Path, seconds: int, paths: list[str], connections: int = 16) -> "Wrk":
        """For so many seconds, without a single connection that broke."""
        with RunningWrk(port, directory, seconds, paths, connections) as running:
            wrk = running.finish(timeout=seconds + 60)
        assert "Socket errors" not in running.said, f"wrk failed:\n{running.said}"
        return wrk


class RunningWrk:
    """wrk at work; however the block ends, it does not live on."""

    def __init__(self, port: int, directory: Path, seconds: int, paths: list[str], connections: int):
        directory.mkdir()
        self.directory = directory
        self.said = ""
        command = [tool("wrk"), "-t2", f"-c{connections}", f"-d{seconds + SETTLE}s", "-s", SCRIPT]
        self.process = subprocess.Popen(
            [*command, f"http://{LOOPBACK}:{port}", "--", directory, str(seconds), *paths],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "RunningWrk":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> Wrk:
        """Ends it before its time; what it has got so far."""
        self.process.send_signal(signal.SIGINT)
        return self.finish(timeout=30)

    def finish(self, timeout: float) -> Wrk:
        self.said, _ = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"wrk failed:\n{self.said}"
        sent = [line for file in self.directory.glob("*.sent") for line in file.read_text().splitlines()]
        got = [line.split(" ") for file in self.directory.glob("*.got") for line in file.read_text().splitlines()]
        answered = re.findall(r"^answered (\d+) (\d+)$", self.said, re.MULTILINE)
        counts = Counter({int(status): int(count) for status, count in answered})
        return Wrk(sent, [(request_id, int(status)) for request_id, status in got], counts)


def curl(port: int, directory: Path, requests: list[tuple[str, bytes | None]]) -> list[Exchange]:
    """Sends GETs, and POSTs where there is a body, eight at a time."""
    blocks = []
    for place, (target, body) in enumerate(requests):
        options = [f'url = "http://{LOOPBACK}:{port}{target}"', 'output = "/dev/null"', "path-as-is", "max-time = 20"]
        options.append(f'write-out = "{target} %{{http_code}} %header{{x-request-id}}\\n"')
        if body is not None:
            file = directory / f"body-{place}"
            file.write_bytes(body)
            options += [f'data-binary = "@{file}"', 'header = "Expect:"']
        blocks.append("\n".join(options))
    config = directory / "curl.config"
    config.write_text("\nnext\n".join(blocks))
    command = [tool("curl"), "--no-progress-meter", "--parallel", "--parallel-max", "8", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    rows = [line.split(" ") for line in done.stdout.splitlines()]
    assert len(rows) == len(requests), f"curl answered {len(rows)} of {len(requests)}:\n{done.stderr}"
    return [Exchange(target, int(status), request_id) for target, status, request_id in rows]


class Aborter:
    """A client that goes away: with FIN or RST, before, within and after what it has to say."""

    def __init__(self, port: int, upstream: Upstream):
        self.port, self.upstream = port, upstream
        self.exchanges: list[Exchange] = []
        self.half_heads: list[int] = []
        self._serial = itertools.count()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        deeds = itertools.cycle(
            [
                self.leave_before_the_answer,
                self.leave_within_the_answer,
                self.leave_within_the_upload,
                self.leave_within_the_head,
            ]
        )
        for way in itertools.cycle([Client.close, Client.reset]):
            if time.monotonic() > deadline:
                return
            for _ in range(4):
                next(deeds)(way)

    def leave_before_the_answer(self, leave) -> None:
        target = f"/aborted/after/100/a{next(self._serial)}"
        self._send_and_arrive(target, request_bytes(target), leave)

    def leave_within_the_answer(self, leave) -> None:
        target = f"/aborted/bytes/5000000/a{next(self._serial)}"
        self._send_and_arrive(target, request_bytes(target), lambda client: (client.reader.head(), leave(client)))

    def leave_within_the_upload(self, leave) -> None:
        target = f"/aborted/a{next(self._serial)}"
        head = request_bytes(target, "POST", {"Content-Length": "50000"})
        self._send_and_arrive(target, head + b"x" * 25000, leave)

    def leave_within_the_head(self, leave) -> None:
        client = Client(self.port)
        self.half_heads.append(client.source_port)
        client.send(b"GET /aborted/head HTTP/1.1\r\nHost: api")
        leave(client)

    def _send_and_arrive(self, target: str, data: bytes, then) -> None:
        """Goes on only when the upstream has the request: what becomes of it is then no race."""
        self.exchanges.append(Exchange(target))
        client = Client(self.port)
        client.send(data)
        wait_until(lambda: tag(target) in self.upstream.tags, f"{target} arrives at the upstream")
        then(client)
