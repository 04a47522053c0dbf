"""A gateway under test: its configuration, its process, and what it left on disk."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from sealformat.audit import LogReport, audit_store
from sealformat.note import Signer
from sealformat.segment import read_segment
from sealformat.spool import read_mark, spooled_lines

from .binaries import Outcome, binary, sealaudit
from .conditions import wait_until
from .moments import moment
from .ports import LOOPBACK, steady_port
from .wire import Client, Closed, Fields, Message, ask

LOG = "audit.test/gw-1"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Samples = dict[str, list[tuple[dict[str, str], float]]]


def route(name: str, upstream: str = "main", **more) -> dict:
    """A route to everything, unless `match` narrows it."""
    return {"name": name, "match": {"path_prefix": "/"}, "upstream": upstream, "auth": "none"} | more


class Gateway:
    """`sealgate run` in a directory of its own. `tune` edits the configuration before it is written."""

    launched: ClassVar[list["Gateway"]] = []

    def __init__(
        self,
        directory: Path,
        upstreams: dict[str, str],
        routes: Iterable[dict],
        tune: Callable[[dict], None] = lambda config: None,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port, self.admin_port, self.metrics_port = steady_port(), steady_port(), steady_port()
        self.signer = Signer.generate(LOG)
        key = directory / "gateway.key"
        key.write_text(f"{self.signer}\n")
        key.chmod(0o600)
        self.keys = directory / "keys.txt"
        self.keys.write_text(f"# the auditor's own\n{self.signer.verifier}\n")
        self.store, self.spool = directory / "store", directory / "spool"
        self.config = self._configuration(upstreams, list(routes))
        tune(self.config)
        self.process: subprocess.Popen | None = None
        # Variables beyond those of the tests.
        self.environment: dict[str, str] = {}
        self.log = directory / "gateway.log"

    def _configuration(self, upstreams: dict[str, str], routes: list[dict]) -> dict:
        return {
            "version": 1,
            "listen": [{"name": "edge", "address": f"{LOOPBACK}:{self.port}"}],
            "admin": {"address": f"{LOOPBACK}:{self.admin_port}"},
            "metrics": {"address": f"{LOOPBACK}:{self.metrics_port}"},
            "shutdown": {"lameduck": "0s", "timeout": "20s"},
            "upstreams": {name: {"endpoints": {"static": [address]}} for name, address in upstreams.items()},
            "routes": routes,
            "audit": {
                "log": LOG,
                "key": {"file": "gateway.key"},
                "create_log": True,
                "spool": {"path": "spool", "min_free": "1MiB"},
                "store": {"directory": "store"},
            },
        }

    @property
    def config_file(self) -> Path:
        return self.directory / "sealgate.yaml"

    def write_config(self) -> None:
        """JSON is YAML."""
        self.config_file.write_text(json.dumps(self.config, indent=2, ensure_ascii=False))

    def command(self) -> list[Path | str]:
        return [binary("sealgate"), "run", "-c", self.config_file]

    def launch(self) -> subprocess.Popen:
        """Starts the process without waiting for it to serve."""
        self.write_config()
        with self.log.open("ab") as log:
            environment = os.environ | self.environment
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        Gateway.launched.append(self)
        return self.process

    def start(self) -> "Gateway":
        self.launch()
        wait_until(self.is_ready, f"the gateway is ready\n{self.config_file}\n", timeout=20)
        return self

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"the gateway exited {self.process.returncode}:\n{self.log_text()}"
        try:
            return self.admin("/readyz").status == 200
        except (Closed, OSError):
            return False

    def stop(self, code: int = 0, timeout: float = 30) -> None:
        """A clean stop, by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.wait(code, timeout)

    def wait(self, code: int, timeout: float = 30) -> None:
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.log_text()}") from None
        assert self.process.returncode == code, f"exit {self.process.returncode}, expected {code}:\n{self.log_text()}"

    def kill(self) -> None:
        """kill -9, which no process can answer."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def ask(
        self,
        target: str,
        method: str = "GET",
        fields: Fields | None = None,
        body: bytes | None = None,
        host: str = "api.test",
        **connection,
    ) -> Message:
        """One request on a connection of its own; `connection` is for [`Client`]."""
        return ask(self.port, target, method, fields, body, host, **connection)

    def connect(self, **connection) -> Client:
        return Client(self.port, **connection)

    def port_of(self, listener: str) -> int:
        """The port of a listener, by its name."""
        (found,) = [one for one in self.config["listen"] if one["name"] == listener]
        return int(found["address"].rpartition(":")[2])

    def reload(self) -> None:
        """Asks it to read its files again, without waiting until it has."""
        self.process.send_signal(signal.SIGHUP)

    def reloads(self, outcome: str) -> int:
        """How often it has read them, with this outcome."""
        return int(total(self.metrics(), "sealgate_config_reloads_total", outcome=outcome))

    def reasons(self) -> list[str]:
        """Why it is not ready; none where it is."""
        return json.loads(self.admin("/readyz").body)["reasons"]

    def admin(self, path: str) -> Message:
        return ask(self.admin_port, path, fields={"Connection": "close"}, host="localhost")

    def metrics(self) -> Samples:
        samples: Samples = {}
        for line in self.admin("/metrics").body.decode().splitlines():
            if found := SAMPLE.match(line):
                name, labels, value = found.groups()
                samples.setdefault(name, []).append((dict(LABEL.findall(labels or "")), float(value)))
        return samples

    def written_records(self) -> list[dict]:
        """What is on disk now, in the spool and in the store, each record once."""
        lines = spooled_lines(self.spool)
        for path in self.store.rglob("*.ndjson.zst"):
            lines += read_segment(path.read_bytes()).lines
        by_seq = {record["seq"]: record for record in map(json.loads, lines)}
        return [by_seq[seq] for seq in sorted(by_seq)]

    def has_begun(self) -> bool:
        """Whether the store holds its log."""
        return (self.store / self.signer.name / "log").is_file()

    def owes_nothing(self) -> bool:
        """Whether its spool says that every record is on the log, or declared: a kill now would lose nothing."""
        mark = read_mark((self.spool / "watermark").read_bytes())
        return mark is not None and mark.quiet

    def record(self, request_id: str) -> dict:
        """The one record of a request, as soon as it is on disk."""
        return self.record_where(lambda record: record.get("request_id") == request_id, f"a record of {request_id}")

    def record_from(self, client: Client) -> dict:
        """The one record of a connection. Of its port alone there may be others: the system gives it out again."""
        return self.record_at(client.source_port, client.began)

    def record_at(self, port: int, since: int) -> dict:
        """The one record of a connection from this port that was made after that moment."""
        return self.record_where(
            lambda record: record.get("source", {}).get("port") == port and moment(record["ts"]) >= since,
            f"a record of port {port}",
        )

    def record_where(self, holds: Callable[[dict], bool], what: str) -> dict:
        found = wait_until(lambda: [record for record in self.written_records() if holds(record)], f"{what} on disk")
        assert len(found) == 1, f"{what}: found {len(found)}\n{json.dumps(found, indent=1)}"
        return found[0]

    def audited(self) -> LogReport:
        """The store after a stop, held against the format by the independent reader."""
        return audit_store(self.store, self.signer.verifier)[LOG]

    def verify(self, *arguments: object) -> Outcome:
        return sealaudit("verify", self.store, "--keys", self.keys, *arguments)


class FaultyGateway(Gateway):
    """The same gateway on a disk that fails as `faults` says; load-tests/src/bin/faulty-gateway/script.rs tells how."""

    @property
    def script(self) -> Path:
        return self.directory / "faults"

    def command(self) -> list[Path | str]:
        return [binary("faulty-gateway"), self.config_file, self.script]

    def faults(self, *lines: str) -> None:
        """From now on these, and no others."""
        new = self.directory / "faults.new"
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self.script)

    def has_met_a_fault(self) -> bool:
        return "faulty-gateway: " in self.log_text()


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    return sum(value for found, value in samples.get(name, []) if labels.items() <= found.items())
