"""HTTP/1.1 over a raw socket, on both sides: nothing is corrected, nothing is hidden."""

import socket
import ssl
import struct
from dataclasses import dataclass, field

from .moments import now
from .ports import LOOPBACK

TIMEOUT = 15.0
# Headers: by name, or in pairs where their order or a repetition matters.
Fields = dict[str, str] | list[tuple[str, str]]


class Closed(Exception):
    """The peer closed before a whole message came."""


@dataclass
class Message:
    """A request or a response as it lay on the wire."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])


@dataclass
class Reader:
    """Reads messages off a socket, keeping what came too early."""

    stream: socket.socket
    buffer: bytes = b""
    interim: list[Message] = field(default_factory=list)

    def request(self) -> Message:
        message = self.head()
        return self.with_body(message, may_last_to_close=False)

    def response(self, to: str = "GET") -> Message:
        message = self.head()
        while message.status // 100 == 1:
            self.interim.append(message)
            message = self.head()
        if to == "HEAD" or message.status in (204, 304):
            return message
        return self.with_body(message, may_last_to_close=True)

    def head(self) -> Message:
        text = self._until(b"\r\n\r\n").decode("latin-1")
        start, *lines = text.split("\r\n")
        return Message(start, [_field(line) for line in lines])

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._fill():
            pass
        rest, self.buffer = self.buffer, b""
        return rest

    def with_body(self, message: Message, may_last_to_close: bool) -> Message:
        length = message.get("content-length")
        if "chunked" in (message.get("transfer-encoding") or "").lower():
            message.body, message.trailers = self._chunks()
        elif length is not None:
            message.body = self.exactly(int(length))
        elif may_last_to_close:
            message.body = self.rest()
        return message

    def _chunks(self) -> tuple[bytes, list[tuple[str, str]]]:
        body, trailers = b"", []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            body += self.exactly(size)
            self._until(b"\r\n")
        while line := self._until(b"\r\n"):
            trailers.append(_field(line.decode("latin-1")))
        return body, trailers

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self._fill():
                raise Closed(f"closed after {self.buffer[:200]!r}")
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self._fill():
                raise Closed(f"closed after {len(self.buffer)} of {size} bytes")
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def _fill(self) -> bool:
        try:
            data = self.stream.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            return False
        self.buffer += data
        return bool(data)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


class Client:
    """One connection to a port on loopback, over TLS where it is given a context."""

    def __init__(
        self,
        port: int,
        source: str = LOOPBACK,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
        server_name: str = "api.test",
    ):
        self.began = now()
        self.socket = socket.create_connection((LOOPBACK, port), timeout, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source_port: int = self.socket.getsockname()[1]
        self.reader = Reader(self.socket)
        if tls:
            try:
                self.secure(tls, server_name)
            except OSError:
                self.close()
                raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def secure(self, tls: ssl.SSLContext, server_name: str | None = "api.test", **options) -> None:
        """The TLS handshake."""
        self.socket = tls.wrap_socket(self.socket, server_hostname=server_name, **options)
        self.reader = Reader(self.socket)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(
        self,
        target: str,
        method: str = "GET",
        fields: Fields | None = None,
        body: bytes | None = None,
        host: str = "api.test",
    ) -> Message:
        """Sends one request and reads its response."""
        self.send(request_bytes(target, method, fields, body, host))
        return self.reader.response(method)

    def finish_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def request_bytes(
    target: str,
    method: str = "GET",
    fields: Fields | None = None,
    body: bytes | None = None,
    host: str = "api.test",
) -> bytes:
    pairs = fields.items() if isinstance(fields, dict) else fields or []
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in pairs),
    ]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def ask(
    port: int,
    target: str,
    method: str = "GET",
    fields: Fields | None = None,
    body: bytes | None = None,
    host: str = "api.test",
    source: str = LOOPBACK,
    tls: ssl.SSLContext | None = None,
) -> Message:
    """One request on a connection of its own."""
    with Client(port, source, tls=tls) as client:
        return client.ask(target, method, fields, body, host)
