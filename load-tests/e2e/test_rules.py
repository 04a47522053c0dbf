"""Rules: each condition lets in whom it names and nobody else, and no spelling of a path gets around one."""

from collections.abc import Iterator

import pytest

from harness.decisions import refused, served
from harness.gateway import Gateway, route
from harness.identities import as_actor, knows

PEOPLE = {"alice": ["ops"], "bob": ["dev", "on-call"], "svc-billing": [], "root": ["admins"], "ALICE": []}
OFFICE, ELSEWHERE, PROXY = "127.0.0.7", "127.0.0.8", "127.0.0.9"
RULES = {
    "by-actor": {"actors": ["svc-billing", "alice"]},
    "by-group": {"groups": ["ops", "on-call"]},
    "by-method": {"methods": ["GET", "HEAD"]},
    "by-path": {"paths": ["/by-path/*/items", "/by-path/open/**", "/by-path/exact"]},
    "by-source": {"sources": [f"{OFFICE}/32", "203.0.113.0/24"]},
    "by-all": {"actors": ["alice", "bob"], "groups": ["ops"], "methods": ["GET"], "sources": [f"{OFFICE}/32"]},
}


def allow(config: dict) -> None:
    config["listen"][0]["client_address"] = {"from": "x-forwarded-for", "trusted": [f"{PROXY}/32"]}


def ruled(name: str, *rules: dict, **more) -> dict:
    return route(name, match={"path_prefix": f"/{name}"}, auth={"any_of": ["partners"]}, allow=list(rules), **more)


ROUTES = [
    *(ruled(name, {"name": f"{name}-rule"} | rule) for name, rule in RULES.items()),
    ruled(
        "ordered",
        {"name": "first", "groups": ["ops"], "methods": ["GET"]},
        {"name": "second", "groups": ["ops"]},
        {"name": "third", "actors": ["bob"]},
    ),
    route("whoever", match={"path_prefix": "/whoever"}, auth={"any_of": ["partners"]}),
    route("everybody", match={"path_prefix": "/everybody"}),
    route(
        "open-but-ruled",
        match={"path_prefix": "/open-but-ruled"},
        allow=[{"name": "reads", "methods": ["GET", "HEAD"]}],
    ),
]


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, ROUTES, allow)
    knows(gateway, PEOPLE)
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.verify().expect(0)
    gateway.audited()


ALLOWED = [
    ("alice", "GET", "/by-actor/1", {}, "by-actor-rule"),
    ("svc-billing", "DELETE", "/by-actor", {}, "by-actor-rule"),
    ("alice", "POST", "/by-group/1", {}, "by-group-rule"),
    ("bob", "GET", "/by-group/1", {}, "by-group-rule"),
    ("root", "GET", "/by-method/1", {}, "by-method-rule"),
    ("root", "HEAD", "/by-method/1", {}, "by-method-rule"),
    ("root", "GET", "/by-path/7/items", {}, "by-path-rule"),
    ("root", "GET", "/by-path/open/a/b/c", {}, "by-path-rule"),
    ("root", "GET", "/by-path/exact", {}, "by-path-rule"),
    ("root", "GET", "/by-source/1", {"source": OFFICE}, "by-source-rule"),
    ("root", "GET", "/by-source/1", {"source": PROXY, "forwarded": "203.0.113.9"}, "by-source-rule"),
    ("alice", "GET", "/by-all/1", {"source": OFFICE}, "by-all-rule"),
    ("alice", "GET", "/ordered/1", {}, "first"),
    ("alice", "POST", "/ordered/1", {}, "second"),
    ("bob", "GET", "/ordered/1", {}, "third"),
    ("root", "PATCH", "/whoever/1", {}, None),
    (None, "GET", "/open-but-ruled/1", {}, "reads"),
]
DENIED = [
    ("bob", "GET", "/by-actor/1", {}),
    ("ALICE", "GET", "/by-actor/1", {}),
    ("root", "GET", "/by-group/1", {}),
    ("svc-billing", "GET", "/by-group/1", {}),
    ("root", "POST", "/by-method/1", {}),
    ("root", "get", "/by-method/1", {}),
    ("root", "GETS", "/by-method/1", {}),
    ("root", "GET", "/by-path/7/8/items", {}),
    ("root", "GET", "/by-path/items", {}),
    ("root", "GET", "/by-path/7/items/1", {}),
    ("root", "GET", "/by-path/7/Items", {}),
    ("root", "GET", "/by-path/exact/", {}),
    ("root", "GET", "/by-path/exactly", {}),
    ("root", "GET", "/by-path", {}),
    ("root", "GET", "/by-path/open", {}),
    ("root", "GET", "/by-source/1", {"source": ELSEWHERE}),
    ("root", "GET", "/by-source/1", {"source": ELSEWHERE, "forwarded": "203.0.113.9"}),
    ("root", "GET", "/by-source/1", {"source": ELSEWHERE, "forwarded": OFFICE}),
    ("root", "GET", "/by-source/1", {"source": PROXY, "forwarded": "198.51.100.1"}),
    ("root", "GET", "/by-source/1", {"source": PROXY, "forwarded": "203.0.113.9, 198.51.100.1"}),
    ("alice", "GET", "/by-all/1", {"source": ELSEWHERE}),
    ("alice", "POST", "/by-all/1", {"source": OFFICE}),
    ("bob", "GET", "/by-all/1", {"source": OFFICE}),
    ("root", "GET", "/ordered/1", {}),
    (None, "POST", "/open-but-ruled/1", {}),
]


def ask(gateway: Gateway, actor: str | None, method: str, target: str, of: dict):
    fields = as_actor(actor) if actor else {}
    if "forwarded" in of:
        fields |= {"X-Forwarded-For": of["forwarded"]}
    return gateway.ask(target, method, fields, source=of.get("source", "127.0.0.1"))


@pytest.mark.parametrize(("actor", "method", "target", "of", "rule"), ALLOWED)
def test_a_rule_lets_in_what_it_names_and_the_record_names_the_rule(
    gateway, module_upstream, actor, method, target, of, rule
):
    record, seen = served(gateway, module_upstream, ask(gateway, actor, method, target, of))
    assert record["decision"] == {"outcome": "allow"} | ({"rule": rule} if rule else {})
    assert record.get("actor", {}).get("id") == actor
    assert (record["request"]["method"], record["request"]["path"]) == (seen.method, seen.target) == (method, target)


@pytest.mark.parametrize(("actor", "method", "target", "of"), DENIED)
def test_what_no_rule_names_is_denied_and_recorded_as_fully(gateway, module_upstream, actor, method, target, of):
    record = refused(gateway, module_upstream, ask(gateway, actor, method, target, of), 403, "denied")
    assert record.get("actor", {}).get("id") == actor, "who was denied"
    assert (record["request"]["method"], record["request"]["path"]) == (method, target)


def test_who_is_not_identified_meets_no_rule(gateway, module_upstream):
    for target in ("/by-method/1", "/by-path/exact", "/whoever/1"):
        refused(gateway, module_upstream, gateway.ask(target), 401, "credentials_missing")


def test_where_nothing_is_to_be_decided_nothing_is_recorded_as_decided(gateway, module_upstream):
    record, _ = served(gateway, module_upstream, gateway.ask("/everybody/1", fields=as_actor("root")))
    assert "decision" not in record and "actor" not in record


def test_what_would_have_a_server_see_another_request_than_was_let_in_is_taken_off(gateway, module_upstream):
    """Some servers route by these, and some frameworks take them for the method: a rule would be got around."""
    names = ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"]
    spelled = [*names, *map(str.upper, names), *(name.replace("-", "_") for name in names)]
    fields = [(name, "/admin") for name in spelled]
    for nominated in ([], [("Connection", ", ".join(names))]):
        response = gateway.ask("/by-method/1", fields=[*fields, *nominated, *as_actor("root").items(), ("X-Kept", "1")])
        _, seen = served(gateway, module_upstream, response)
        assert not [value for _, value in seen.message.fields if value == "/admin"], seen.message.fields
        assert seen.message.get("x-kept") == "1"


def test_denied_requests_are_counted_by_what_vouched_for_them(gateway):
    def counted() -> dict[str, float]:
        samples = gateway.metrics().get("sealgate_auth_total", [])
        return {labels["outcome"]: value for labels, value in samples if labels["route"] == "by-actor" and value}

    before = counted()
    for actor in ("bob", "alice"):
        ask(gateway, actor, "GET", "/by-actor/1", {})
    after = counted()
    assert {word: after[word] - before.get(word, 0) for word in ("allowed", "denied")} == {"allowed": 1, "denied": 1}
