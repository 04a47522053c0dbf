"""HTTP/2 by hand: frames and header blocks are written byte by byte, so that they can be wrong."""

import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

from hpack import Decoder

from .ports import LOOPBACK, steady_port

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT = 15.0

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    codes = {"header_table_size": HEADER_TABLE_SIZE, "initial_window_size": INITIAL_WINDOW_SIZE}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", codes[name], value) for name, value in values.items()))


def number(value: int, bits: int) -> bytes:
    """An integer behind a prefix of zeros (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def literal(name: str | bytes, value: str | bytes) -> bytes:
    """A field as it is: no table, no compression (RFC 7541, section 6.2.2)."""
    name, value = (text if isinstance(text, bytes) else text.encode() for text in (name, value))
    return b"\0" + number(len(name), 7) + name + number(len(value), 7) + value


def block(*fields: tuple[str, str]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


def request_block(path: str | None = "/", *more: tuple[str, str], **pseudo: str | None) -> bytes:
    """The header block of a request; a pseudo-header that is None is left out."""
    usual = {"method": "GET", "scheme": "http", "authority": "api.test", "path": path} | pseudo
    return block(*((f":{name}", value) for name, value in usual.items() if value is not None), *more)


def request(
    stream: int, path: str | None = "/", *more: tuple[str, str], end: bool = True, **pseudo: str | None
) -> bytes:
    return headers(stream, request_block(path, *more, **pseudo), end=end)


def headers(stream: int, of: bytes, end: bool = True) -> bytes:
    """A header block in as many frames as it takes."""
    pieces = [of[at : at + 16000] for at in range(0, len(of), 16000)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(
            CONTINUATION if at else HEADERS,
            (END_HEADERS if at == last else 0) | (END_STREAM if end and not at else 0),
            stream,
            piece,
        )
        for at, piece in enumerate(pieces)
    )


def data(stream: int, payload: bytes = b"", end: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, stream=stream, payload=struct.pack(">I", code))


def window(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", size))


@dataclass
class Answer:
    """What came on one stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        return int(self.get(":status")) if self.fields else None

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Http2Client:
    """One connection. It acknowledges settings and pings unless it is `deaf`."""

    def __init__(self, port: int, opening: bytes | None = None, deaf: bool = False, tls: ssl.SSLContext | None = None):
        # The port tells a connection's records from others': one that the system gives may have been another's before.
        self.socket = socket.create_connection((LOOPBACK, port), TIMEOUT, (LOOPBACK, steady_port()))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="api.test")
        self.source_port: int = self.socket.getsockname()[1]
        self.deaf = deaf
        self.closed = False
        self.goaway: int | None = None
        self.answers: dict[int, Answer] = {}
        self._decoder = Decoder()
        self._buffer = b""
        self.send(PREFACE + settings() if opening is None else opening)

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, *frames: bytes) -> None:
        """A gateway that has hung up meanwhile is no failure here."""
        try:
            self.socket.sendall(b"".join(frames))
        except OSError:
            self.closed = True

    def ask(self, stream: int, path: str, *more: tuple[str, str], **pseudo: str | None) -> Answer:
        self.send(request(stream, path, *more, **pseudo))
        return self.answer(stream)

    def answer(self, stream: int) -> Answer:
        """What came on a stream, once it is over; also when the gateway closed before."""
        self.read_until(lambda: self.answer_so_far(stream).over)
        return self.answer_so_far(stream)

    def answer_so_far(self, stream: int) -> Answer:
        return self.answers.get(stream, Answer(reset=NO_ERROR if self.closed else None))

    def read_until(self, condition, timeout: float = TIMEOUT) -> None:
        """Reads until `condition` holds, or the gateway has closed."""
        deadline = time.monotonic() + timeout
        while not condition() and not self.closed:
            left = deadline - time.monotonic()
            assert left > 0, f"not within {timeout:g} s; {self.answers}"
            self.socket.settimeout(left)
            try:
                read = self.socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                read = b""
            self._take_in(read)

    def poll(self) -> None:
        """Reads what is there, and does not wait for more."""
        self.socket.settimeout(0)
        try:
            self._take_in(self.socket.recv(65536))
        except BlockingIOError:
            return
        except OSError:
            self.closed = True
        finally:
            self.socket.settimeout(TIMEOUT)

    def rest(self, timeout: float = TIMEOUT) -> None:
        """Reads until the gateway closes."""
        self.read_until(lambda: False, timeout)

    def _take_in(self, read: bytes) -> None:
        self.closed = not read
        self._buffer += read
        while (frame := self._take()) is not None:
            self._got(*frame)

    def _take(self) -> tuple[int, int, int, bytes] | None:
        if len(self._buffer) < 9:
            return None
        length = int.from_bytes(self._buffer[:3], "big")
        if len(self._buffer) < 9 + length:
            return None
        kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
        payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
        return kind, flags, stream & 0x7FFFFFFF, payload

    def _got(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        answer = self.answers.setdefault(stream, Answer()) if stream else Answer()
        if kind == HEADERS:
            assert flags & END_HEADERS, "the gateway's own heads are short"
            fields = [(str(name), str(value)) for name, value in self._decoder.decode(payload)]
            (answer.trailers if answer.fields else answer.fields).extend(fields)
            if answer.status // 100 == 1:
                answer.interim.append(answer.status)
                answer.fields = []
        elif kind == DATA:
            answer.body += payload
        elif kind == RST_STREAM:
            answer.reset = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind in (SETTINGS, PING) and not flags & ACK and not self.deaf:
            self.send(frame(kind, ACK, payload=payload if kind == PING else b""))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.ended = True

    def finish_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()
