"""Holds an answer against its record and against what reached the upstream: served, or refused for this very reason."""

import json

from .gateway import Gateway
from .upstream import Seen, Upstream
from .wire import Message


def served(gateway: Gateway, upstream: Upstream, response: Message) -> tuple[dict, Seen]:
    """The record, and what the upstream saw, of a request that was let in."""
    assert response.status == 200, f"refused: {response}\n{_record(gateway, response)}"
    record = _record(gateway, response)
    assert (record["end"], record["response"]["status"]) == ("ok", 200), record
    assert "error" not in record, record
    found = _seen(upstream, response)
    latest = [(seen.target, seen.request_id) for seen in upstream.seen[-3:]]
    assert len(found) == 1, f"the upstream saw it {len(found)} times; of late {latest}\n{record}"
    return record, found[0]


def refused(gateway: Gateway, upstream: Upstream, response: Message, status: int, word: str) -> dict:
    """The record of a request that was refused for this reason: the answer is a problem, the upstream saw nothing."""
    record = _record(gateway, response)
    assert (response.status, record.get("error")) == (status, word), f"{response}\n{record}"
    assert (record["end"], record["response"]["status"]) == ("refused", status), record
    assert response.get("content-type") == "application/problem+json", response
    problem = json.loads(response.body)
    assert (problem["status"], problem["request_id"]) == (status, response.get("x-request-id")), problem
    if status in (401, 403, 503):
        assert problem["reason"] == word, "the client's programs may know it"
    assert "upstream" not in record and _seen(upstream, response) == [], record
    if status in (401, 403):
        assert record["decision"] == {"outcome": "deny"}, record
        assert record["request"]["method"] and record["request"]["path"] and record["route"], "recorded as fully"
    if status == 401:
        assert response.get("www-authenticate"), "RFC 9110, section 15.5.2"
        assert "actor" not in record, "nobody vouched for it"
    return record


def _record(gateway: Gateway, response: Message) -> dict:
    return gateway.record(response.get("x-request-id"))


def _seen(upstream: Upstream, response: Message) -> list[Seen]:
    return [seen for seen in list(upstream.seen) if seen.request_id == response.get("x-request-id")]
