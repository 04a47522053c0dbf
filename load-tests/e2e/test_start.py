"""A gateway that must not start says why, with the exit code that tells an operator what to do."""

import shutil
import socket

import pytest

from harness.binaries import sealgate
from harness.files import make_mutable
from harness.gateway import Gateway, route
from harness.ports import LOOPBACK
from sealformat.note import Signer


def refuses(gateway: Gateway, code: int, *words: str) -> None:
    gateway.launch()
    gateway.wait(code)
    text = gateway.log_text()
    for word in words:
        assert word in text, f"{word!r} is expected in:\n{text}"


def test_a_second_gateway_on_the_same_spool_is_told_to_try_again(gateway, directory, upstream):
    gateway.start()
    second = Gateway(directory / "second", {"main": upstream.address}, [route("all")])
    second.config["audit"] |= {
        "key": {"file": str(gateway.directory / "gateway.key")},
        "spool": {"path": str(gateway.spool)},
        "store": {"directory": str(gateway.store)},
    }
    refuses(second, 75, str(gateway.spool))
    assert gateway.ask("/first/lives").status == 200
    gateway.stop()
    gateway.audited()


def test_a_log_begins_only_where_the_configuration_says_so(gateway):
    gateway.config["audit"]["create_log"] = False
    gateway.store.mkdir()
    refuses(gateway, 78, "create_log")
    assert not list(gateway.directory.rglob("*.zst"))


def test_a_store_that_is_not_there_may_come_back(gateway):
    """A file system that is not mounted must not look like a new log."""
    gateway.config["audit"]["create_log"] = False
    refuses(gateway, 75, str(gateway.store))


def test_a_missing_marker_is_not_made_anew(gateway):
    gateway.start()
    gateway.stop()
    gateway.config["audit"]["create_log"] = False
    make_mutable(gateway.store)
    marker = gateway.store / gateway.signer.name / "log"
    marker.unlink()
    refuses(gateway, 78)
    assert not marker.exists()


def test_a_key_of_another_name_is_a_configuration_error(gateway):
    key = gateway.directory / "gateway.key"
    key.write_text(f"{Signer.generate('audit.test/gw-2')}\n")
    refuses(gateway, 78, "audit.test/gw-2", "audit.test/gw-1")


def test_another_key_of_the_same_name_is_broken_evidence(gateway):
    gateway.start()
    gateway.stop()
    key = gateway.directory / "gateway.key"
    key.write_text(f"{Signer.generate(gateway.signer.name)}\n")
    refuses(gateway, 70)


def test_a_key_that_others_can_read_is_refused(gateway):
    (gateway.directory / "gateway.key").chmod(0o644)
    refuses(gateway, 78, "gateway.key", "0644")


def test_an_address_in_use_is_told_to_try_again(gateway):
    with socket.socket() as other:
        other.bind((LOOPBACK, gateway.port))
        other.listen()
        refuses(gateway, 75, str(gateway.port))


def test_a_split_log_is_refused_and_both_roots_are_named(gateway, directory):
    """Two gateways with one key and one log, each with a spool of its own: the store arbitrates."""
    gateway.start()
    gateway.ask("/first")
    gateway.stop()
    make_mutable(gateway.directory)
    shutil.copytree(gateway.spool, directory / "old-spool")
    gateway.start()
    gateway.ask("/second")
    gateway.stop()
    shutil.rmtree(gateway.spool)
    shutil.copytree(directory / "old-spool", gateway.spool)
    gateway.launch()
    gateway.wait(70)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["version"]),
        (b"\x00\xff\xfe\x80", ["sealgate.yaml"]),
        (b"version: 1\nversion: 1\n", ["sealgate.yaml:2"]),
        (b"version: 1\nlistne: []\n", ["sealgate.yaml:2:1", "unknown key `listne`", "did you mean `listen`?"]),
        (b"version: 1\n" + b"listen: &a [*a]\n", ["sealgate.yaml"]),
        (b"version: 7\n", ["sealgate.yaml:1", "7"]),
        (b"version: 1\nroutes: " + b"[" * 20000, ["sealgate.yaml"]),
        (b"version: 1\nredact: {}\n", ["unknown key `redact`"]),
        (b"version: 1\naudit: {log: 'UPPER CASE'}\n", ["UPPER CASE"]),
    ],
    ids=[
        "empty",
        "binary",
        "duplicate key",
        "misspelt key",
        "cyclic",
        "another version",
        "deep",
        "a key of a later version",
        "a bad log name",
    ],
)
def test_a_configuration_that_cannot_be_meant_is_explained(gateway, text, words):
    gateway.config_file.write_bytes(text)
    outcome = sealgate("validate", "--no-environment", "-c", gateway.config_file).expect(78)
    for word in words:
        assert word in outcome.out + outcome.err, f"{word!r} is expected\n{outcome}"
