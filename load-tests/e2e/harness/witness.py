"""An upstream that only bears witness: which request reached it, and when. It lives through every death of a gateway.

`/stream/…` answers with server-sent events, `/upgrade/…` switches protocols; both last until the peer is gone.
Anything else is 200. It belongs to the event loop that it was opened in.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field

from .moments import now
from .ports import LOOPBACK

REQUEST_ID = re.compile(rb"\r\nx-request-id: *([^\r]+)\r\n", re.IGNORECASE)
GONE = (asyncio.IncompleteReadError, OSError)
PROBE = b"GET /probe HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
EVENT_PAUSE = 0.02


@dataclass
class Witness:
    # Request ids, each with the moment in which its head was read.
    seen: list[tuple[str, int]] = field(default_factory=list)
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def open(self) -> "Witness":
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, backlog=512)
        return self

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        while self._connections:
            await asyncio.sleep(0.001)

    async def deserted(self) -> None:
        """Returns when everything that a dead gateway had sent was read: its connections are closed, from both ends."""
        # Connections are accepted in their order: once this one was, none is left that nobody has seen.
        reader, writer = await asyncio.open_connection(*self._server.sockets[0].getsockname())
        writer.write(PROBE)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        while self._connections:
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with suppress(*GONE):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; whether the connection lives on."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head == PROBE:
            writer.write(OK)
            return False
        self.seen.append((REQUEST_ID.search(head)[1].decode(), now()))
        target = head.split(b" ", 2)[1]
        if target.startswith(b"/stream/"):
            writer.write(EVENTS)
            while not writer.is_closing():
                writer.write(EVENT)
                await writer.drain()
                with suppress(asyncio.TimeoutError):
                    # Nothing more is asked on it: whatever comes is its end.
                    await asyncio.wait_for(reader.read(1), EVENT_PAUSE)
                    return False
            return False
        if target.startswith(b"/upgrade/"):
            writer.write(SWITCH)
            while await reader.read(65536):
                pass
            return False
        writer.write(OK)
        await writer.drain()
        return True
