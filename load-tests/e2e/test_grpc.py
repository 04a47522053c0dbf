"""gRPC through the gateway, with gRPC's own client and server: what it needs of HTTP/2 passes, and is recorded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest

from harness.conditions import wait_until
from harness.gateway import Gateway, route

SERVICE = "test.Echo"
WAIT = 10


class Echo(grpc.GenericRpcHandler):
    """Messages are bytes as they are: no schema is needed to pass them on."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self.metadata.append(dict(call.invocation_metadata))
        return {
            f"/{SERVICE}/One": grpc.unary_unary_rpc_method_handler(self.one),
            f"/{SERVICE}/Many": grpc.unary_stream_rpc_method_handler(self.many),
            f"/{SERVICE}/Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            f"/{SERVICE}/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            f"/{SERVICE}/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            f"/{SERVICE}/Fail/Late": grpc.unary_stream_rpc_method_handler(self.fail_late),
        }.get(call.method)

    @staticmethod
    def one(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-sum", "42"),))
        return message

    @staticmethod
    def many(message: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
        yield from [message] * 100

    @staticmethod
    def sum(messages: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        return str(sum(map(len, messages))).encode()

    @staticmethod
    def talk(messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            yield message.upper()

    @staticmethod
    def fail(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")

    @staticmethod
    def fail_late(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield message
        context.abort(grpc.StatusCode.DATA_LOSS, "halfway")


@dataclass
class Called:
    """A gateway between a client and a server."""

    gateway: Gateway
    echo: Echo
    channel: grpc.Channel

    def records(self, method: str, kind: str = "completed") -> list[dict]:
        path = f"/{SERVICE}/{method}"

        def found() -> list[dict]:
            written = self.gateway.written_records()
            return [one for one in written if one["kind"] == kind and one.get("request", {}).get("path") == path]

        return wait_until(found, f"a {kind} record of {path}")


@pytest.fixture(scope="module")
def called(module_directory) -> Iterator[Called]:
    echo = Echo()
    server = grpc.server(ThreadPoolExecutor(8), handlers=(echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def tune(config: dict) -> None:
        config["listen"][0]["http2"] = True
        config["upstreams"]["main"]["protocol"] = "h2c"

    routes = [route("all", timeout="none")]
    gateway = Gateway(module_directory / "gateway", {"main": f"127.0.0.1:{port}"}, routes, tune).start()
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield Called(gateway, echo, channel)
    gateway.stop()
    server.stop(None)
    gateway.verify().expect(0)
    gateway.audited()


def test_a_call_passes_with_its_trailers(called: Called):
    reply, call = called.channel.unary_unary(f"/{SERVICE}/One").with_call(
        b"hello", metadata=(("x-plain", "1"), ("x-raw-bin", b"\0\xff")), timeout=WAIT
    )
    assert (reply, call.code()) == (b"hello", grpc.StatusCode.OK)
    assert dict(call.trailing_metadata())["x-sum"] == "42"
    assert (called.echo.metadata[-1]["x-plain"], called.echo.metadata[-1]["x-raw-bin"]) == ("1", b"\0\xff")
    record = called.records("One")[0]
    assert (record["end"], record["request"]["http"], record["response"]["status"]) == ("ok", "2", 200), record
    # A message is its bytes and a prefix of five.
    assert (record["request"]["bytes"], record["response"]["bytes"]) == (10, 10), record
    assert len(called.records("One", "received")) == 1


def test_streams_pass_in_both_directions(called: Called):
    many = called.channel.unary_stream(f"/{SERVICE}/Many")(b"x" * 2000, timeout=WAIT)
    assert [len(message) for message in many] == [2000] * 100
    total = called.channel.stream_unary(f"/{SERVICE}/Sum")(iter([b"x" * 1000] * 200), timeout=WAIT)
    assert total == b"200000"
    talk = called.channel.stream_stream(f"/{SERVICE}/Talk")
    assert list(talk(iter([b"a", b"b", b"c"]), timeout=WAIT)) == [b"A", b"B", b"C"]
    assert called.records("Many")[0]["response"]["bytes"] == 100 * 2005
    assert called.records("Sum")[0]["request"]["bytes"] == 200 * 1005
    assert called.records("Talk")[0]["end"] == "ok"


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("Fail", grpc.StatusCode.FAILED_PRECONDITION, "not today"),
        ("Fail/Late", grpc.StatusCode.DATA_LOSS, "halfway"),
        ("None", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
def test_a_status_comes_back_as_it_was(called: Called, method, code, details):
    with pytest.raises(grpc.RpcError) as failed:
        list(called.channel.unary_stream(f"/{SERVICE}/{method}")(b"x", timeout=WAIT))
    assert (failed.value.code(), failed.value.details()) == (code, details)
    assert called.records(method)[0]["end"] == "ok"


def test_a_deadline_of_the_client_s_ends_the_call_and_its_record(called: Called):
    def silence() -> Iterator[bytes]:
        yield b"a"
        wait_until(lambda: over, "the call is over")

    over: list[bool] = []
    with pytest.raises(grpc.RpcError) as failed:
        called.channel.stream_unary(f"/{SERVICE}/Sum")(silence(), timeout=0.5)
    over.append(True)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: [one for one in called.records("Sum") if one["end"] == "client_closed"], "its record")
