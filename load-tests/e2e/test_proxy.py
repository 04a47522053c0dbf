"""`sealgate proxy --to URL` needs no file: it makes a key, a spool and a store, and says how to check them."""

import signal
import stat
import subprocess
from collections.abc import Iterator

import pytest

from harness.binaries import binary, sealaudit, sealgate
from harness.conditions import wait_until
from harness.ports import LOOPBACK, free_port
from harness.wire import ask
from sealformat.audit import audit_store
from sealformat.note import Signer, Verifier

DEFAULT_LOG = "sealgate.localhost/gw-1"


class Proxy:
    def __init__(self, directory, upstream, *arguments: str):
        self.data, self.port = directory / "data", free_port()
        self.errors = directory / "stderr"
        command = [
            binary("sealgate"),
            "proxy",
            "--to",
            f"http://{upstream.address}",
            "--listen",
            f"{LOOPBACK}:{self.port}",
        ]
        command += ["--data", self.data, "--admin", "off", "--metrics", "off", *arguments]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        wait_until(self.is_open, "the proxy answers")

    def is_open(self) -> bool:
        assert self.process.poll() is None, self.errors.read_text()
        try:
            return ask(self.port, "/ready").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.errors.read_text()


@pytest.fixture
def start_proxy(directory, upstream) -> Iterator:
    started: list[Proxy] = []

    def start(*arguments: str) -> Proxy:
        started.append(Proxy(directory, upstream, *arguments))
        return started[-1]

    yield start
    for proxy in started:
        if proxy.process.poll() is None:
            proxy.process.kill()
            proxy.process.wait()


def test_a_proxy_makes_what_it_needs_and_its_log_verifies(start_proxy):
    proxy = start_proxy()
    assert ask(proxy.port, "/orders/42", host="any.test").status == 200
    proxy.stop()
    key = proxy.data / "gateway.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    verifier = Verifier.parse((proxy.data / "gateway.pub").read_text())
    assert verifier == Signer.parse(key.read_text()).verifier and verifier.name == DEFAULT_LOG
    records = audit_store(proxy.data / "store", verifier)[DEFAULT_LOG].records
    assert "/orders/42" in [record["request"]["path"] for record in records if "request" in record]
    for place in (proxy.data / "store", proxy.data):
        sealaudit("verify", place, "--keys", proxy.data / "gateway.pub").expect(0)


def test_a_proxy_says_where_it_listens_and_how_to_verify(start_proxy):
    proxy = start_proxy()
    text = proxy.errors.read_text()
    for word in (f"{LOOPBACK}:{proxy.port}", DEFAULT_LOG, str(proxy.data), "sealaudit verify"):
        assert word in text, f"{word!r} is expected in\n{text}"
    proxy.stop()


def test_a_proxy_goes_on_with_the_log_that_it_finds(start_proxy):
    start_proxy("--log", "audit.test/mine").stop()
    proxy = start_proxy()
    assert ask(proxy.port, "/second").status == 200
    proxy.stop()
    verifier = Verifier.parse((proxy.data / "gateway.pub").read_text())
    assert verifier.name == "audit.test/mine"
    assert len({record["boot"] for record in audit_store(proxy.data / "store", verifier)[verifier.name].records}) == 2


def test_keygen_writes_keys_that_follow_the_specification(directory):
    outcome = sealgate("keygen", "audit.test/gw-9", "-o", directory).expect(0)
    verifier = Verifier.parse((directory / "gateway.pub").read_text())
    assert verifier == Signer.parse((directory / "gateway.key").read_text()).verifier
    assert str(verifier) in outcome.out and verifier.name == "audit.test/gw-9"
    assert stat.S_IMODE((directory / "gateway.key").stat().st_mode) == 0o600
    again = sealgate("keygen", "audit.test/gw-9", "-o", directory)
    assert again.code != 0, "a key is never overwritten"
