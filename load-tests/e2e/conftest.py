"""Fixtures: scratch directories, upstreams and gateways, all gone when a test ends."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.files import remove
from harness.gateway import Gateway, route
from harness.traffic import Traffic
from harness.upstream import Upstream


@pytest.fixture(scope="module", autouse=True)
def no_gateway_is_left() -> Iterator[None]:
    """A fixture that fails halfway leaves its gateway running: not beyond its file."""
    yield
    while Gateway.launched:
        Gateway.launched.pop().kill()


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for the tests of one file. A store's files are immutable where privileges allow: undone here."""
    directory = tmp_path_factory.mktemp(request.module.__name__.removeprefix("test_"))
    yield directory
    remove(directory)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory for one test."""
    yield tmp_path
    remove(tmp_path)


@pytest.fixture(scope="module")
def module_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def another_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    """An upstream that knows each request that reached it, and who asks it."""
    traffic = Traffic()
    yield traffic
    traffic.close()


@pytest.fixture
def gateway(directory: Path, upstream: Upstream) -> Iterator[Gateway]:
    """A gateway that is not started yet, with one route to one upstream."""
    gateway = Gateway(directory / "gateway", {"main": upstream.address}, [route("all")])
    yield gateway
    gateway.kill()
