"""An upstream on raw sockets, over TLS where it is given a context. It writes down every request that reaches it before
it answers.

The path says how to answer; its last component may be an id, which comes back in `X-Echo-Id`:
`/status/503/ID` · `/bytes/100000/ID` · `/chunked/3/ID` · `/held/ID` (answers when released) · `/after/2000/ID` (answers
after so many milliseconds) · `/cut/ID` (half an answer, then closes) · `/drop/ID` (closes without an answer) ·
`/upgrade/ID` (switches protocols, then echoes) · `/events/ID` (server-sent events: one at once, one when released) ·
anything else is 200.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .ports import LOOPBACK
from .wire import Closed, Message, Reader

SWITCH = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    message: Message

    @property
    def request_id(self) -> str | None:
        return self.message.get("x-request-id")


class Upstream:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        # Why TLS handshakes failed, and the certificates of clients that showed one (DER).
        self.failed_handshakes: list[str] = []
        self.client_certificates: list[bytes] = []
        self._tls = tls
        self.tags: set[str] = set()
        self.released = threading.Event()
        self.on_request: Callable[[Seen], None] = lambda seen: None
        self._listener = socket.create_server((LOOPBACK, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def close(self) -> None:
        self.released.set()
        # Ends the wait of the thread that accepts. Closed alone, it would go on with the number of the descriptor, and
        # take connections of whatever has that number next: the upstream of another test.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def one(self, fragment: str) -> Seen:
        """The only request whose target holds `fragment`."""
        found = [seen for seen in list(self.seen) if fragment in seen.target]
        assert len(found) == 1, f"{fragment}: {len(found)} requests reached the upstream"
        return found[0]

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        try:
            stream = self._secured(stream)
        except OSError as failed:
            self.failed_handshakes.append(str(failed))
            stream.close()
            return
        reader = Reader(stream)
        with stream:
            try:
                while self._answer(stream, reader):
                    pass
            except (Closed, OSError, ValueError):
                return

    def _secured(self, stream: socket.socket) -> socket.socket:
        if not self._tls:
            return stream
        secured = self._tls.wrap_socket(stream, server_side=True)
        if certificate := secured.getpeercert(binary_form=True):
            self.client_certificates.append(certificate)
        return secured

    def _answer(self, stream: socket.socket, reader: Reader) -> bool:
        """One exchange; whether the connection lives on."""
        head = reader.head()
        method, target, _ = head.start.split(" ", 2)
        # Written down before the body is read: an aborted upload has reached the upstream too.
        parts = target.partition("?")[0].strip("/").split("/")
        seen = Seen(method, target, head)
        self.on_request(seen)
        self.seen.append(seen)
        self.tags.add(parts[-1])
        if (head.get("expect") or "").lower() == "100-continue":
            stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        reader.with_body(head, may_last_to_close=False)
        echo = f"X-Echo-Id: {parts[-1]}\r\n"
        match parts:
            case ["held", *_]:
                self.released.wait()
                stream.sendall(reply(200, echo, b"late\n", method))
            case ["after", milliseconds, *_]:
                time.sleep(int(milliseconds) / 1000)
                stream.sendall(reply(200, echo, b"slow\n", method))
            case ["status", code, *_]:
                stream.sendall(reply(int(code), echo, b"as asked\n", method))
            case ["bytes", size, *_]:
                stream.sendall(reply(200, echo, b"x" * int(size), method))
            case ["chunked", count, *_]:
                stream.sendall(
                    f"HTTP/1.1 200 OK\r\n{echo}Transfer-Encoding: chunked\r\n\r\n".encode()
                    + b"5\r\nhello\r\n" * int(count)
                    + b"0\r\n\r\n"
                )
            case ["events", *_]:
                fields = f"{echo}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
                stream.sendall(f"HTTP/1.1 200 OK\r\n{fields}\r\n9\r\ndata: 1\n\n\r\n".encode())
                self.released.wait()
                stream.sendall(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
            case ["cut", *_]:
                stream.sendall(f"HTTP/1.1 200 OK\r\n{echo}Content-Length: 100\r\n\r\nhalf".encode())
                return False
            case ["upgrade", *_]:
                stream.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{echo}{SWITCH}\r\n".encode())
                echo_until_closed(stream, reader)
                return False
            case ["drop", *_]:
                return False
            case _:
                stream.sendall(reply(200, echo, b"ok\n", method))
        return True


def echo_until_closed(stream: socket.socket, reader: Reader) -> None:
    data = reader.buffer
    while data or (data := stream.recv(65536)):
        stream.sendall(data)
        data = b""


def reply(status: int, fields: str, body: bytes, method: str) -> bytes:
    if status in (204, 304):
        return f"HTTP/1.1 {status} Answer\r\n{fields}\r\n".encode()
    head = f"HTTP/1.1 {status} Answer\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    return head if method == "HEAD" else head + body
