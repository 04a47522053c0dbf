"""Which route a request takes, and what becomes of its path."""

from collections.abc import Iterator

import pytest

from harness.gateway import Gateway, route
from harness.ports import LOOPBACK, free_port
from harness.upstream import Upstream

ROUTES = [
    route("site", "site", match={"hosts": ["site.test"], "path_prefix": "/"}),
    route("site-orders", match={"hosts": ["site.test"], "path_prefix": "/orders"}),
    route("any-orders", match={"path_prefix": "/orders"}),
    route("orders-archive", match={"path_prefix": "/orders/archive"}),
    route("orders-exact", match={"path": "/orders/archive"}),
    route("orders-post", match={"path_prefix": "/orders", "methods": ["POST"]}),
    route("read-only", match={"path_prefix": "/read-only", "methods": ["GET"]}),
    route("stripped", match={"path_prefix": "/strip"}, rewrite={"strip_prefix": "/strip"}),
    route("down", "down", match={"path_prefix": "/down"}),
    route("impatient", match={"path_prefix": "/held"}, timeout="300ms"),
]


@pytest.fixture(scope="module")
def site() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream, site) -> Iterator[Gateway]:
    upstreams = {"main": module_upstream.address, "site": site.address, "down": f"{LOOPBACK}:{free_port()}"}
    gateway = Gateway(module_directory / "gateway", upstreams, ROUTES).start()
    yield gateway
    gateway.stop()
    gateway.audited()


@pytest.mark.parametrize(
    ("method", "host", "target", "name"),
    [
        ("GET", "site.test", "/", "site"),
        ("GET", "SITE.test:80", "/else", "site"),
        ("GET", "site.test.", "/else", "site"),
        ("GET", "site.test", "/orders/archive", "site-orders"),
        ("GET", "other.test", "/orders", "any-orders"),
        ("GET", "other.test", "/orders/1", "any-orders"),
        ("GET", "other.test", "/orders/archive/1", "orders-archive"),
        ("GET", "other.test", "/orders/archive", "orders-exact"),
        ("POST", "other.test", "/orders/1", "orders-post"),
        ("POST", "other.test", "/orders/archive/1", "orders-archive"),
    ],
)
def test_exact_host_then_longest_path_then_methods(gateway, method, host, target, name):
    response = gateway.ask(target, method, host=host)
    assert response.status == 200
    assert gateway.record(response.get("x-request-id"))["route"] == name


@pytest.mark.parametrize("target", ["/ordersX", "/order", "/", "/Orders/1"])
def test_a_prefix_matches_whole_segments_and_nothing_else(gateway, target):
    response = gateway.ask(target)
    assert response.status == 404
    record = gateway.record(response.get("x-request-id"))
    assert (record["end"], record["response"]["status"]) == ("refused", 404)
    assert "route" not in record and "upstream" not in record


def test_a_method_that_no_route_takes_is_refused(gateway):
    response = gateway.ask("/read-only/1", "DELETE")
    assert response.status in (404, 405)
    assert gateway.record(response.get("x-request-id"))["end"] == "refused"


@pytest.mark.parametrize(
    ("target", "upstream_target"), [("/strip/a/b?x=1", "/a/b?x=1"), ("/strip", "/"), ("/strip/", "/")]
)
def test_a_stripped_prefix_does_not_reach_the_upstream(gateway, module_upstream, target, upstream_target):
    response = gateway.ask(target)
    request_id = response.get("x-request-id")
    (seen,) = [seen for seen in list(module_upstream.seen) if seen.request_id == request_id]
    assert seen.target == upstream_target
    assert gateway.record(request_id)["request"]["path"] == target.partition("?")[0], (
        "the record keeps the path that was routed"
    )


def test_what_is_normalised_away_cannot_choose_another_route(gateway):
    response = gateway.ask("/orders/../read-only/1")
    assert gateway.record(response.get("x-request-id"))["route"] == "read-only"


def test_an_upstream_that_is_down_is_a_502_with_a_reason(gateway):
    response = gateway.ask("/down/1")
    assert response.status == 502
    record = gateway.record(response.get("x-request-id"))
    assert (record["end"], record["error"], record["route"]) == ("upstream_failed", "ConnectRefused", "down")


def test_an_upstream_that_hangs_up_is_a_502(gateway):
    response = gateway.ask("/orders/../orders/drop")
    assert response.status == 200
    response = gateway.ask("/strip/drop/1")
    assert response.status == 502
    assert gateway.record(response.get("x-request-id"))["end"] == "upstream_failed"


def test_a_route_has_no_more_time_than_it_was_given(gateway):
    response = gateway.ask("/held/1")
    assert response.status == 504
    assert gateway.record(response.get("x-request-id"))["end"] == "timeout"
