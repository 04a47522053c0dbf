"""Askers and their witness on a thread of their own: traffic goes on while a test does something to the gateway."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

from .askers import Answer, Askers
from .conditions import wait_until
from .witness import Witness


class Traffic:
    """The witness is there at once, so that a gateway can be told of it; requests are sent after `start`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._witness = self._do(Witness().open()).result()
        self._askers: Askers | None = None
        self.upstream: str = self._witness.address

    def start(self, port: int, clients: int = 16, pause: float = 0.002, streams: int = 0) -> "Traffic":
        async def make() -> Askers:
            askers = Askers(port, clients, pause, streams, random.Random(0))
            askers.go()
            return askers

        self._askers = self._do(make()).result()
        return self

    def rest(self) -> None:
        """Sends no more, and returns when all is answered."""
        self._do(self._askers.rest()).result(30)

    def go_on(self) -> None:
        """After a rest."""
        self._loop.call_soon_threadsafe(self._askers.go)

    def close(self) -> None:
        """Ends all that goes on."""

        async def end() -> None:
            if self._askers:
                await self._askers.close()
            await self._witness.close()

        self._do(end()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _do(self, deed) -> Future:
        return asyncio.run_coroutine_threadsafe(deed, self._loop)

    @property
    def answers(self) -> list[Answer]:
        return list(self._askers.answers) if self._askers else []

    @property
    def statuses(self) -> Counter:
        return Counter(answer.status for answer in self.answers)

    def ids(self, status: int) -> set[str]:
        return {answer.request_id for answer in self.answers if answer.status == status}

    @property
    def reached(self) -> set[str]:
        """The ids of the requests that reached the upstream."""
        return {request_id for request_id, _ in list(self._witness.seen)}

    def wait_for(self, status: int, more: int = 1, timeout: float = 15, meanwhile: Callable[[], None] = lambda: None):
        """Returns when so many more requests got that status."""
        before = self.statuses[status]

        def came() -> bool:
            meanwhile()
            return self.statuses[status] >= before + more

        wait_until(came, f"{more} more answers {status}; so far: {dict(self.statuses)}", timeout)
