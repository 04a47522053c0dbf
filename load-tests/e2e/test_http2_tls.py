"""HTTP/2 over TLS: where the client and the listener agree on it (ALPN), and nowhere else."""

import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from harness import http2
from harness.certificates import Authority
from harness.conditions import wait_until
from harness.gateway import Gateway, route
from harness.http2 import PREFACE, PROTOCOL_ERROR, Http2Client, request, settings
from harness.wire import Client

H2 = ["h2", "http/1.1"]
Started = tuple[Gateway, Authority]


def start(directory, upstream: str, http2: bool) -> Started:
    authority = Authority(directory / "certificates")
    server = authority.issue("server", ["api.test", "127.0.0.1"])

    def tune(config: dict) -> None:
        config["listen"][0] |= {
            "tls": {"certificates": [server.configured]},
            "http2": http2,
            "timeouts": {"header": "700ms"},
        }

    return Gateway(directory / "gateway", {"main": upstream}, [route("all")], tune).start(), authority


@pytest.fixture(scope="module")
def started(module_directory, module_upstream) -> Iterator[Started]:
    gateway, authority = start(module_directory, module_upstream.address, True)
    yield gateway, authority
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


def connect(started: Started, **more) -> Http2Client:
    gateway, authority = started
    return Http2Client(gateway.port, tls=authority.trusted_by_client(alpn=H2), **more)


def records(gateway: Gateway, port: int, count: int) -> list[dict]:
    def found() -> list[dict]:
        written = gateway.written_records()
        return [record for record in written if record.get("source", {}).get("port") == port]

    return wait_until(lambda: len(these := found()) >= count and these, f"{count} records of port {port}")


def test_the_record_tells_how_the_stream_was_secured(started, module_upstream):
    with connect(started) as client:
        assert client.socket.selected_alpn_protocol() == "h2"
        answer = client.ask(1, "/secured", scheme="https")
    assert answer.status == 200
    record = records(started[0], client.source_port, 1)[0]
    assert (record["tls"]["version"], record["tls"]["sni"]) == ("TLSv1.3", "api.test"), record
    assert (record["request"]["scheme"], record["request"]["http"]) == ("https", "2"), record
    assert module_upstream.one("/secured").message.get("x-forwarded-proto") == "https"


def test_a_scheme_that_is_not_the_connection_s_is_refused(started):
    with connect(started) as client:
        assert client.ask(1, "/scheme", scheme="http").status == 400
        assert client.ask(3, "/scheme", scheme="https").status == 200
    found = records(started[0], client.source_port, 2)
    assert [record.get("error") for record in found] == ["bad_target", None]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (PREFACE + settings() + request(1, "/", scheme="https", method=None), "h2_malformed_stream"),
        (PREFACE + settings() + request(2, "/", scheme="https"), "h2_protocol_error"),
        (PREFACE + settings() + request(1, "/", scheme="https")[:15], "header_timeout"),
        (PREFACE[:12], "header_timeout"),
        (b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", "h2_handshake"),
        (b"", "no_request"),
        (PREFACE + settings(), "no_request"),
    ],
    ids=["malformed", "protocol error", "a cut frame", "half a preface", "HTTP/1.1 after all", "nothing", "no stream"],
)
def test_what_the_library_keeps_to_itself_has_one_record(started, sent, reason):
    with connect(started, opening=sent, deaf=True) as client:
        if reason == "h2_malformed_stream":
            assert client.answer(1).reset == PROTOCOL_ERROR
        else:
            client.rest()
        found = records(started[0], client.source_port, 1)
    assert [(record["kind"], record["reason"]) for record in found] == [("rejected", reason)]
    assert found[0]["tls"]["sni"] == "api.test", found


@pytest.mark.parametrize("alpn", [[], ["http/1.1"]], ids=["no ALPN", "http/1.1"])
def test_who_does_not_ask_for_it_gets_http1(started, alpn):
    gateway, authority = started
    with Client(gateway.port, tls=authority.trusted_by_client(alpn=alpn)) as client:
        response = client.ask("/plain")
    assert response.status == 200
    assert gateway.record(response.get("x-request-id"))["request"]["http"] == "1.1"


def test_prior_knowledge_counts_for_nothing_where_alpn_chose_http1(started):
    gateway, authority = started
    with Http2Client(gateway.port, tls=authority.trusted_by_client(alpn=["http/1.1"])) as client:
        client.rest()
    found = records(gateway, client.source_port, 1)
    assert [record["reason"] for record in found] == ["malformed_request"]


def test_a_listener_without_http2_does_not_offer_it(directory, upstream):
    gateway, authority = start(directory, upstream.address, False)
    with Client(gateway.port, tls=authority.trusted_by_client(alpn=H2)) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"
        assert client.ask("/plain").status == 200
    with pytest.raises(ssl.SSLError):
        Http2Client(gateway.port, tls=authority.trusted_by_client(alpn=["h2"]))
    gateway.stop()


def test_clients_of_every_day_are_served(started):
    gateway, authority = started
    url = f"https://127.0.0.1:{gateway.port}"
    curl = ["curl", "--silent", "--fail", "--cacert", authority.cert, "--output", "/dev/null"]
    for command, path, version in [
        ([*curl, "--http2"], "/tls/curl/2", "2"),
        ([*curl, "--http1.1"], "/tls/curl/1.1", "1.1"),
        (["nghttp", "--null-out"], "/tls/nghttp", "2"),
    ]:
        subprocess.run([*command, url + path], check=True, timeout=20)
        record = gateway.record_where(lambda record, path=path: record.get("request", {}).get("path") == path, path)
        assert (record["end"], record["request"]["http"]) == ("ok", version), record


def test_each_of_many_requests_has_its_record(started):
    gateway, _ = started
    url = f"https://127.0.0.1:{gateway.port}/tls/many"
    ran = subprocess.run(
        ["h2load", "-n2000", "-c5", "-m20", url], check=True, timeout=60, capture_output=True, text=True
    )
    assert "2000 succeeded" in ran.stdout, ran.stdout

    def new() -> list[dict]:
        written = gateway.written_records()
        return [record for record in written if record.get("request", {}).get("path") == "/tls/many"]

    wait_until(lambda: len(new()) == 2000, "2000 records")
    assert Counter(record["end"] for record in new()) == {"ok": 2000}


def test_what_is_in_flight_at_a_stop_is_served(directory, upstream):
    gateway, authority = start(directory, upstream.address, True)
    streams = range(1, 200, 2)
    with Http2Client(gateway.port, tls=authority.trusted_by_client(alpn=H2)) as client:
        client.send(*(request(stream, f"/held/{stream}", scheme="https") for stream in streams))
        wait_until(lambda: len(upstream.seen) == len(streams), "all are upstream")
        gateway.process.terminate()
        client.read_until(lambda: client.goaway == http2.NO_ERROR)
        upstream.released.set()
        assert {client.answer(stream).status for stream in streams} == {200}
        client.rest()
        gateway.wait(0)
    assert {record["end"] for record in records(gateway, client.source_port, len(streams))} == {"ok"}
