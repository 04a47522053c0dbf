"""A server of one JWKS document that can be well, down, slow or mad; it counts who asks."""

import json
import socket
import ssl
import threading
from collections.abc import Iterable

from .conditions import wait_until
from .ports import LOOPBACK, steady_port
from .tokens import TokenKey, key_set
from .wire import Closed, Reader

GARBAGE = b"<html><h1>502 Bad Gateway</h1></html>"


class KeySetServer:
    """Serves the public halves of `keys` at `/jwks`, over TLS where it is given a context."""

    def __init__(self, keys: Iterable[TokenKey], tls: ssl.SSLContext | None = None, name: str = LOOPBACK):
        self.port, self._tls, self._name = steady_port(), tls, name
        self.requests = 0
        self._listener: socket.socket | None = None
        self._go_on = threading.Event()
        self.serve(keys)
        self.come_up()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._name}:{self.port}/jwks"

    def serve(self, keys: Iterable[TokenKey]) -> None:
        """From now on these keys, and at once."""
        self.answer(json.dumps(key_set(keys)).encode())

    def answer(self, body: bytes, status: int = 200, fields: str = "") -> None:
        """From now on this, whatever it means."""
        self._reply = (
            f"HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{fields}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body
        self._go_on.set()

    def stall(self) -> None:
        """From now on nothing is answered, until `answer` or `serve`."""
        self._go_on.clear()

    def go_down(self) -> None:
        """Nobody listens any more: connections are refused."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def come_up(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        self._go_on.set()
        self.go_down()

    def is_asked(self, timeout: float = 15) -> None:
        """Waits for a request that comes from now on."""
        before = self.requests
        wait_until(lambda: self.requests > before, "the key set is asked for", timeout)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(stream, server_side=True) if self._tls else stream as stream:
                Reader(stream).head()
                self.requests += 1
                self._go_on.wait()
                stream.sendall(self._reply)
        except (Closed, OSError):
            return
