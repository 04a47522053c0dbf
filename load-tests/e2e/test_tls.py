"""TLS as others see it: what is offered, what is chosen, what is refused; and a record of each attempt."""

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sslyze import (
    ScanCommand,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
)

from harness.certificates import Authority, Issued, serving
from harness.decisions import refused, served
from harness.gateway import Gateway, route
from harness.moments import now
from harness.ports import LOOPBACK, free_port, steady_port
from harness.upstream import Upstream
from harness.wire import Client, Closed, ask, request_bytes

# By openssl's name: TLS 1.2 with forward secrecy and authenticated encryption, and nothing else.
GOOD_1_2 = {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"}
GOOD_1_3 = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"}
VERSIONS = {
    "ssl2": ScanCommand.SSL_2_0_CIPHER_SUITES,
    "ssl3": ScanCommand.SSL_3_0_CIPHER_SUITES,
    "1.0": ScanCommand.TLS_1_0_CIPHER_SUITES,
    "1.1": ScanCommand.TLS_1_1_CIPHER_SUITES,
    "1.2": ScanCommand.TLS_1_2_CIPHER_SUITES,
    "1.3": ScanCommand.TLS_1_3_CIPHER_SUITES,
}
FLAWS = [
    ScanCommand.TLS_COMPRESSION,
    ScanCommand.HEARTBLEED,
    ScanCommand.ROBOT,
    ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.SESSION_RENEGOTIATION,
    ScanCommand.TLS_1_3_EARLY_DATA,
]
HEADER_TIMEOUT = "1500ms"


@pytest.fixture(scope="module")
def authority(module_directory: Path) -> Authority:
    return Authority(module_directory / "tls")


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> dict[str, Issued]:
    return {
        "api": authority.issue("api", ["api.test"]),
        "wild": authority.issue("wild", ["*.wild.test", "wild.test"]),
        "exact": authority.issue("exact", ["one.wild.test"]),
    }


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream, certificates) -> Iterator[Gateway]:
    def listeners(config: dict) -> None:
        pairs = [certificate.configured for certificate in certificates.values()]
        (edge,) = config["listen"]
        edge |= {"tls": {"certificates": pairs}, "http2": True, "timeouts": {"header": HEADER_TIMEOUT}}
        config["listen"] += [
            {"name": "new", "address": f"{LOOPBACK}:{steady_port()}"}
            | {"tls": {"certificates": pairs[:1], "min_version": "1.3"}},
            {"name": "plain", "address": f"{LOOPBACK}:{steady_port()}", "redirect_to_https": 8443},
        ]

    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, [route("all")], listeners)
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


def scanned(port: int) -> dict:
    """What an independent scanner finds out about a port, by command."""
    scanner = Scanner()
    server = ServerNetworkLocation(hostname="api.test", port=port, ip_address=LOOPBACK)
    network = ServerNetworkConfiguration(tls_server_name_indication="api.test")
    scanner.queue_scans([ServerScanRequest(server, network, scan_commands={*VERSIONS.values(), *FLAWS})])
    (result,) = scanner.get_results()
    assert result.scan_result, f"nothing to scan there: {result.connectivity_error_trace}"
    found = {command: getattr(result.scan_result, command.value) for command in (*VERSIONS.values(), *FLAWS)}
    assert not [command for command, attempt in found.items() if attempt.error_reason], found
    return {command: attempt.result for command, attempt in found.items()}


def ciphers(found: dict) -> dict[str, set[str]]:
    """The cipher suites that are accepted, by version, where there are any."""
    accepted = {
        version: {suite.cipher_suite.openssl_name for suite in found[command].accepted_cipher_suites}
        for version, command in VERSIONS.items()
    }
    return {version: suites for version, suites in accepted.items() if suites}


def test_only_safe_versions_and_ciphers_are_spoken(gateway, authority):
    found = scanned(gateway.port)
    assert ciphers(found) == {"1.2": GOOD_1_2, "1.3": GOOD_1_3}
    assert not found[ScanCommand.TLS_COMPRESSION].supports_compression
    assert not found[ScanCommand.HEARTBLEED].is_vulnerable_to_heartbleed
    assert not found[ScanCommand.OPENSSL_CCS_INJECTION].is_vulnerable_to_ccs_injection
    assert not found[ScanCommand.TLS_1_3_EARLY_DATA].supports_early_data, "it could be replayed"
    assert not found[ScanCommand.SESSION_RENEGOTIATION].is_vulnerable_to_client_renegotiation_dos
    assert found[ScanCommand.ROBOT].robot_result.value.startswith("NOT_VULNERABLE")
    assert gateway.ask("/after", tls=authority.trusted_by_client()).status == 200


def test_the_oldest_version_can_be_raised(gateway, authority):
    assert ciphers(scanned(gateway.port_of("new"))) == {"1.3": GOOD_1_3}
    assert ask(gateway.port_of("new"), "/new", tls=authority.trusted_by_client()).status == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_the_scanner_would_see_what_is_weak(authority):
    """Else the two tests above would protect nothing."""
    lax = serving(authority.issue("lax", ["api.test"]))
    lax.minimum_version = ssl.TLSVersion.TLSv1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    server = Upstream(lax)
    try:
        found = ciphers(scanned(server.port))
        assert {"1.0", "1.1"} <= set(found) and "ECDHE-ECDSA-AES256-SHA" in found["1.2"], found
    finally:
        server.close()


@pytest.mark.parametrize(
    ("offer", "listener", "passes"),
    [
        (["-tls1_3"], "edge", True),
        (["-tls1_2"], "edge", True),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "edge", True),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "edge", False),
        (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "edge", False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"], "edge", False),
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"], "edge", False),
        (["-tls1_2", "-cipher", "eNULL:aNULL:@SECLEVEL=0"], "edge", False),
        (["-tls1_2"], "new", False),
        (["-tls1_3"], "new", True),
        (["-alpn", "http/1.1"], "edge", True),
        (["-alpn", "spdy/3,imap"], "edge", False),
        (["-alpn", "h2"], "new", False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_is_refused_in_a_handshake_is_on_the_log_with_its_name(gateway, authority, offer, listener, passes):
    source, since = free_port(), now()
    target = ["-connect", f"{LOOPBACK}:{gateway.port_of(listener)}", "-bind", f"{LOOPBACK}:{source}"]
    trust = ["-servername", "api.test", "-CAfile", str(authority.cert), "-verify_return_error", "-ign_eof"]
    done = subprocess.run(
        ["openssl", "s_client", *target, *trust, *offer],
        input=request_bytes("/s_client", fields={"Connection": "close"}),
        capture_output=True,
        timeout=30,
        check=False,
    )
    record = gateway.record_at(source, since)
    if passes:
        assert b"HTTP/1.1 200" in done.stdout, done
        assert record["kind"] == "completed" and record["tls"]["sni"] == "api.test"
        assert record["tls"]["version"] in done.stdout.decode(), done
    else:
        assert b"HTTP/1.1" not in done.stdout, done
        assert (record["kind"], record["reason"]) == ("rejected", "tls_incompatible"), record
        # A hello of a version that is not spoken is not read to its end.
        assert record.get("tls", {"sni": "api.test"}) == {"sni": "api.test"}, record


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_record_tells_how_its_connection_was_secured(gateway, module_upstream, authority, version):
    tls = authority.trusted_by_client()
    tls.minimum_version = tls.maximum_version = version
    with gateway.connect(tls=tls) as client:
        record, seen = served(gateway, module_upstream, client.ask("/secured"))
        (name, _, _), spoken = client.socket.cipher(), client.socket.version()
    told = record["tls"]
    assert (told["version"], told["sni"]) == (spoken, "api.test")
    assert told["cipher"] == (name if name.startswith("TLS_") else iana(name))
    assert set(told) == {"version", "cipher", "sni"}, "no certificate was asked for"
    assert record["request"]["scheme"] == "https"
    assert seen.message.all("x-forwarded-proto") == ["https"]


def iana(openssl_name: str) -> str:
    """`ECDHE-ECDSA-AES256-GCM-SHA384` as the register of cipher suites has it."""
    known = subprocess.run(["openssl", "ciphers", "-stdname"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[0] for line in known.splitlines() if line.split()[2] == openssl_name)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("api.test", "api"),
        ("API.Test", "api"),
        ("one.wild.test", "exact"),
        ("two.wild.test", "wild"),
        ("wild.test", "wild"),
        ("a.two.wild.test", "api"),
        ("unknown.test", "api"),
        ("test", "api"),
        (None, "api"),
    ],
)
def test_the_name_that_is_asked_for_chooses_the_certificate(gateway, certificates, asked, shown):
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with gateway.connect() as client:
        client.secure(trusting, asked)
        der = client.socket.getpeercert(binary_form=True)
        response = client.ask("/sni")
    assert response.status == 200
    assert der == ssl.PEM_cert_to_DER_cert(certificates[shown].cert.read_text())
    assert gateway.record(response.get("x-request-id"))["tls"].get("sni") == (asked and asked.lower())


def hello(name: str = "api.test") -> bytes:
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs two")


@dataclass(frozen=True)
class Broken:
    """What is sent in place of a handshake."""

    sent: bytes
    reason: str
    then_fin: bool = False
    sni: str | None = None


HELLO = hello()
BROKEN = {
    "plain HTTP": Broken(request_bytes("/plain"), "tls_malformed"),
    "an SSLv2 hello": Broken(
        bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"), "tls_malformed"
    ),
    "bytes that mean nothing": Broken(bytes(range(256)), "tls_malformed"),
    "HTTP/2's preface": Broken(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "tls_malformed"),
    "records of no length": Broken(bytes.fromhex("1603010000") * 3, "tls_malformed"),
    "a record that is too long": Broken(bytes.fromhex("160301ffff") + bytes(65535), "tls_malformed"),
    "application data first": Broken(bytes.fromhex("1703030004") + b"GET ", "tls_malformed"),
    "a ServerHello": Broken(bytes.fromhex("160303000602000002 0303".replace(" ", "")), "tls_malformed"),
    "an alert": Broken(bytes.fromhex("15030100020228"), "tls_malformed"),
    "half a hello, then FIN": Broken(HELLO[:60], "tls_closed", then_fin=True),
    "a hello, then FIN": Broken(HELLO, "tls_closed", then_fin=True, sni="api.test"),
    "nothing, then FIN": Broken(b"", "no_request", then_fin=True),
    "half a hello, then silence": Broken(HELLO[:60], "tls_timeout"),
    "a hello, then silence": Broken(HELLO, "tls_timeout", sni="api.test"),
    "silence": Broken(b"", "no_request"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_handshake_is_on_the_log_and_the_neighbour_is_served(gateway, authority, case):
    broken = BROKEN[case]
    with gateway.connect(tls=authority.trusted_by_client()) as neighbour, gateway.connect() as client:
        assert neighbour.ask("/neighbour/before").status == 200
        client.send(broken.sent)
        if broken.then_fin:
            client.finish_sending()
        client.reader.rest()
        record = gateway.record_from(client)
        assert (record["kind"], record["reason"]) == ("rejected", broken.reason), record
        assert record.get("tls", {}) == ({"sni": broken.sni} if broken.sni else {}), record
        assert record["listener"] == "edge" and record["bytes"] <= len(broken.sent)
        assert neighbour.ask("/neighbour/after").status == 200


def test_a_handshake_in_single_bytes_is_one_all_the_same(gateway, module_upstream, authority):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = authority.trusted_by_client().wrap_bio(incoming, outgoing, server_hostname="api.test")
    with gateway.connect() as client:

        def flush() -> None:
            for byte in outgoing.read():
                client.send(bytes([byte]))

        def until_done(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(client.socket.recv(65536))

        until_done(secured.do_handshake)
        secured.write(request_bytes("/drop-by-drop"))
        flush()
        assert b" 200 " in until_done(lambda: secured.read(65536))
        assert gateway.record_from(client)["request"]["path"] == "/drop-by-drop"


def test_a_client_that_does_not_believe_the_certificate_is_on_the_log(gateway, directory):
    stranger = Authority(directory)
    with gateway.connect() as client, pytest.raises(ssl.SSLCertVerificationError):
        client.secure(stranger.trusted_by_client())
    record = gateway.record_from(client)
    assert (record["kind"], record["reason"]) == ("rejected", "tls_alert"), record


def test_what_is_malformed_within_tls_is_recorded_with_how_it_was_secured(gateway, authority):
    with gateway.connect(tls=authority.trusted_by_client()) as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.reader.response().status == 400
    record = gateway.record_from(client)
    assert (record["kind"], record["reason"], record["tls"]["sni"]) == ("rejected", "malformed_request", "api.test")


def test_stalling_after_the_handshake_ends_as_without_tls(gateway, authority):
    with gateway.connect(tls=authority.trusted_by_client()) as client:
        client.send(b"GET /half HTTP/1.1\r\nHost: api")
        assert client.reader.response().status == 408
    record = gateway.record_from(client)
    assert (record["kind"], record["reason"], record["tls"]["sni"]) == ("rejected", "header_timeout", "api.test")


@pytest.mark.parametrize(
    ("method", "target", "host", "location"),
    [
        ("GET", "/a/b?x=1&y=%2f", "api.test", "https://api.test:8443/a/b?x=1&y=%2f"),
        ("POST", "/a", "api.test:8080", "https://api.test:8443/a"),
        ("DELETE", "/", "API.test.", "https://api.test:8443/"),
        ("GET", "http://api.test/absolute", "api.test", "https://api.test:8443/absolute"),
        ("GET", "//evil.test/x", "api.test", "https://api.test:8443//evil.test/x"),
    ],
)
def test_a_plain_listener_can_send_everybody_to_tls(gateway, module_upstream, method, target, host, location):
    response = ask(gateway.port_of("plain"), target, method, host=host)
    record = refused(gateway, module_upstream, response, 308, "redirected_to_https")
    assert response.get("location") in (location, location.replace("//evil", "/evil"))
    assert record["listener"] == "plain" and record["request"]["scheme"] == "http"
    assert gateway.config["listen"][2]["redirect_to_https"] == 8443


@pytest.mark.parametrize("host", ["a b", "x@evil.test", "api.test/evil", "api.test#"])
def test_a_redirect_goes_to_no_host_that_is_none(gateway, host):
    with Client(gateway.port_of("plain")) as client:
        response = client.ask("/x", host=host)
        assert response.status == 400 and not response.get("location")
    assert gateway.record_from(client)["response"]["status"] == 400


def by_curl(gateway: Gateway, authority: Authority, *options: str) -> list[str]:
    """Status, version of HTTP and request id."""
    at = ["--resolve", f"api.test:{gateway.port}:{LOOPBACK}", "--cacert", str(authority.cert)]
    write = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version} %header{x-request-id}"]
    url = f"https://api.test:{gateway.port}/curl"
    return subprocess.run(
        ["curl", *at, *write, *options, url], capture_output=True, text=True, check=True, timeout=30
    ).stdout.split(" ")


@pytest.mark.parametrize(
    ("options", "version"),
    [(["--http1.1"], "1.1"), (["--http2"], "2"), (["--no-alpn"], "1.1"), (["--http2", "-d", "body"], "2")],
    ids=lambda value: " ".join(value),
)
def test_curl_speaks_what_was_agreed_on(gateway, authority, options, version):
    status, spoken, request_id = by_curl(gateway, authority, *options)
    assert (status, spoken) == ("200", version)
    record = gateway.record(request_id)
    assert (record["request"]["http"], record["request"]["scheme"], record["tls"]["sni"]) == (
        version,
        "https",
        "api.test",
    )


def test_nghttp_is_served_over_http2(gateway, authority):
    done = subprocess.run(
        ["nghttp", "-v", "-H", "x-probe: 1", "-H", ":authority: api.test", f"https://{LOOPBACK}:{gateway.port}/nghttp"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0 and ":status: 200" in done.stdout, done
    record = gateway.record_where(lambda record: record.get("request", {}).get("path") == "/nghttp", "nghttp's request")
    assert (record["request"]["http"], record["request"]["host"]) == ("2", "api.test")
    assert record["tls"]["version"] == "TLSv1.3"


def test_a_connection_without_a_handshake_is_never_a_request(gateway, module_upstream):
    """Of all that was sent here in the clear, nothing came to the upstream."""
    assert not [seen for seen in list(module_upstream.seen) if "plain" in seen.target]
    with pytest.raises(Closed), gateway.connect() as client:
        client.ask("/plain/again")
