"""Whatever is thrown at the plain port has an answer, or a close, and a record; and the neighbours are served."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from harness.gateway import Gateway, route
from harness.wire import Client, Closed, request_bytes

HOST = b"Host: api.test\r\n"
TLS_CLIENT_HELLO = bytes.fromhex(
    "160301007a0100007603030000000000000000000000000000000000000000000000000000000000000000"
)
HEADER_TIMEOUT = "500ms"
# Seconds between two requests of the neighbour: the log is read after each case.
NEIGHBOUR_PACE = 0.02


def finish(client: Client) -> None:
    client.finish_sending()


def reset(client: Client) -> None:
    client.reset()


def nothing(client: Client) -> None:
    return


@dataclass(frozen=True)
class Case:
    """One hostile exchange: what is sent, then done, and what must come of it."""

    name: str
    sent: bytes
    status: int | None
    kind: str = "rejected"
    fields: dict = field(default_factory=dict)
    then: Callable[[Client], None] = nothing
    reaches_upstream: bool = False


def refused(name: str, sent: bytes, status: int = 400, **more) -> Case:
    """A whole request that the gateway answers by itself: a full record."""
    return Case(name, sent, status, "completed", {"end": "refused"}, **more)


def request(line: bytes, fields: bytes = HOST, body: bytes = b"") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + body


MALFORMED = {"reason": "malformed_request"}
CASES = [
    Case("a line that is no request", b"hello\r\n\r\n", 400, fields=MALFORMED),
    Case("a line without a version", request(b"GET /"), 400, fields=MALFORMED),
    Case("HTTP/0.9", b"GET /\r\n\r\n", 400, fields=MALFORMED),
    Case("HTTP/3.0", request(b"GET / HTTP/3.0"), 400, fields=MALFORMED),
    Case("a version that is no number", request(b"GET / HTTP/x.y"), 400, fields=MALFORMED),
    Case("a space in the target", request(b"GET /a b HTTP/1.1"), 400, fields=MALFORMED),
    Case("a method that is no token", request(b"G(T / HTTP/1.1"), 400, fields=MALFORMED),
    Case("NUL in the request line", request(b"GET /\x00 HTTP/1.1"), 400, fields=MALFORMED),
    Case("NUL in a header", request(b"GET / HTTP/1.1", HOST + b"X-A: a\x00b\r\n"), 400, fields=MALFORMED),
    Case("a header without a colon", request(b"GET / HTTP/1.1", HOST + b"nonsense\r\n"), 400, fields=MALFORMED),
    Case("a space before the colon", request(b"GET / HTTP/1.1", HOST + b"X-A : b\r\n"), 400, fields=MALFORMED),
    Case("a folded header", request(b"GET / HTTP/1.1", HOST + b"X-A: a\r\n b\r\n"), 400, fields=MALFORMED),
    Case(
        "headers of 100 KiB",
        request(b"GET / HTTP/1.1", HOST + b"X-A: " + b"a" * 102400 + b"\r\n"),
        431,
        fields={"reason": "header_too_large"},
    ),
    Case(
        "a target of 100 KiB",
        request(b"GET /" + b"a" * 102400 + b" HTTP/1.1"),
        431,
        fields={"reason": "header_too_large"},
    ),
    Case(
        "a Content-Length that is no number",
        request(b"POST / HTTP/1.1", HOST + b"Content-Length: ten\r\n"),
        400,
        fields=MALFORMED,
    ),
    Case(
        "a negative Content-Length",
        request(b"POST / HTTP/1.1", HOST + b"Content-Length: -1\r\n"),
        400,
        fields=MALFORMED,
    ),
    Case(
        "two Content-Lengths that differ",
        request(b"POST / HTTP/1.1", HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
        400,
        fields=MALFORMED,
    ),
    Case(
        "a Content-Length beyond 64 bits",
        request(b"POST / HTTP/1.1", HOST + b"Content-Length: 99999999999999999999999\r\n"),
        400,
        fields=MALFORMED,
    ),
    refused(
        "a Content-Length beyond the limit",
        request(b"POST /big HTTP/1.1", HOST + b"Content-Length: 1000000000\r\n"),
        413,
    ),
    refused(
        "Content-Length beside Transfer-Encoding",
        request(b"POST /both HTTP/1.1", HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    refused("a dot segment that climbs out", request(b"GET /../../etc/passwd HTTP/1.1")),
    refused("an encoded dot segment that climbs out", request(b"GET /%2e%2e%2fetc/passwd HTTP/1.1")),
    refused("an encoded NUL", request(b"GET /a%00b HTTP/1.1")),
    refused("a broken escape", request(b"GET /a%zz HTTP/1.1")),
    refused("the target *", request(b"OPTIONS * HTTP/1.1")),
    refused("CONNECT", request(b"CONNECT api.test:443 HTTP/1.1"), 405),
    refused("a missing Host", request(b"GET /nohost HTTP/1.1", b"X-A: b\r\n")),
    Case("a doubled Host", request(b"GET /twohosts HTTP/1.1", HOST + HOST), 400, fields=MALFORMED),
    refused("a Host that is none", request(b"GET /badhost HTTP/1.1", b"Host: a b\r\n")),
    Case("a Host with user information", request(b"GET / HTTP/1.1", b"Host: me@api.test\r\n"), 400, fields=MALFORMED),
    Case("absolute form of another host", request(b"GET http://evil.test/ HTTP/1.1"), 400, fields=MALFORMED),
    Case(
        "a chunk size that is no number",
        request(b"POST /chunk HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n", b"zz\r\nab\r\n"),
        400,
        "completed",
        {},
        reaches_upstream=True,
    ),
    Case(
        "a chunk size beyond 64 bits",
        request(b"POST /chunk HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n"),
        400,
        "completed",
        {},
        reaches_upstream=True,
    ),
    Case("a TLS ClientHello", TLS_CLIENT_HELLO, 400, fields=MALFORMED),
    Case("bytes that mean nothing", bytes(range(128, 256)) + b"\r\n\r\n", 400, fields=MALFORMED),
    Case("silence", b"", None, fields={"reason": "no_request"}),
    Case("half a head, then silence", b"GET / HTTP/1.1\r\nHost: api", 408, fields={"reason": "header_timeout"}),
    Case(
        "half a head, then FIN",
        b"GET / HTTP/1.1\r\nHost: api",
        None,
        fields={"reason": "closed_in_header"},
        then=finish,
    ),
    Case(
        "half a head, then RST", b"GET / HTTP/1.1\r\nHost: api", None, fields={"reason": "closed_in_header"}, then=reset
    ),
    Case("a connection closed at once", b"", None, fields={"reason": "no_request"}, then=finish),
]


def limited(config: dict) -> None:
    config["listen"][0] |= {
        "timeouts": {"header": HEADER_TIMEOUT},
        "limits": {"header_bytes": "16KiB", "body_bytes": "1MiB"},
    }


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, [route("all")], limited).start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


@pytest.fixture(scope="module")
def neighbour(gateway) -> Iterator[None]:
    """A client that asks for ordinary things all the while, on a connection of its own."""
    over, answers = threading.Event(), []

    def keep_asking() -> None:
        with gateway.connect() as client:
            while not over.wait(NEIGHBOUR_PACE):
                try:
                    answers.append(client.ask("/neighbour").status)
                except (Closed, OSError) as broken:
                    answers.append(repr(broken))
                    return

    thread = threading.Thread(target=keep_asking)
    thread.start()
    yield
    over.set()
    thread.join()
    assert set(answers) == {200}, (
        f"of {len(answers)} ordinary requests beside the hostile ones, some got {set(answers) - {200}}"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_input_is_answered_and_recorded(gateway, neighbour, case: Case):
    with gateway.connect() as client:
        port = client.source_port
        client.send(case.sent)
        case.then(client)
        status = answer(client, case)
    assert status == case.status, f"answered {status}, expected {case.status}"
    record = gateway.record_where(
        lambda record: record.get("source", {}).get("port") == port, f"the record of port {port}"
    )
    assert record["kind"] == case.kind, record
    assert {name: record.get(name) for name in case.fields} == case.fields, record
    if case.status:
        assert record["response"]["status"] == case.status, record
    if case.kind == "rejected":
        assert record["bytes"] <= len(case.sent), record
    assert ("upstream" in record) == case.reaches_upstream, record
    assert gateway.ask("/after").status == 200


def answer(client: Client, case: Case) -> int | None:
    """The status that came, or none; either way the gateway closes."""
    if case.then is reset:
        return None
    try:
        status = client.reader.response().status
    except Closed:
        return None
    assert client.reader.rest() == b"", "only one answer is expected, then a close"
    return status


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://api.test/absolute", "/absolute", "api.test"),
        (b"http://api.test", "/", "api.test"),
        (b"/a/./b/../c", "/a/c", "api.test"),
        (b"//double//slash", "/double/slash", "api.test"),
        (b"/%61bc", "/abc", "api.test"),
    ],
    ids=[
        "absolute form",
        "absolute form without a path",
        "dot segments",
        "double slashes",
        "an escape that needs none",
    ],
)
def test_a_target_is_normalised_before_it_is_routed_and_recorded(gateway, target, path, host):
    with gateway.connect() as client:
        client.send(request(b"GET " + target + b" HTTP/1.1"))
        response = client.reader.response()
    assert response.status == 200
    record = gateway.record(response.get("x-request-id"))["request"]
    assert (record["path"], record["host"], record["raw"]) == (path, host, target.decode())


def test_a_second_request_after_a_hostile_one_on_the_same_connection_is_not_served(gateway, module_upstream):
    """A request smuggled behind a contradictory body length must never reach anybody."""
    smuggled = request_bytes("/smuggled")
    with gateway.connect() as client:
        client.send(
            request(
                b"POST /outer HTTP/1.1",
                HOST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                b"0\r\n\r\n" + smuggled,
            )
        )
        assert client.reader.response().status == 400
        client.reader.rest()
    assert not [seen for seen in list(module_upstream.seen) if "smuggled" in seen.target]
