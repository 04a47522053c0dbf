"""What the operator looks at: dashboards and alert rules, against a real Prometheus that scrapes a gateway under load."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from harness import everything
from harness.conditions import wait_until
from harness.gateway import Gateway, route
from harness.ports import LOOPBACK, free_port
from harness.upstream import Upstream
from harness.wire import ask

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "conf" / "prometheus" / "rules.yml"
sys.path.insert(0, str(ROOT / "grafana"))

from check_dashboards import DASHBOARDS, expression, panels, problems  # noqa: E402

# As Grafana would fill them in for a scrape interval of one second, of which a rate needs some.
VARIABLES = {"$__rate_interval": "10s", "$__interval": "1s", "$__range": "5m", "$instance": ".*"}
DASHBOARD_FILES = sorted(DASHBOARDS.glob("*.json"))
PANELS = [
    pytest.param(expression(target, VARIABLES), id=f"{panel['title']}-{target['refId']}")
    for path in DASHBOARD_FILES
    for panel in panels(json.loads(path.read_text(encoding="utf-8")))
    for target in panel["targets"]
]
METRIC = re.compile(r"\bsealgate_\w+")


@dataclass
class Prometheus:
    """A real one, which scrapes one gateway each second and holds the real alert rules."""

    port: int

    def is_ready(self) -> bool:
        try:
            return ask(self.port, "/-/ready", fields={"Connection": "close"}, host="localhost").status == 200
        except OSError:
            return False

    def get(self, path: str) -> dict:
        answer = ask(self.port, path, fields={"Connection": "close"}, host="localhost")
        body = json.loads(answer.body)
        assert body["status"] == "success", f"{path}: {body}"
        return body["data"]

    def series(self, expr: str) -> list[dict]:
        return self.get(f"/api/v1/query?query={quote(expr)}")["result"]

    def numbers(self, expr: str) -> list[float]:
        """The values of all series, without those that are not a number: a quantile of nothing."""
        values = (float(series["value"][1]) for series in self.series(expr))
        return [value for value in values if value == value]


def program(name: str) -> str:
    unpacked = ROOT / "target" / "tools" / "usr" / "bin"
    found = shutil.which(name, path=f"{os.environ['PATH']}:{unpacked}")
    assert found, f"{name} is not installed: load-tests/setup.sh prometheus brings it"
    return found


@pytest.fixture(scope="module")
def gateway(module_directory: Path, module_upstream: Upstream) -> Iterator[Gateway]:
    """A gateway whose segments are sealed often, with one upstream that answers and one that is down."""

    def tune(config: dict) -> None:
        config["audit"]["segment"] = {"max_age": "1s"}

    upstreams = {"main": module_upstream.address, "gone": f"{LOOPBACK}:{free_port()}"}
    strict = route("strict", match={"path_prefix": "/strict"}, audit={"durability": "strict"})
    routes = [route("all"), route("broken", "gone", match={"path_prefix": "/broken"}), strict]
    gateway = Gateway(module_directory / "gateway", upstreams, routes, tune)
    with everything.identity(gateway):
        gateway.start()
        yield gateway
        gateway.kill()


@pytest.fixture(scope="module")
def load(gateway: Gateway) -> Iterator[None]:
    """Traffic that goes on for as long as the tests do: answers of all classes, and what is no request."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.02):
            for target in ("/orders", "/status/404/x", "/broken/x", "/strict/x"):
                ask(gateway.port, target, fields={"Connection": "close"})
            for credentials in everything.CREDENTIALS:
                ask(gateway.port, everything.PATH, fields={"Connection": "close"} | credentials)
            client = gateway.connect()
            client.send(b"NOT HTTP\r\n\r\n")
            client.close()

    sender = threading.Thread(target=send)
    sender.start()
    yield
    over.set()
    sender.join()


@pytest.fixture(scope="module")
def prometheus(module_directory: Path, gateway: Gateway, load: None) -> Iterator[Prometheus]:
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "sealgate", "static_configs": [{"targets": [f"{LOOPBACK}:{gateway.metrics_port}"]}]}
        ],
    }
    file = module_directory / "prometheus.yml"
    file.write_text(json.dumps(config))
    log = (module_directory / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={module_directory / 'tsdb'}",
            f"--web.listen-address={LOOPBACK}:{port}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    prometheus = Prometheus(port)

    def has_rates() -> bool:
        assert process.poll() is None, (module_directory / "prometheus.log").read_text(errors="replace")
        return prometheus.is_ready() and bool(prometheus.numbers("rate(sealgate_audit_segments_total[10s]) > 0"))

    try:
        wait_until(has_rates, "Prometheus has seen segments being sealed", timeout=60)
        yield prometheus
    finally:
        process.kill()
        process.wait()
        log.close()


def test_the_dashboards_are_what_grafana_understands():
    assert DASHBOARD_FILES
    for path in DASHBOARD_FILES:
        assert problems(path) == []


@pytest.mark.parametrize("expr", PANELS)
def test_every_panel_shows_data_of_a_gateway_under_load(prometheus: Prometheus, expr: str):
    wait_until(lambda: prometheus.numbers(expr), f"data for\n{expr}", timeout=30)


def test_the_verdict_on_the_evidence_is_safe(prometheus: Prometheus):
    dashboard = json.loads((DASHBOARDS / "sealgate.json").read_text(encoding="utf-8"))
    verdict = next(panel for panel in panels(dashboard) if panel["title"] == "Evidence")
    assert prometheus.numbers(expression(verdict["targets"][0], VARIABLES)) == [0]


def test_no_alert_fires_while_all_is_well(prometheus: Prometheus):
    def rules() -> list[dict]:
        return [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), "each rule was evaluated")
    assert len(rules()) == RULES.read_text(encoding="utf-8").count("- alert:") > 3
    # What the kernel says of this machine's clock is no matter of the gateway's.
    assert {rule["name"] for rule in rules() if rule["alerts"]} <= {"SealgateClockNotSynchronised"}


def test_every_metric_that_a_rule_or_a_panel_names_is_exported(gateway: Gateway, prometheus: Prometheus):
    named = set(METRIC.findall(RULES.read_text(encoding="utf-8")))
    for path in DASHBOARD_FILES:
        for panel in panels(json.loads(path.read_text(encoding="utf-8"))):
            named.update(name for target in panel["targets"] for name in METRIC.findall(target["expr"]))
    described = set(re.findall(r"^# TYPE (\S+)", gateway.admin("/metrics").body.decode(), re.MULTILINE))
    exported = {name for metric in described for name in (metric, f"{metric}_bucket")}
    assert named - exported == set()


def test_the_metrics_are_as_prometheus_wants_them(gateway: Gateway, load: None):
    text = gateway.admin("/metrics").body
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()
