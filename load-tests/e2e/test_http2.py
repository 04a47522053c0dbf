"""HTTP/2: every stream has an answer, or a reset, or a close; and one record, whatever it was."""

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from harness import http2
from harness.conditions import wait_until
from harness.gateway import Gateway, route, total
from harness.http2 import (
    CONTINUATION,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS,
    Http2Client,
    block,
    data,
    frame,
    headers,
    request,
    request_block,
    reset,
    settings,
    window,
)

HELLO = PREFACE + settings()
MOST_STREAMS = 100
Expected = list[str]


@dataclass(frozen=True)
class Case:
    """Bytes that a client sends, and a word for each record that they leave.

    `ok`, an `end` with its `error` behind a colon, or `rejected` with its `reason`.
    """

    name: str
    sent: bytes
    records: Expected
    statuses: dict[int, int | None] = field(default_factory=dict)
    resets: dict[int, int] = field(default_factory=dict)
    goaway: int | None = None
    hello: bytes = HELLO
    finishes: bool = False


def rejected(reason: str) -> Expected:
    return [f"rejected:{reason}"]


def malformed(name: str, *more: tuple[str, str], path: str | None = "/malformed", **pseudo: str | None) -> Case:
    """A request that the library resets."""
    sent = request(1, path, *more, **pseudo)
    return Case(name, sent, rejected("h2_malformed_stream"), resets={1: PROTOCOL_ERROR})


def refused(
    name: str, word: str, path: str | None = "/refused", *more: tuple[str, str], status: int = 400, **pseudo
) -> Case:
    """A request that is understood well enough for a full record."""
    return Case(name, request(1, path, *more, **pseudo), [f"refused:{word}"], {1: status})


def block_of(size: int) -> bytes:
    return request_block("/large", *((f"x-{at}", "y" * 1000) for at in range(size // 1000)))


CASES = [
    Case("a GET", request(1, "/good"), ["ok"], {1: 200}),
    Case("three at once", b"".join(request(at, "/good") for at in (1, 3, 5)), ["ok"] * 3, {1: 200, 3: 200, 5: 200}),
    Case("a POST", request(1, "/post", method="POST", end=False) + data(1, b"hello"), ["ok"], {1: 200}),
    Case(
        "a POST that declares its length",
        request(1, "/post", ("content-length", "5"), method="POST", end=False) + data(1, b"hello"),
        ["ok"],
        {1: 200},
    ),
    Case(
        "a POST with trailers",
        request(1, "/post", method="POST", end=False)
        + data(1, b"hello", end=False)
        + headers(1, block(("x-sum", "5"))),
        ["ok"],
        {1: 200},
    ),
    Case("a HEAD", request(1, "/bytes/100/head", method="HEAD"), ["ok"], {1: 200}),
    Case("te: trailers", request(1, "/te", ("te", "trailers")), ["ok"], {1: 200}),
    Case("Host beside an equal authority", request(1, "/host", ("host", "api.test")), ["ok"], {1: 200}),
    Case("Host alone", request(1, "/host", ("host", "api.test"), authority=None), ["ok"], {1: 200}),
    Case(
        "a head in many pieces",
        frame(HEADERS, http2.END_STREAM, 1, request_block("/pieces")[:9])
        + frame(CONTINUATION, 0, 1, request_block("/pieces")[9:20])
        + frame(CONTINUATION, http2.END_HEADERS, 1, request_block("/pieces")[20:]),
        ["ok"],
        {1: 200},
    ),
    malformed("no :method", method=None),
    malformed("no :path", path=None),
    malformed("an empty :path", path=""),
    malformed("no :scheme", scheme=None),
    malformed(":status in a request", **{"status": "200"}),
    malformed("connection", ("connection", "close")),
    malformed("transfer-encoding", ("transfer-encoding", "chunked")),
    malformed("upgrade", ("upgrade", "websocket")),
    malformed("keep-alive", ("keep-alive", "timeout=5")),
    malformed("proxy-connection", ("proxy-connection", "keep-alive")),
    malformed("te: gzip", ("te", "gzip")),
    malformed("an authority that is none", authority="a b"),
    malformed("extended CONNECT", method="CONNECT", protocol="websocket"),
    malformed("CONNECT with a path", method="CONNECT"),
    malformed("a length that is no number", ("content-length", "ten")),
    Case(
        "a field in capitals", request(1, "/", ("X-Capital", "1")), rejected("h2_protocol_error"), goaway=PROTOCOL_ERROR
    ),
    malformed("a URL for a path", path="http://api.test/a"),
    malformed("a path without a slash", path="a/b"),
    Case(
        "a good one between malformed ones",
        request(1, "/", method=None)
        + request(3, "/good")
        + request(5, "/", ("connection", "close"))
        + request(7, "/good"),
        ["ok", "ok", *rejected("h2_malformed_stream") * 2],
        {3: 200, 7: 200},
        {1: PROTOCOL_ERROR, 5: PROTOCOL_ERROR},
    ),
    refused("CONNECT", "connect", None, status=405, method="CONNECT", scheme=None, authority="evil.test:443"),
    refused("another Host than the authority", "host_mismatch", "/", ("host", "evil.test")),
    refused("another port in Host", "host_mismatch", "/", ("host", "api.test:80")),
    refused("Host in another case", "host_mismatch", "/", ("host", "API.test")),
    refused("two Hosts", "duplicate_host", "/", ("host", "api.test"), ("host", "api.test")),
    refused("neither Host nor authority", "missing_host", authority=None),
    refused("an authority with a user", "bad_host", authority="me@api.test"),
    refused("a scheme that is not the connection's", "bad_target", scheme="https"),
    refused("an encoded slash", "encoded_separator", "/a%2fb"),
    refused("an encoded backslash", "encoded_separator", "/a%5cb"),
    refused("a path that climbs out", "above_root", "/../etc"),
    refused("a dot segment with a parameter", "dot_segment", "/a/..;x/b"),
    refused("overlong UTF-8", "not_utf8", "/%c0%ae%c0%ae/a"),
    refused("an encoded NUL", "control_character", "/a%00b"),
    refused("the target *", "asterisk_target", "*", method="OPTIONS"),
    refused("two lengths", "repeated_length", "/", ("content-length", "0"), ("content-length", "0"), method="POST"),
    Case(
        "a declared length beyond the limit",
        request(1, "/", ("content-length", "2000000"), method="POST", end=False),
        ["refused:body_too_large"],
        {1: 413},
    ),
    Case(
        "a body beyond the limit",
        request(1, "/large", method="POST", end=False) + data(1, b"x" * 16000, end=False) * 2,
        ["refused:body_too_large"],
        {1: 413},
    ),
    Case("a head beyond the limit", headers(1, block_of(100_000)), rejected("header_too_large"), {1: 431}),
    Case(
        "a head that is none", frame(HEADERS, 5, 1, b"\xff" * 7), rejected("h2_protocol_error"), goaway=PROTOCOL_ERROR
    ),
    Case("an even stream", request(2, "/"), rejected("h2_protocol_error"), goaway=PROTOCOL_ERROR),
    Case("stream 0", request(0, "/"), rejected("h2_protocol_error"), goaway=PROTOCOL_ERROR),
    Case("DATA on a stream that is not open", data(5, b"x"), rejected("h2_protocol_error"), goaway=PROTOCOL_ERROR),
    Case(
        "a frame of 1 MiB",
        b"\x10\0\0" + bytes([0, 0]) + b"\0\0\0\1" + b"x" * 64,
        rejected("h2_protocol_error"),
        goaway=6,
    ),
    Case(
        "another frame within a head",
        frame(HEADERS, 1, 1, request_block("/")) + frame(PING, payload=b"x" * 8),
        rejected("h2_protocol_error"),
        goaway=PROTOCOL_ERROR,
    ),
    Case(
        "no preface, after its first bytes",
        b"",
        rejected("h2_handshake"),
        hello=b"PRI / HTTP/1.1\r\nHost: api.test\r\n\r\n",
    ),
    Case("half a preface, then silence", b"", rejected("header_timeout"), hello=PREFACE[:10]),
    Case("half a preface, then FIN", b"", rejected("closed_in_header"), hello=PREFACE[:10], finishes=True),
    Case("the first byte, then silence", b"", rejected("header_timeout"), hello=b"P"),
    Case("the first byte, then FIN", b"", rejected("closed_in_header"), hello=b"P", finishes=True),
    Case("not a byte", b"", rejected("no_request"), hello=b""),
    Case("no stream", b"", rejected("no_request")),
    Case("no stream, then FIN", b"", rejected("no_request"), finishes=True),
    Case("a head that does not end", frame(HEADERS, 1, 1, request_block("/")), rejected("header_timeout")),
    Case(
        "a head that does not end, then FIN",
        frame(HEADERS, 1, 1, request_block("/")),
        rejected("closed_in_header"),
        finishes=True,
    ),
    Case("a frame that is cut", request(1, "/")[:14], rejected("header_timeout")),
    Case("a frame that is cut, then FIN", request(1, "/")[:14], rejected("closed_in_header"), finishes=True),
    Case("a frame's header that is cut, then FIN", request(1, "/")[:6], rejected("closed_in_header"), finishes=True),
    Case(
        "a body that stalls",
        request(1, "/stalled", method="POST", end=False) + data(1, b"a", end=False),
        ["timeout:body_timeout"],
        {1: 408},
    ),
    Case("an upstream that is slower than its route", request(1, "/held/slow"), ["timeout:deadline"], {1: 504}),
    Case("an upstream that hangs up", request(1, "/drop/x"), ["upstream_failed:ConnectionClosed"], {1: 502}),
    Case(
        "an upstream that cuts its answer", request(1, "/cut/x"), ["upstream_failed:ConnectionClosed"], {1: 200}, {1: 8}
    ),
]


def tuned(config: dict) -> None:
    config["listen"][0] |= {
        "http2": True,
        "timeouts": {"header": "500ms", "body_idle": "500ms", "write_idle": "800ms", "keepalive_idle": "1s"},
        "limits": {"body_bytes": "20KiB"},
    }


class Counting:
    """A gateway, and what its records have to be in the end: each attempt has one."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway
        self.expected: dict[int, Expected] = {}
        self.counted: dict[int, int] = {}

    def client(self, **more) -> Http2Client:
        return Http2Client(self.gateway.port, **more)

    def expect(self, client: Http2Client, records: Expected) -> list[dict]:
        """Waits for the records of a connection; that there are no more of them is seen in the end."""
        port = client.source_port
        self.expected[port] = records
        found = wait_until(
            lambda: len(of := self.of(port)) >= len(records) and of, f"{len(records)} records of port {port}"
        )
        assert Counter(map(word, found)) == Counter(records), json.dumps(found, indent=1)
        return found

    def count(self, client: Http2Client, records: int) -> None:
        """The same where it may be told in several ways what became of them."""
        port = client.source_port
        self.counted[port] = records
        wait_until(lambda: len(self.of(port)) >= records, f"{records} records of port {port}")

    def of(self, port: int) -> list[dict]:
        return of_port(self.gateway.written_records(), port)


def of_port(records: list[dict], port: int) -> list[dict]:
    return [record for record in records if record.get("source", {}).get("port") == port]


def word(record: dict) -> str:
    if record["kind"] == "rejected":
        return f"rejected:{record['reason']}"
    end = record["end"] if record["kind"] == "completed" else f"{record['kind']}:{record['end']}"
    return f"{end}:{record['error']}" if "error" in record else end


@pytest.fixture(scope="module")
def counting(module_directory, module_upstream) -> Iterator[Counting]:
    routes = [route("all", timeout="1500ms"), route("long", match={"path_prefix": "/held/long"}, timeout="none")]
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, routes, tuned).start()
    counting = Counting(gateway)
    yield counting
    gateway.stop()
    gateway.verify().expect(0)
    records = [record for record in gateway.written_records() if "source" in record]
    for port, expected in counting.expected.items():
        found = of_port(records, port)
        assert Counter(map(word, found)) == Counter(expected), json.dumps(found, indent=1)
    for port, expected in counting.counted.items():
        found = of_port(records, port)
        assert len(found) == expected, json.dumps(found, indent=1)
    gateway.audited()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_stream_is_answered_and_has_one_record(counting: Counting, case: Case):
    with counting.client(opening=case.hello, deaf=True) as client:
        client.send(case.sent)
        if case.finishes:
            client.finish_sending()
        for stream, status in case.statuses.items():
            assert client.answer(stream).status == status, client.answers
        for stream, code in case.resets.items():
            assert client.answer(stream).reset == code, client.answers
        if not case.statuses and not case.resets:
            client.rest()
            assert client.goaway == case.goaway or (case.goaway is None and client.goaway == http2.NO_ERROR), (
                client.goaway
            )
        found = counting.expect(client, case.records)
    for record in found:
        assert record.get("request", {"http": "2"})["http"] == "2", record
    with counting.client() as client:
        assert client.ask(1, "/after").status == 200
        counting.expect(client, ["ok"])


def test_what_is_routed_recorded_and_sent_upstream_is_one_string(counting, module_upstream):
    crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("x-plain", "1")]
    with counting.client() as client:
        answer = client.ask(1, "/one/./string/../%7Ex?q=1&r", *crumbs, authority="api.test:8080")
        record = counting.expect(client, ["ok"])[0]
    assert answer.status == 200
    assert record["request_id"] == answer.get("x-request-id")
    seen = module_upstream.one("/one/~x")
    assert seen.target == "/one/~x?q=1&r"
    assert seen.message.all("host") == ["api.test:8080"]
    assert seen.message.all("cookie") == ["a=1; b=2"]
    assert (seen.message.get("te"), seen.message.get("x-plain")) == (None, "1")
    wanted = {"path": "/one/~x", "raw": "/one/./string/../%7Ex", "host": "api.test:8080", "http": "2", "scheme": "http"}
    assert {name: record["request"][name] for name in wanted} == wanted
    assert record["request"]["query"] == ["q", "r"]


def test_bytes_are_counted_in_both_directions(counting):
    with counting.client() as client:
        body = b"x" * 3000
        client.send(
            request(1, "/bytes/50000/counted", method="POST", end=False), data(1, body, end=False), data(1, body)
        )
        assert len(client.answer(1).body) == 50000
        record = counting.expect(client, ["ok"])[0]
    assert (record["request"]["bytes"], record["response"]["bytes"]) == (6000, 50000), record


def test_a_request_that_the_client_takes_back_is_recorded_as_such(counting, module_upstream):
    with counting.client() as client:
        client.send(request(1, "/held/long/taken-back"))
        wait_until(lambda: any("taken-back" in seen.target for seen in list(module_upstream.seen)), "it is upstream")
        client.send(reset(1))
        counting.expect(client, ["client_closed:ConnectionClosed"])
        assert client.ask(3, "/after").status == 200
        counting.expect(client, ["client_closed:ConnectionClosed", "ok"])


def test_requests_of_a_connection_that_breaks_are_recorded_as_such(counting, module_upstream):
    with counting.client() as client:
        client.send(request(1, "/held/long/broken/1"), request(3, "/held/long/broken/2"))
        wait_until(
            lambda: sum("broken" in seen.target for seen in list(module_upstream.seen)) == 2, "both are upstream"
        )
    counting.expect(client, ["client_closed:ConnectionClosed"] * 2)


def test_a_client_that_does_not_read_is_given_up(counting):
    with counting.client(opening=PREFACE + settings(initial_window_size=10)) as client:
        client.send(request(1, "/bytes/5000/unread"))
        answer = client.answer(1)
        assert (answer.status, len(answer.body), answer.ended) == (200, 10, False)
        record = counting.expect(client, ["timeout:WriteTimedout"])[0]
        assert record["response"]["bytes"] == 10, record
        assert client.ask(3, "/after").status == 200
        counting.expect(client, ["timeout:WriteTimedout", "ok"])


def test_a_client_that_takes_nothing_off_its_socket_is_given_up(counting):
    """It lets everything be sent, and reads none of it: the connection as a whole stands still."""
    with counting.client(opening=PREFACE + settings(initial_window_size=2**31 - 1) + window(0, 2**30)) as client:
        client.send(request(1, "/bytes/30000000/unread"), request(3, "/bytes/30000000/unread"))
        found = counting.expect(client, ["timeout:WriteTimedout"] * 2)
    assert all(record["response"]["bytes"] < 30000000 for record in found), found


def test_an_upload_that_trickles_ends_with_the_route_s_timeout(counting):
    with counting.client() as client:
        client.send(request(1, "/trickle", method="POST", end=False))
        began = time.monotonic()
        while not client.answer_so_far(1).over:
            assert time.monotonic() - began < 10
            client.send(data(1, b"x", end=False))
            # A pace, not a wait: slower than the route allows, quicker than what counts as standing still.
            time.sleep(0.1)
            client.poll()
        assert client.answer(1).status == 504
        record = counting.expect(client, ["timeout:deadline"])[0]
    assert record["request"]["bytes"] > 5, record


@pytest.mark.parametrize("pause", [0, 0.02])
def test_a_refusal_is_not_overtaken_by_a_reset(counting, pause):
    """Some clients forget the answer when the stream is reset while they still send."""
    with counting.client() as client:
        client.send(request(1, "/a%2fb", method="POST", end=False))
        # A pace, not a wait: what is still to be sent comes with the answer, or after it.
        time.sleep(pause)
        client.send(data(1, b"hello"))
        assert client.answer(1).status == 400
        assert client.ask(3, "/after").status == 200
        assert client.answer_so_far(1).reset is None
        client.send(request(5, "/a%2fb", method="POST", end=False))
        client.read_until(lambda: client.answer_so_far(5).reset is not None)
        assert client.answer_so_far(5).reset == http2.NO_ERROR, "one that sends nothing is not waited for"
        counting.expect(client, ["refused:encoded_separator", "ok", "refused:encoded_separator"])


def test_interim_answers_pass(counting):
    with counting.client() as client:
        client.send(request(1, "/continue", ("expect", "100-continue"), method="POST", end=False))
        client.read_until(lambda: client.answer_so_far(1).interim)
        client.send(data(1, b"hello"))
        answer = client.answer(1)
    assert (answer.interim, answer.status) == ([100], 200)
    record = counting.expect(client, ["ok"])[0]
    assert (record["response"]["status"], record["request"]["bytes"]) == (200, 5), record


def test_a_client_that_reads_slowly_is_served_until_the_route_s_timeout(counting):
    with counting.client(opening=PREFACE + settings(initial_window_size=10)) as client:
        client.send(request(1, "/bytes/5000/slowly"))

        def more_than(count: int) -> Callable[[], bool]:
            return lambda: client.answer_so_far(1).over or len(client.answer_so_far(1).body) > count

        while not client.answer_so_far(1).over:
            client.read_until(more_than(len(client.answer_so_far(1).body)))
            # A pace, not a wait: slower than the route allows, quicker than what counts as standing still.
            time.sleep(0.1)
            client.send(window(1, 10))
        record = counting.expect(client, ["timeout:deadline"])[0]
    assert 10 < record["response"]["bytes"] < 5000, record


def test_streams_beyond_the_limit_are_refused(counting, module_upstream):
    most = MOST_STREAMS
    with counting.client() as client:
        streams = [2 * at + 1 for at in range(most + 2)]
        client.send(*(request(stream, f"/held/long/many/{stream}") for stream in streams))
        for stream in streams[most:]:
            assert client.answer(stream).reset == REFUSED_STREAM
        module_upstream.released.set()
        for stream in streams[:most]:
            assert client.answer(stream).status == 200
        module_upstream.released.clear()
        counting.expect(client, ["ok"] * most + rejected("h2_stream_refused") * 2)


def test_malformed_streams_have_a_budget(counting):
    with counting.client() as client:
        client.send(*(request(2 * at + 1, "/", method=None) for at in range(80)))
        client.rest()
        assert client.goaway == ENHANCE_YOUR_CALM
        found = counting.expect(client, rejected("h2_malformed_stream") * 80 + rejected("h2_flood"))
    assert {record["bytes"] for record in found} == {len(request(1, "/", method=None)), 0}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("resets", b"".join(request(2 * at + 1, "/reset") + reset(2 * at + 1) for at in range(2000))),
        (
            "heads without end",
            frame(HEADERS, 1, 1, request_block("/")) + frame(CONTINUATION, 0, 1, block(("a", "b"))) * 3000,
        ),
        ("empty data", request(1, "/held/long/flood", method="POST", end=False) + data(1, end=False) * 20000),
    ],
)
def test_a_flood_ends_its_connection(counting, name, sent):
    with counting.client() as client:
        client.send(sent)
        client.rest()
        assert client.goaway == ENHANCE_YOUR_CALM, (name, client.goaway)
    wait_until(lambda: total(counting.gateway.metrics(), "sealgate_http_requests_in_flight") == 0, "no request is left")


def test_a_flood_of_pings_and_settings_is_answered_at_the_client_s_own_pace(counting):
    with counting.client() as client:
        client.send((frame(SETTINGS) + frame(PING, payload=b"x" * 8)) * 5000)
        assert client.ask(1, "/served/beside/a/flood").status == 200
        counting.expect(client, ["ok"])


def test_an_idle_connection_is_told_to_go(counting):
    with counting.client() as client:
        assert client.ask(1, "/idle").status == 200
        client.rest()
        assert client.goaway == http2.NO_ERROR
        counting.expect(client, ["ok"])


def test_a_client_that_says_goodbye_is_served_first(counting):
    with counting.client() as client:
        client.send(request(1, "/after/300/goodbye"), frame(GOAWAY, payload=bytes(8)))
        assert client.answer(1).status == 200
        counting.expect(client, ["ok"])


def mixture(dice: random.Random) -> tuple[bytes, int]:
    """Some of everything on one connection: what is sent, and how many streams it opens."""
    sent, stream = HELLO, 1
    kinds = [
        lambda at: request(at, "/mixed"),
        lambda at: request(at, "/mixed") + reset(at),
        lambda at: request(at, "/mixed", method="POST", end=False) + data(at, b"x" * dice.randrange(2000)),
        lambda at: request(at, "/mixed", ("content-length", "9"), method="POST", end=False) + data(at, b"short"),
        lambda at: request(at, "/mixed/%2f"),
        lambda at: request(at, "/mixed", ("host", "evil.test")),
        lambda at: request(at, "/mixed", ("connection", "close")),
        lambda at: request(at, "/mixed", method=None),
        lambda at: request(at, None, method="CONNECT", scheme=None, authority="evil.test:443"),
        lambda at: request(at, "/drop/mixed"),
    ]
    for _ in range(dice.randrange(1, 20)):
        sent += dice.choice(kinds)(stream)
        stream += 2 * dice.randrange(1, 3)
    ends = [b"", request(stream, "/")[:12], frame(HEADERS, 1, stream, b"\x84"), frame(HEADERS, 5, stream, b"\xff" * 7)]
    end = dice.choice(ends)
    opened = sent.count(b"/mixed") + sent.count(b"CONNECT")
    return sent + end, opened + bool(end)


@pytest.mark.parametrize("seed", range(8))
def test_in_any_mixture_and_any_pieces_each_stream_has_one_record(counting, seed):
    dice = random.Random(seed)
    for _ in range(6):
        sent, opened = mixture(dice)
        with counting.client(opening=b"", deaf=True) as client:
            while sent:
                size = dice.choice([1, 7, 50, 9999])
                client.send(sent[:size])
                sent = sent[size:]
            # Not by a close: with answers unread that is a reset, which takes what was sent with it.
            dice.choice([client.finish_sending, client.rest])()
            counting.count(client, opened)


def test_http1_is_spoken_beside_it(counting):
    assert counting.gateway.ask("/plain").status == 200
    assert counting.gateway.ask("/plain", "PUT", body=b"x").status == 200


@pytest.mark.parametrize(
    "command",
    [
        ["curl", "--silent", "--fail", "--http2-prior-knowledge", "--output", "/dev/null", "URL/curl/1"],
        [
            "curl",
            "--silent",
            "--fail",
            "--http2-prior-knowledge",
            "--data",
            "hello",
            "--output",
            "/dev/null",
            "URL/curl/2",
        ],
        [
            "curl",
            "--silent",
            "--fail",
            "--head",
            "--http2-prior-knowledge",
            "--output",
            "/dev/null",
            "URL/bytes/9/curl",
        ],
        ["nghttp", "--null-out", "URL/nghttp/1"],
        ["nghttp", "--null-out", "--data", "/etc/hostname", "URL/nghttp/2"],
        ["nghttp", "--null-out", "--continuation", "URL/nghttp/3"],
        ["nghttp", "--null-out", "--expect-continue", "--data", "/etc/hostname", "URL/nghttp/5"],
        ["nghttp", "--null-out", "--trailer", "x-sum: 1", "--data", "/etc/hostname", "URL/nghttp/4"],
    ],
    ids=" ".join,
)
def test_clients_of_every_day_are_served(counting, command):
    url = f"http://127.0.0.1:{counting.gateway.port}"
    subprocess.run([part.replace("URL", url) for part in command], check=True, timeout=20)
    path = command[-1].removeprefix("URL")
    record = counting.gateway.record_where(lambda record: record.get("request", {}).get("path") == path, path)
    assert (word(record), record["request"]["http"]) == ("ok", "2"), record


def test_each_of_many_requests_has_its_record(counting):
    url = f"http://127.0.0.1:{counting.gateway.port}/h2load"
    ran = subprocess.run(
        ["h2load", "-n3000", "-c7", "-m30", url], check=True, timeout=60, capture_output=True, text=True
    )
    assert "3000 succeeded" in ran.stdout, ran.stdout

    def new() -> list[dict]:
        written = counting.gateway.written_records()
        return [record for record in written if record.get("request", {}).get("path") == "/h2load"]

    wait_until(lambda: len(new()) == 3000, "3000 records")
    assert Counter(map(word, new())) == {"ok": 3000}


def test_without_http2_a_preface_is_a_malformed_head(gateway):
    gateway.start()
    with Http2Client(gateway.port) as client:
        client.send(request(1, "/"))
        client.rest()
    found = wait_until(lambda: of_port(gateway.written_records(), client.source_port), "its record")
    assert list(map(word, found)) == rejected("malformed_request")
    gateway.stop()


def started(gateway: Gateway, **shutdown: str) -> Gateway:
    gateway.config["listen"][0]["http2"] = True
    gateway.config["routes"][0]["timeout"] = "none"
    gateway.config["shutdown"] |= shutdown
    return gateway.start()


def in_flight(gateway: Gateway, upstream, client: Http2Client, count: int) -> list[int]:
    streams = [2 * at + 1 for at in range(count)]
    client.send(*(request(stream, f"/held/{stream}") for stream in streams))
    wait_until(lambda: len(upstream.seen) == count, f"{count} requests are upstream")
    return streams


def test_what_is_in_flight_at_a_stop_is_served(gateway, upstream):
    started(gateway)
    with Http2Client(gateway.port) as client:
        streams = in_flight(gateway, upstream, client, MOST_STREAMS)
        gateway.process.terminate()
        client.read_until(lambda: client.goaway is not None)
        upstream.released.set()
        assert {client.answer(stream).status for stream in streams} == {200}
        client.rest()
        gateway.wait(0)
    found = of_port(gateway.written_records(), client.source_port)
    assert Counter(map(word, found)) == {"ok": MOST_STREAMS}
    gateway.verify().expect(0)


def test_what_is_cut_at_a_stop_is_recorded(gateway, upstream):
    started(gateway, timeout="2s")
    with Http2Client(gateway.port, deaf=True) as client:
        in_flight(gateway, upstream, client, MOST_STREAMS)
        # One that never becomes whole, beside them.
        client.send(frame(HEADERS, 1, 301, request_block("/")[:9]))
        gateway.process.terminate()
        client.rest()
        gateway.wait(0)
    found = Counter(map(word, of_port(gateway.written_records(), client.source_port)))
    assert sum(found.values()) == MOST_STREAMS + 1, found
    assert found["aborted:shutdown"] == MOST_STREAMS, found
    gateway.verify().expect(0)


def test_a_client_that_hears_nothing_does_not_hold_a_stop(gateway):
    started(gateway)
    with Http2Client(gateway.port, deaf=True) as client, Http2Client(gateway.port, deaf=True) as silent:
        assert client.ask(1, "/deaf").status == 200
        gateway.stop(timeout=5)
        client.rest()
        silent.rest()
    records = gateway.written_records()
    assert list(map(word, of_port(records, client.source_port))) == ["ok"]
    assert list(map(word, of_port(records, silent.source_port))) == rejected("shutdown")
