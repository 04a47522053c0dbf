"""What a request brings along, what goes upstream, and what is written down of it."""

import hashlib
import re
import uuid
from collections.abc import Iterator

import pytest

from harness.gateway import Gateway, route
from harness.wire import ask, request_bytes

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TRUSTED, STRANGER = "127.0.0.2", "127.0.0.3"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def behind_a_proxy(config: dict) -> None:
    config["listen"][0]["client_address"] = {"from": "x-forwarded-for", "trusted": [f"{TRUSTED}/32", "10.0.0.0/8"]}


ROUTES = [
    route("headers", match={"path_prefix": "/headers"}, audit={"headers": ["user-agent", "x-tenant"]}),
    route("no-query", match={"path_prefix": "/no-query"}, audit={"query": "none"}),
    route("query", match={"path_prefix": "/query"}, audit={"query": "keys"}),
    route("rest"),
]


@pytest.fixture(scope="module")
def gateway(module_directory, module_upstream) -> Iterator[Gateway]:
    gateway = Gateway(module_directory / "gateway", {"main": module_upstream.address}, ROUTES, behind_a_proxy).start()
    yield gateway
    gateway.stop()
    gateway.audited()


def ask_from(gateway: Gateway, source: str, target: str, **fields: str):
    return ask(
        gateway.port, target, fields={name.replace("_", "-"): value for name, value in fields.items()}, source=source
    )


def test_every_request_gets_an_id_that_client_upstream_and_record_share(gateway, module_upstream):
    response = gateway.ask("/id/one")
    request_id = response.get("x-request-id")
    assert UUID7.fullmatch(request_id)
    assert module_upstream.one("/id/one").request_id == request_id
    assert gateway.record(request_id)["request"]["path"] == "/id/one"


def test_ids_sort_by_time(gateway):
    ids = [gateway.ask(f"/id/{number}").get("x-request-id") for number in range(20)]
    moments = [uuid.UUID(request_id).int >> 80 for request_id in ids]
    assert moments == sorted(moments) and len(set(ids)) == 20


def test_a_trusted_peer_may_bring_an_id(gateway, module_upstream):
    own = "0199c3f2-7a60-7000-8000-00000000cafe"
    response = ask_from(gateway, TRUSTED, "/id/trusted", X_Request_Id=own)
    assert response.get("x-request-id") == module_upstream.one("/id/trusted").request_id == own
    assert gateway.record(own)["request"]["path"] == "/id/trusted"


def test_a_strangers_id_is_replaced_everywhere(gateway, module_upstream):
    own = "0199c3f2-7a60-7000-8000-00000000beef"
    response = ask_from(gateway, STRANGER, "/id/stranger", X_Request_Id=own)
    seen = module_upstream.one("/id/stranger").message.all("x-request-id")
    assert seen == [response.get("x-request-id")] and seen != [own]


@pytest.mark.parametrize(
    "bad", ["", "x" * 300, "a b", 'a"b', "a\tb"], ids=["empty", "too long", "space", "quote", "tab"]
)
def test_a_bad_id_of_a_trusted_peer_is_replaced(gateway, bad):
    response = ask_from(gateway, TRUSTED, "/id/bad", X_Request_Id=bad)
    assert UUID7.fullmatch(response.get("x-request-id"))


def test_a_trace_is_carried_on_and_recorded(gateway, module_upstream):
    response = ask_from(gateway, STRANGER, "/trace/given", Traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    carried = module_upstream.one("/trace/given").message.all("traceparent")
    assert len(carried) == 1 and re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", carried[0])
    assert gateway.record(response.get("x-request-id"))["trace_id"] == TRACE


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
    ],
)
def test_a_malformed_trace_is_not_recorded(gateway, bad):
    response = ask_from(gateway, STRANGER, "/trace/bad", Traceparent=bad)
    assert response.status == 200
    assert TRACE not in str(gateway.record(response.get("x-request-id")))


def test_a_strangers_forwarded_addresses_are_claims_only(gateway, module_upstream):
    response = ask_from(gateway, STRANGER, "/from/stranger", X_Forwarded_For="203.0.113.9")
    source = gateway.record(response.get("x-request-id"))["source"]
    assert source["ip"] == STRANGER and source["claimed"] == ["203.0.113.9"] and "peer" not in source
    assert module_upstream.one("/from/stranger").message.all("x-forwarded-for") == [STRANGER]


def test_a_trusted_peers_forwarded_address_is_the_client(gateway, module_upstream):
    response = ask_from(gateway, TRUSTED, "/from/trusted", X_Forwarded_For="203.0.113.9")
    source = gateway.record(response.get("x-request-id"))["source"]
    assert (source["ip"], source["peer"], source["claimed"]) == ("203.0.113.9", TRUSTED, ["203.0.113.9"])
    (forwarded,) = module_upstream.one("/from/trusted").message.all("x-forwarded-for")
    assert forwarded.replace(" ", "").split(",")[0] == "203.0.113.9"


def test_the_client_is_the_last_address_that_no_trusted_proxy_has(gateway):
    response = ask_from(gateway, TRUSTED, "/from/chain", X_Forwarded_For="198.51.100.66, 203.0.113.9, 10.1.2.3")
    source = gateway.record(response.get("x-request-id"))["source"]
    assert source["ip"] == "203.0.113.9", "everything to the left of it could be the client's own invention"
    assert source["claimed"] == ["198.51.100.66", "203.0.113.9", "10.1.2.3"]


def test_a_forwarded_address_that_is_none_is_never_the_client(gateway):
    response = ask_from(gateway, TRUSTED, "/from/garbage", X_Forwarded_For="203.0.113.9, unknown")
    assert gateway.record(response.get("x-request-id"))["source"]["ip"] == TRUSTED


def test_forwarded_headers_of_a_stranger_do_not_reach_the_upstream(gateway, module_upstream):
    ask_from(
        gateway,
        STRANGER,
        "/from/forger",
        X_Forwarded_Host="evil.test",
        X_Forwarded_Proto="https",
        Forwarded="for=203.0.113.9",
    )
    message = module_upstream.one("/from/forger").message
    assert "evil.test" not in str(message.fields) and "https" not in message.all("x-forwarded-proto")


def test_only_headers_of_the_allow_list_are_recorded(gateway):
    response = ask_from(gateway, STRANGER, "/headers/1", User_Agent="probe/1", X_Tenant="blue", X_Other="hidden")
    assert gateway.record(response.get("x-request-id"))["request"]["headers"] == {
        "user-agent": "probe/1",
        "x-tenant": "blue",
    }
    response = ask_from(gateway, STRANGER, "/unlisted", User_Agent="probe/1")
    assert "headers" not in gateway.record(response.get("x-request-id"))["request"]


def test_of_a_query_only_the_names_are_recorded(gateway, module_upstream):
    response = gateway.ask("/query/1?page=7&token=hunter2&flag&page=8")
    record = gateway.record(response.get("x-request-id"))
    assert record["request"]["query"] == ["page", "token", "flag", "page"], "the names, in their order"
    assert "hunter2" not in str(record)
    assert module_upstream.one("/query/1").target == "/query/1?page=7&token=hunter2&flag&page=8", (
        "the upstream gets it whole"
    )


def test_a_route_can_leave_the_query_out(gateway):
    response = gateway.ask("/no-query/1?page=7")
    assert "query" not in gateway.record(response.get("x-request-id"))["request"]


def test_a_value_too_long_for_a_record_is_cut_and_says_so(gateway):
    path = "/long/" + "x" * 20_000
    response = gateway.ask(path)
    record = gateway.record(response.get("x-request-id"))
    cut = record["trunc"]["request.path"]
    assert cut == {"bytes": len(path), "sha256": hashlib.sha256(path.encode()).hexdigest()}
    assert path.startswith(record["request"]["path"]) and len(str(record)) < 8192


def test_bytes_of_bodies_are_counted_both_ways(gateway):
    response = gateway.ask("/bytes/12345/1", "POST", body=b"b" * 777)
    record = gateway.record(response.get("x-request-id"))
    assert (record["request"]["bytes"], record["response"]["bytes"]) == (777, 12345)


def test_a_chunked_upload_is_counted_and_passed_on(gateway, module_upstream):
    with gateway.connect() as client:
        client.send(
            b"POST /upload/1 HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        response = client.reader.response()
    assert response.status == 200
    assert module_upstream.one("/upload/1").message.body == b"hello world"
    assert gateway.record(response.get("x-request-id"))["request"]["bytes"] == 11


def test_a_streamed_reply_arrives_whole(gateway):
    response = gateway.ask("/chunked/50/1")
    assert response.body == b"hello" * 50
    assert gateway.record(response.get("x-request-id"))["response"]["bytes"] == 250


def test_a_head_request_has_no_body(gateway):
    response = gateway.ask("/bytes/5000/head", "HEAD")
    assert response.status == 200 and response.body == b"" and response.get("content-length") == "5000"
    record = gateway.record(response.get("x-request-id"))
    assert (record["request"]["method"], record["response"]["bytes"]) == ("HEAD", 0)


def test_a_connection_is_kept_and_each_request_on_it_recorded(gateway):
    with gateway.connect() as client:
        ids = [client.ask(f"/kept/{number}").get("x-request-id") for number in range(5)]
        port = client.source_port
    assert {gateway.record(request_id)["source"]["port"] for request_id in ids} == {port}


def test_a_record_tells_of_the_upstream(gateway, module_upstream):
    record = gateway.record(gateway.ask("/upstream/1").get("x-request-id"))
    upstream = record["upstream"]
    assert (upstream["name"], upstream["addr"], upstream["attempts"]) == ("main", module_upstream.address, 1)
    assert 0 <= upstream["ttfb_us"] <= record["duration_us"]


def test_half_an_answer_is_recorded_as_a_failed_upstream(gateway):
    with gateway.connect() as client:
        client.send(b"GET /cut/half HTTP/1.1\r\nHost: api.test\r\n\r\n")
        client.reader.rest()
        port = client.source_port
    record = gateway.record_where(
        lambda record: record.get("source", {}).get("port") == port, "the request that was cut"
    )
    assert (record["response"]["status"], record["end"]) == (200, "upstream_failed"), record
    assert record["response"]["bytes"] == 4 and record["error"], record


def test_pipelined_requests_are_answered_and_recorded_in_their_order(gateway):
    with gateway.connect() as client:
        client.send(b"".join(request_bytes(f"/pipelined/{number}") for number in range(3)))
        responses = [client.reader.response() for _ in range(3)]
    assert [response.get("x-echo-id") for response in responses] == ["0", "1", "2"]
    paths = [gateway.record(response.get("x-request-id"))["request"]["path"] for response in responses]
    assert paths == ["/pipelined/0", "/pipelined/1", "/pipelined/2"]


def test_a_client_that_waits_for_continue_gets_it(gateway):
    with gateway.connect() as client:
        client.send(request_bytes("/continue/1", "POST", {"Expect": "100-continue", "Content-Length": "4"}))
        assert client.reader.head().status == 100
        client.send(b"body")
        response = client.reader.response()
    record = gateway.record(response.get("x-request-id"))
    assert (record["request"]["bytes"], record["response"]["status"]) == (4, 200), (
        "the interim answer is not the answer"
    )


def test_http_1_0_is_served_and_recorded_as_such(gateway):
    with gateway.connect() as client:
        client.send(b"GET /old/1 HTTP/1.0\r\nHost: api.test\r\n\r\n")
        response = client.reader.response()
        assert client.reader.rest() == b"", "without keep-alive the connection ends"
    assert gateway.record(response.get("x-request-id"))["request"]["http"] == "1.0"


def test_an_unusual_method_is_recorded_as_it_is_but_makes_no_label(gateway):
    response = gateway.ask("/method/1", "BREW")
    assert gateway.record(response.get("x-request-id"))["request"]["method"] == "BREW"
    labels = {labels["method"] for labels, _ in gateway.metrics()["sealgate_http_requests_total"]}
    assert "BREW" not in labels and "OTHER" in labels


@pytest.mark.parametrize("status", [200, 204, 304, 404, 500, 599])
def test_the_upstreams_status_is_passed_on_and_recorded(gateway, status):
    response = gateway.ask(f"/status/{status}/1")
    assert response.status == status
    assert gateway.record(response.get("x-request-id"))["response"]["status"] == status
