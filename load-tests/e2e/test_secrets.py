"""Secrets never enter the evidence: not the records, the spool, the logs, the metrics, the status."""

import base64
from pathlib import Path

import pytest

from harness.binaries import sealaudit, sealgate
from harness.gateway import Gateway, route
from sealformat.segment import SegmentError, read_segment

SECRET = "hunter2hunter2"
ENCODED = base64.b64encode(SECRET.encode()).decode()
CHUNKED = "\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
NEVER = ["authorization", "proxy-authorization", "cookie", "set-cookie"]


def planted(gateway: Gateway) -> None:
    """The secret in every part of a request and of an answer that is not to be recorded."""
    fields = {
        "Authorization": f"Bearer {SECRET}",
        "Proxy-Authorization": f"Basic {ENCODED}",
        "Cookie": f"session={SECRET}",
        "X-Api-Key": SECRET,
        "Referer": f"http://other.test/?token={SECRET}",
        SECRET: "as a header's name",
        "User-Agent": "probe",
    }
    assert gateway.ask(f"/orders/1?token={SECRET}&{'a' * 10}={SECRET}#{SECRET}", fields=fields).status in (200, 400)
    assert gateway.ask(f"/orders/2?token={SECRET}", "POST", fields, SECRET.encode()).status == 200
    assert gateway.ask(f"/void/2?token={SECRET}", fields=fields, host="none.test").status == 404
    assert gateway.ask(f"/orders/cookie/{'x' * 9000}?token={SECRET}", fields=fields).status == 200
    malformed = [
        f"GET /?{SECRET} HTTP/9.9\r\nHost: api.test\r\n\r\n",
        f"{SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: api.test\r\nAuthorization {SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: user:{SECRET}@api.test\r\n\r\n",
        f"GET http://user:{SECRET}@api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
        f"POST /orders/3 HTTP/1.1{CHUNKED}1;{SECRET}\r\nx\r\n0\r\nX-Trailer: {SECRET}\r\n\r\n",
        f"POST /orders/4 HTTP/1.1{CHUNKED}{SECRET}\r\n",
    ]
    for data in malformed:
        with gateway.connect() as client:
            client.send(data.encode())
            client.finish_sending()
            client.reader.rest()


def texts_of(directory: Path) -> dict[str, bytes]:
    """Everything below a directory, segments unpacked as well."""
    texts = {}
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        texts[str(path)] = path.read_bytes()
        try:
            texts[f"{path} (unpacked)"] = b"\n".join(read_segment(texts[str(path)]).lines)
        except SegmentError:
            continue
    return texts


def test_a_secret_in_any_part_of_a_request_is_found_nowhere(gateway):
    gateway.config["routes"] = [
        route(
            "all", match={"hosts": ["api.test"], "path_prefix": "/"}, audit={"headers": ["user-agent"], "query": "keys"}
        )
    ]
    gateway.start()
    planted(gateway)
    texts = {path: gateway.admin(path).body for path in ("/metrics", "/status", "/readyz")}
    texts |= {f"{path} while running": data for path, data in texts_of(gateway.directory).items()}
    texts["search"] = sealaudit("search", gateway.directory, "--limit", "1000").out.encode()
    gateway.stop()
    texts |= texts_of(gateway.directory)
    assert len(gateway.audited().records) >= 10
    private = str(gateway.signer).split("+", 4)[4].encode()
    for place, text in texts.items():
        for secret in (SECRET.encode(), ENCODED.encode()):
            assert secret not in text, (
                f"{place} holds {text[max(0, text.index(secret) - 200) : text.index(secret) + 40]!r}"
            )
        if not place.startswith(str(gateway.directory / "gateway.key")):
            assert private not in text, f"{place} holds the private key"


@pytest.mark.parametrize("name", NEVER)
def test_a_header_that_is_a_secret_cannot_be_allowed(gateway, name):
    gateway.config["routes"] = [route("all", audit={"headers": [name.title()]})]
    gateway.write_config()
    outcome = sealgate("validate", "--no-environment", "-c", gateway.config_file).expect(78)
    assert name in (outcome.out + outcome.err).lower(), outcome
