"""Certificates are replaced under a running gateway: no connection is dropped, what cannot be read changes nothing."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.certificates import EXPIRED, Authority, Issued
from harness.conditions import wait_until
from harness.files import replace
from harness.gateway import Gateway, route, total
from harness.wire import Client


@pytest.fixture
def authority(directory: Path) -> Authority:
    return Authority(directory / "tls")


@pytest.fixture
def served_pair(authority: Authority) -> Issued:
    """The files that the gateway reads."""
    return authority.issue("served", ["api.test"])


@pytest.fixture
def gateway(directory, upstream, served_pair) -> Iterator[Gateway]:
    def tls(config: dict) -> None:
        config["listen"][0]["tls"] = {"certificates": [served_pair.configured]}

    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")], tls).start()
    yield gateway
    gateway.kill()


def shown(gateway: Gateway, authority: Authority) -> bytes:
    """The certificate that a new connection is shown (DER), after a request on it was served."""
    with gateway.connect(tls=authority.trusted_by_client()) as client:
        assert client.ask("/new").status == 200
        return certificate_of(client)


def certificate_of(client: Client) -> bytes:
    return client.socket.getpeercert(binary_form=True)


def der(pair: Issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


def test_a_new_certificate_is_for_new_connections_and_open_ones_go_on(gateway, authority, served_pair):
    with gateway.connect(tls=authority.trusted_by_client()) as kept, gateway.connect() as late:
        assert kept.ask("/kept/1").status == 200
        old, new = der(served_pair), authority.issue("new", ["api.test"], valid=(-1, 200))
        assert shown(gateway, authority) == old != der(new)
        served_pair.replace_with(new)
        gateway.reload()
        wait_until(lambda: shown(gateway, authority) == der(new), "new connections see the new certificate")
        # The one from before still has what it began with, and is served as before.
        assert kept.ask("/kept/2").status == 200 and certificate_of(kept) == old
        # One that was accepted before, and shakes hands now, sees the new one.
        late.secure(authority.trusted_by_client())
        assert late.ask("/late").status == 200 and certificate_of(late) == der(new)
        ends = total(gateway.metrics(), "sealgate_tls_certificate_expiry_timestamp_seconds", listener="edge")
        assert ends == int(new.certificate.not_valid_after_utc.timestamp())
    assert gateway.reloads("ok") >= 1 and gateway.reloads("failed") == 0
    gateway.stop()
    assert len([record for record in gateway.audited().records if record.get("event") == "start"]) == 1


def test_a_request_in_flight_is_answered_over_a_reload(gateway, authority, served_pair, upstream):
    with gateway.connect(tls=authority.trusted_by_client()) as client:
        client.send(b"GET /held/1 HTTP/1.1\r\nHost: api.test\r\n\r\n")
        wait_until(lambda: upstream.seen, "the request reaches the upstream")
        new = authority.issue("new", ["api.test"])
        served_pair.replace_with(new)
        gateway.reload()
        wait_until(lambda: shown(gateway, authority) == der(new), "the new certificate")
        upstream.released.set()
        assert client.reader.response().body == b"late\n"
    gateway.stop()


def test_a_replaced_file_is_seen_without_a_signal(gateway, authority, served_pair):
    new = authority.issue("new", ["api.test"])
    assert shown(gateway, authority) == der(served_pair)
    served_pair.replace_with(new)
    wait_until(lambda: shown(gateway, authority) == der(new), "new connections see the new certificate")
    gateway.stop()


def test_a_directory_that_is_swapped_as_kubernetes_does_is_seen_too(directory, upstream, authority):
    """A mounted secret: the files are links through `..data`, which is replaced by rename."""
    mount = directory / "mount"
    mount.mkdir()

    def swap(name: str, pair: Issued) -> None:
        (mount / name).mkdir()
        for file, source in (("tls.crt", pair.cert), ("tls.key", pair.key)):
            (mount / name / file).write_bytes(source.read_bytes())
        os.symlink(name, mount / "..data_tmp")
        (mount / "..data_tmp").rename(mount / "..data")

    first, second = authority.issue("first", ["api.test"]), authority.issue("second", ["api.test"])
    swap("..2026_1", first)
    for file in ("tls.crt", "tls.key"):
        os.symlink(f"..data/{file}", mount / file)

    def tls(config: dict) -> None:
        pair = {"cert": str(mount / "tls.crt"), "key": str(mount / "tls.key")}
        config["listen"][0]["tls"] = {"certificates": [pair]}

    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")], tls).start()
    assert shown(gateway, authority) == der(first)
    swap("..2026_2", second)
    wait_until(lambda: shown(gateway, authority) == der(second), "the new certificate")
    gateway.stop()


def broken_pairs(authority: Authority, pair: Issued) -> dict[str, tuple[bytes | None, bytes | None]]:
    """A certificate and a key that must not replace what serves; None removes the file."""
    good, other = authority.issue("good", ["api.test"]), authority.issue("other", ["api.test"])
    cert, key = good.cert.read_bytes(), good.key.read_bytes()
    return {
        "garbage": (b"garbage", key),
        "empty": (b"", key),
        "half of a certificate": (cert[: len(cert) // 2], key),
        "no certificate": (None, key),
        "no key": (cert, None),
        "a key in place of a certificate": (key, key),
        "another's key": (cert, other.key.read_bytes()),
        "expired": (authority.issue("old", ["api.test"], valid=EXPIRED).cert.read_bytes(), None),
        "only the certificate is new yet": (cert, pair.key.read_bytes()),
    }


def test_what_cannot_be_used_changes_nothing_and_is_said(gateway, authority, served_pair):
    old, cert, key = der(served_pair), served_pair.cert.read_bytes(), served_pair.key.read_bytes()
    with gateway.connect(tls=authority.trusted_by_client()) as kept:
        for what, pair in broken_pairs(authority, served_pair).items():
            failed, said = gateway.reloads("failed"), gateway.log_text().count("ERROR")
            for file, data in zip((served_pair.cert, served_pair.key), pair, strict=True):
                if data is None:
                    file.unlink(missing_ok=True)
                else:
                    replace(file, data)
            gateway.reload()
            wait_until(lambda failed=failed: gateway.reloads("failed") > failed, f"the reload fails: {what}")
            wait_until(lambda said=said: gateway.log_text().count("ERROR") > said, f"it is said: {what}")
            assert shown(gateway, authority) == old, what
            assert kept.ask("/kept").status == 200, what
            well = gateway.reloads("ok")
            replace(served_pair.key, key)
            replace(served_pair.cert, cert)
            served_pair.key.chmod(0o600)
            gateway.reload()
            wait_until(lambda well=well: gateway.reloads("ok") > well, "what was there before is read")
    for line in gateway.log_text().splitlines():
        if "ERROR" in line:
            assert "served.pem" in line or "served.key" in line, line
    new = authority.issue("new", ["api.test"])
    served_pair.replace_with(new)
    gateway.reload()
    wait_until(lambda: shown(gateway, authority) == der(new), "a good one is taken all the same")
    gateway.stop()


def test_a_changed_configuration_is_told_to_need_a_restart(gateway, authority):
    gateway.config["listen"][0]["http2"] = True
    gateway.write_config()
    gateway.reload()
    wait_until(lambda: "restart" in gateway.log_text(), "the log names the restart that it needs")
    assert [line for line in gateway.log_text().splitlines() if "restart" in line and "WARN" in line]
    assert shown(gateway, authority)
    gateway.stop()


def test_a_flood_of_signals_drops_nothing(gateway, authority):
    with gateway.connect(tls=authority.trusted_by_client()) as client:
        for number in range(200):
            gateway.reload()
            assert client.ask(f"/storm/{number}").status == 200
    assert shown(gateway, authority)
    gateway.stop()
    gateway.audited()
