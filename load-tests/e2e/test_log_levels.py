"""Whatever RUST_LOG asks for, a gateway's output holds nothing that a client or an upstream sent."""

import os
import re

import pytest

from harness.gateway import Gateway, route

SECRETS = {
    "authorization": "Bearer hunter2-bearer",
    "cookie": "session=hunter2-cookie",
    "x-api-key": "hunter2-key",
    "user-agent": "hunter2-agent",
    "content-type": "hunter2-type",
}
LINE = re.compile(r"^\S+Z +(ERROR|WARN|INFO|DEBUG|TRACE) ([\w:]+): ")


@pytest.fixture(scope="module")
def said(module_directory, module_upstream) -> str:
    """What a gateway says at the finest level about requests that are served, refused, broken and not understood."""
    upstreams = {"main": module_upstream.address, "untrusted": module_upstream.address, "down": "127.0.0.1:9"}
    routes = [
        route("untrusted", "untrusted", match={"path_prefix": "/untrusted"}),
        route("down", "down", match={"path_prefix": "/down"}),
        route("all"),
    ]
    gateway = Gateway(module_directory / "gateway", upstreams, routes)
    gateway.config["upstreams"]["untrusted"] |= {"tls": {"sni": "main.test"}}
    os.environ["RUST_LOG"] = "trace,h2=trace,rustls=trace,pingora_proxy=trace,pingora_core::protocols=trace"
    try:
        gateway.start()
    finally:
        del os.environ["RUST_LOG"]
    for path in ("/orders", "/untrusted", "/down", "/cookie"):
        gateway.ask(f"{path}?token=hunter2-query", "POST", SECRETS, b"hunter2-body")
    for data in (
        b"GET /hunter2-path HTTP/1.1\r\nHost: api.test\r\nContent-Length: hunter2-length\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: hunter2-host\x01\r\n\r\n",
        b"hunter2-line\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nhunter2-frame",
        b"\x16\x03\x01hunter2-hello",
    ):
        with gateway.connect() as client:
            client.send(data)
            client.finish_sending()
            client.reader.rest()
    gateway.stop()
    return gateway.log_text()


def test_it_says_something(said):
    assert "listening" in said and "stopped" in said


def test_no_secret_is_in_it(said):
    assert "hunter2" not in said, said[max(0, said.index("hunter2") - 400) :][:600]


def test_libraries_are_heard_from_warnings_on_alone(said):
    lines = [LINE.match(line) for line in said.splitlines()]
    assert all(lines), [line for line in said.splitlines() if not LINE.match(line)][:5]
    loud = {line.group(0) for line in lines if line.group(1) in ("INFO", "DEBUG", "TRACE")}
    assert {line for line in loud if not re.search(r" (gateway|audit_writer|sealgate)[:\w]*: $", line)} == set()
