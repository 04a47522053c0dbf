"""Digests of bodies over HTTP/2, where frames say what a body is; over HTTP/1.1 gateway/tests/digests.rs tells of them."""

import base64
import hashlib
from collections.abc import Iterator

import pytest

from harness.gateway import Gateway, route
from harness.http2 import Http2Client, data, request

BODY = b"hello"
CLAIM = ("content-digest", f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:")


def with_http2(config: dict) -> None:
    config["listen"][0]["http2"] = True


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    routes = [route("all", audit={"body_digest": "sha256"})]
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, routes, with_http2).start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("pieces", "length", "digest", "outcome"),
    [
        ([BODY], "5", sha256(BODY), "match"),
        ([b"he", b"", b"llo"], None, sha256(BODY), "match"),
        ([b"hullo"], None, sha256(b"hullo"), "mismatch"),
        ([b""], None, sha256(b""), "mismatch"),
        ([], None, None, "mismatch"),
    ],
    ids=["length", "frames", "other", "empty", "none"],
)
def test_a_body_in_frames_has_the_digest_of_its_bytes(gateway, pieces, length, digest, outcome):
    with Http2Client(gateway.port) as client:
        fields = [CLAIM, *([("content-length", length)] if length else [])]
        client.send(request(1, "/body", *fields, method="POST", end=not pieces))
        for place, piece in enumerate(pieces):
            client.send(data(1, piece, end=place == len(pieces) - 1))
        answer = client.answer(1)
    assert answer.status == 200
    record = gateway.record(answer.get("x-request-id"))
    assert record["request"].get("body_sha256") == digest
    assert record["request"]["content_digest"] == outcome
    assert record["response"]["body_sha256"] == sha256(bytes(answer.body))
