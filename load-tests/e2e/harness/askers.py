"""Clients that ask on and on, whatever happens to the gateway, and write down what they were answered."""

import asyncio
import itertools
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from .moments import now
from .ports import LOOPBACK

HEAD = re.compile(rb"HTTP/1\.1 (\d+) ")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
REQUEST_ID = re.compile(rb"\r\nx-request-id: *([^\r]+)\r\n", re.IGNORECASE)
GONE = (asyncio.IncompleteReadError, OSError)
RECONNECT = 0.005
STREAM = {
    "stream": "Accept: text/event-stream\r\n",
    "upgrade": "Connection: Upgrade\r\nUpgrade: websocket\r\n",
}


@dataclass(frozen=True)
class Answer:
    """What a client knows of a request that was answered. Moments are in microseconds."""

    request_id: str
    status: int
    sent: int
    answered: int


class Askers:
    """So many clients on connections that are kept, each waiting for `pause` seconds on average between two requests;
    and so many that hold a stream open. They belong to the event loop that they were made in."""

    def __init__(self, port: int, clients: int, pause: float, streams: int, rng: random.Random):
        self.port, self.pause, self.rng = port, pause, rng
        self.answers: list[Answer] = []
        # When requests were sent whose connection broke instead of an answer, and when that was.
        self.cut: list[tuple[int, int]] = []
        self._going = asyncio.Event()
        self._busy = 0
        self._serial = itertools.count()
        names = itertools.cycle(STREAM)
        loops = [self._keep(self._ask) for _ in range(clients)]
        loops += [self._keep(self._hold, next(names)) for _ in range(streams)]
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    def go(self) -> None:
        self._going.set()

    async def rest(self) -> None:
        """Sends no more; returns when nothing is under way."""
        self._going.clear()
        while self._busy:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def few(self, count: int, pause: float) -> None:
        """One client, one request after the other; it gives up where the gateway is gone."""
        with suppress(*GONE):
            await self._converse(self._ask_once, count, pause)

    async def _keep(self, deed, *arguments) -> None:
        """Does it again and again, on a new connection each time that the gateway was gone."""
        while True:
            await self._going.wait()
            self._busy += 1
            try:
                with suppress(*GONE):
                    await deed(*arguments)
            finally:
                self._busy -= 1
            await asyncio.sleep(RECONNECT)

    async def _ask(self) -> None:
        await self._converse(self._ask_once, None, self.pause)

    async def _converse(self, ask, count: int | None, pause: float) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            for _ in itertools.count() if count is None else range(count):
                if count is None and not self._going.is_set():
                    return
                await ask(reader, writer)
                await asyncio.sleep(self.rng.expovariate(1 / pause) if pause else 0)
        finally:
            writer.close()

    async def _ask_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = now()
        writer.write(f"GET /load/{next(self._serial)} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode())
        with self._broken(sent):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(LENGTH.search(head)[1]))
        self._note(head, sent)

    async def _hold(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            sent = now()
            target = f"/{kind}/{next(self._serial)}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: api.test\r\n{STREAM[kind]}\r\n".encode())
            with self._broken(sent):
                head = await reader.readuntil(b"\r\n\r\n")
            self._note(head, sent)
            # Some streams end before the gateway does, others with it.
            for _ in range(self.rng.randrange(1, 40)):
                if not self._going.is_set():
                    return
                with suppress(asyncio.TimeoutError):
                    if not await asyncio.wait_for(reader.read(65536), 0.02):
                        return
        finally:
            writer.close()

    @contextmanager
    def _broken(self, sent: int) -> Iterator[None]:
        """Writes down a request that is not answered within the block."""
        try:
            yield
        except GONE:
            self.cut.append((sent, now()))
            raise

    def _note(self, head: bytes, sent: int) -> None:
        request_id = REQUEST_ID.search(head)
        self.answers.append(
            Answer(request_id[1].decode() if request_id else "", int(HEAD.match(head)[1]), sent, now())
        )
