"""Kills one gateway again and again while it is asked, on one spool and one store, and gives what everybody saw."""

import asyncio
import random
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .askers import Answer, Askers
from .binaries import binary
from .gateway import Gateway, route
from .moments import now
from .witness import Witness

# Moments of a kill, and how often each is chosen.
MOMENTS = {"under load": 12, "in its start": 2, "right after its start": 1, "at rest": 2, "after a few requests": 2}
START_TIMEOUT = 60
QUIET_TIMEOUT = 20
LONGEST_LIFE = 0.4


@dataclass(frozen=True)
class Setting:
    """What differs from round to round. Segments are small, so that seals and shipments are hit as well."""

    durability: str
    sync_interval_ms: int
    segment_kib: int
    clients: int
    pause_ms: float
    streams: int

    @classmethod
    def choose(cls, durability: str, rng: random.Random) -> "Setting":
        pause_ms = rng.choice([0, 5, 20])
        return cls(
            durability,
            sync_interval_ms=rng.choice([5, 20, 20, 60]),
            # Sealed some times a second: more often, and each group waits for the seal before it.
            segment_kib=64 if pause_ms else 1024,
            clients=rng.choice([2, 8, 24]),
            pause_ms=pause_ms,
            streams=rng.choice([0, 2, 5]),
        )

    def tune(self, config: dict) -> None:
        config["shutdown"]["timeout"] = "10s"
        config["audit"] |= {
            "durability": self.durability,
            "sync_interval": f"{self.sync_interval_ms}ms",
            "segment": {"max_bytes": f"{self.segment_kib}KiB", "max_age": "500ms"},
        }


@dataclass
class Life:
    """One process, from its start to its kill; moments in microseconds."""

    killed_when: str
    launched: int = 0
    ready: int | None = None
    # Taken before the signal is sent: the process lived at least until then.
    killed: int = 0
    # The spool said so, and nobody asked any more.
    owed_nothing: bool = False
    # For how long its threads had no processor though they were ready to run.
    waited: int = 0
    # All that it had sent to the upstream was read there.
    over: int = 0


@dataclass
class Account:
    """A round as its witnesses tell it, and the log as the gateway tells it."""

    setting: Setting
    gateway: Gateway
    lives: list[Life] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    cut: list[tuple[int, int]] = field(default_factory=list)
    # Crash gaps, and those of them that are wide because the machine was busy or stalled.
    crashes: int = 0
    excused: int = 0

    def __str__(self) -> str:
        gaps = f"{self.crashes} crash gaps, {self.excused} of them wide for the machine's sake"
        return f"{self.setting}, {len(self.lives)} lives, {len(self.seen)} requests seen, {gaps}"


def waited_for_processors(pid: int) -> int:
    """For how long its threads were ready to run and did not, in microseconds; 0 where the kernel does not count it."""
    waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            waited += int((task / "schedstat").read_text().split()[1]) // 1000
    return waited


class Killer:
    """One round: `kills` lives of one gateway, then a clean stop."""

    def __init__(self, directory: Path, setting: Setting, kills: int, rng: random.Random, each=lambda: None):
        self.setting, self.kills, self.rng, self.each = setting, kills, rng, each
        self.directory = directory

    async def run(self) -> Account:
        witness = await Witness().open()
        gateway = Gateway(self.directory, {"main": witness.address}, [route("all")], self.setting.tune)
        pause = self.setting.pause_ms / 1000
        askers = Askers(gateway.port, self.setting.clients, pause, self.setting.streams, self.rng)
        account = Account(
            self.setting, gateway, seen=witness.seen, answers=askers.answers, cut=askers.cut
        )
        try:
            for _ in range(self.kills):
                (chosen,) = self.rng.choices(list(MOMENTS), MOMENTS.values())
                account.lives.append(await self._live(gateway, askers, chosen))
                await witness.deserted()
                account.lives[-1].over = now()
                if gateway.has_begun():
                    gateway.config["audit"]["create_log"] = False
                self.each()
            gateway.launch()
            await self._ready(gateway)
            await askers.rest()
            await asyncio.to_thread(gateway.stop)
        finally:
            gateway.kill()
            await askers.close()
            await witness.close()
        return account

    async def _live(self, gateway: Gateway, askers: Askers, moment: str) -> Life:
        if moment in ("right after its start", "after a few requests"):
            await askers.rest()
        else:
            askers.go()
        life = Life(moment, now())
        gateway.launch()
        if moment == "in its start":
            await asyncio.sleep(self.rng.uniform(0, 0.1))
        else:
            await self._ready(gateway)
            life.ready = now()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._verify(gateway))
                tasks.create_task(self._until(moment, gateway, askers))
            life.owed_nothing = moment != "under load" and gateway.owes_nothing()
        life.waited = waited_for_processors(gateway.process.pid)
        life.killed = now()
        gateway.process.send_signal(signal.SIGKILL)
        gateway.kill()
        return life

    async def _until(self, moment: str, gateway: Gateway, askers: Askers) -> None:
        """Returns when the moment has come."""
        match moment:
            case "under load":
                await asyncio.sleep(self.rng.uniform(0, LONGEST_LIFE))
            case "at rest":
                await asyncio.sleep(self.rng.uniform(0, LONGEST_LIFE))
                await askers.rest()
                await self._quiet(gateway)
            case "right after its start":
                await self._quiet(gateway)
            case "after a few requests":
                await askers.few(self.rng.randrange(1, 6), 0.02)
                await asyncio.sleep(self.rng.uniform(0, 0.05))

    async def _ready(self, gateway: Gateway) -> None:
        deadline = now() + START_TIMEOUT * 1_000_000
        while not await asyncio.to_thread(gateway.is_ready):
            assert now() < deadline, f"not ready within {START_TIMEOUT} s:\n{gateway.log_text()}"
            await asyncio.sleep(0.005)

    async def _quiet(self, gateway: Gateway) -> None:
        deadline = now() + QUIET_TIMEOUT * 1_000_000
        while not gateway.owes_nothing():
            assert now() < deadline, f"something is owed after {QUIET_TIMEOUT} s of rest:\n{gateway.log_text()}"
            await asyncio.sleep(0.002)

    async def _verify(self, gateway: Gateway) -> None:
        """The data directory, while the gateway is at work in it."""
        process = await asyncio.create_subprocess_exec(
            binary("sealaudit"),
            "verify",
            gateway.directory,
            "--keys",
            gateway.keys,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"sealaudit verify: exit {process.returncode}\n{said.decode()}"
