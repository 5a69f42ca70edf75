"""What the model of claims does, done to journals and to processes: they do the same."""

import asyncio
import json
import os
import random
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from claims_model import HOLDING, Claims, Id, World
from strategies import plain_job
from test_journal_claims import hear, running

from chunkup.errors import Busy, ChunkupError, JournalTrouble
from chunkup.journal import Journal
from chunkup.machine import CompleteAsked, Completed, Created, Fact
from chunkup.models import RemoteFile, Upload

LONG = bool(os.environ.get("CHUNKUP_LONG"))
TWO = (0, 0, 1)

CREATED = Created(Upload("upload_1", 0, None))
ASKED = CompleteAsked("upload_1", (), None, 1.0)
COMPLETED = Completed(RemoteFile("file-1", 1000, 0, "a", "batch"))
FACTS: dict[str, Fact] = {"ask": ASKED, "end": COMPLETED}


class Real(Protocol):
    """What the model's steps are done to; each says whether it was refused."""

    async def claim(self, at: int, *, takeover: bool) -> str: ...
    async def cancelled(self, at: int, *, takeover: bool) -> None: ...
    async def record(self, at: int, fact: str) -> str: ...
    async def release(self, at: int) -> None: ...
    async def fail(self, place: int) -> None: ...
    async def kill(self, place: int) -> None: ...
    async def restart(self, place: int) -> None: ...
    def owner(self, place: int) -> str: ...
    async def close(self) -> None: ...


async def said(doing: Any) -> str:
    try:
        await doing
    except ChunkupError as error:
        return error.code
    return "ok"


class Here:
    """Journals of one file in this process, of which one can die as the kernel sees it."""

    def __init__(self, path: Path, job: str) -> None:
        self._path, self._job = path, job
        self._journals: list[Journal] = []
        self._dead: list[Journal] = []
        self._runs: dict[int, int] = {}

    async def open(self) -> None:
        self._journals = [await Journal.open(self._path) for _ in range(2)]

    def _of(self, at: int) -> Journal:
        return self._journals[TWO[at]]

    async def claim(self, at: int, *, takeover: bool) -> str:
        try:
            self._runs[at] = await self._of(at).claim(self._job, "model", takeover=takeover)
        except ChunkupError as error:
            return error.code
        return "ok"

    async def cancelled(self, at: int, *, takeover: bool) -> None:
        task = asyncio.create_task(self._of(at).claim(self._job, "model", takeover=takeover))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, Busy):
            await task

    async def record(self, at: int, fact: str) -> str:
        return await said(self._of(at).record(self._job, FACTS[fact]))

    async def release(self, at: int) -> None:
        with suppress(JournalTrouble):
            await self._of(at).release(self._job, self._runs[at], None)

    async def fail(self, place: int) -> None:
        self._journals[place]._scribe._broken = JournalTrouble("the disk failed")

    async def kill(self, place: int) -> None:
        dead = self._journals[place]
        if dead._owner._handle is not None:
            os.close(dead._owner._handle)
            dead._owner._handle = None
        self._dead.append(dead)

    async def restart(self, place: int) -> None:
        self._journals[place] = await Journal.open(self._path)

    def owner(self, place: int) -> str:
        return self._journals[place]._owner.id

    async def close(self) -> None:
        for journal in [*self._journals, *self._dead]:
            await journal.close()


PUPPET = """
import json
from test_claims_walks import Here

async def main():
    me = Here(path, sys.argv[3])
    me._journals = [await Journal.open(path)] * 2
    say(json.dumps(me.owner(0)))
    for line in sys.stdin:
        name, *words = json.loads(line)
        if name == "claim":
            done = await me.claim(words[0], takeover=words[1])
        elif name == "cancelled":
            done = await me.cancelled(words[0], takeover=words[1])
        else:
            done = await getattr(me, name)(*words)
        say(json.dumps([done, me.owner(0)]))

asyncio.run(main())
"""


class Elsewhere:
    """The same as processes, which really die."""

    def __init__(self, path: Path, job: str) -> None:
        self._path, self._job = path, job
        self._stack = ExitStack()
        self._processes: list[Any] = [None, None]
        self._owners = ["", ""]

    async def open(self) -> None:
        for place in range(2):
            await self.restart(place)

    async def _do(self, place: int, *words: object) -> Any:
        process = self._processes[place]
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        done, self._owners[place] = json.loads(hear(process))
        return done

    async def claim(self, at: int, *, takeover: bool) -> str:
        return str(await self._do(TWO[at], "claim", at, takeover))

    async def cancelled(self, at: int, *, takeover: bool) -> None:
        await self._do(TWO[at], "cancelled", at, takeover)

    async def record(self, at: int, fact: str) -> str:
        return str(await self._do(TWO[at], "record", at, fact))

    async def release(self, at: int) -> None:
        await self._do(TWO[at], "release", at)

    async def fail(self, place: int) -> None:
        await self._do(place, "fail", 0)

    async def kill(self, place: int) -> None:
        self._processes[place].kill()
        self._processes[place].wait()

    async def restart(self, place: int) -> None:
        process = self._stack.enter_context(running(PUPPET, self._path, self._job))
        self._processes[place] = process
        self._owners[place] = json.loads(hear(process))

    def owner(self, place: int) -> str:
        return self._owners[place]

    async def close(self) -> None:
        self._stack.close()


class Walk:
    """A way through the model, taken by the real thing as well, and compared at each step."""

    def __init__(self, seed: int, real: Real, look: Journal, job: str) -> None:
        budget = {"claim": 12, "takeover": 12, "cancel": 12, "crash": 3, "fail": 1}
        self._rules = Claims(budget, places=TWO)
        self._world = self._rules.start()
        self._chance = random.Random(seed)
        self._real, self._look, self._job = real, look, job
        self._names: dict[Id, str] = {}
        self.steps: list[str] = []

    async def go(self, steps: int) -> None:
        for _ in range(steps):
            ways = sorted(self._rules.steps(self._world))
            # Endings and deaths are always possible, and would leave little else.
            rare = ("kill", "cancel", "release", "disk", "complete", "record end")
            often = [way for way in ways if not way[0].startswith(rare)]
            if not ways:
                return
            step, after = self._chance.choice(often * 3 + ways)
            self.steps.append(step)
            await self._take(step, after)
            await self._compare()
            await self._refusals()

    async def _take(self, step: str, after: World) -> None:
        *name, last = step.split()
        at = int(last)
        match " ".join(name):
            case "claim" | "takeover" as kind:
                await self._claim(at, after, takeover=kind == "takeover")
            case "record ask":
                assert await self._real.record(at, "ask") == "ok"
            case "record end":
                assert await self._real.record(at, "end") == "ok"
            case "refused":
                fact = "end" if self._world.hands[at].at == "sent" else "ask"
                assert await self._real.record(at, fact) == "busy"
            case "record fails":
                fact = "end" if self._world.hands[at].at == "sent" else "ask"
                assert await self._real.record(at, fact) == "journal-trouble"
            case "release" | "abandon":
                await self._real.release(at)
            case "kill process":
                await self._real.kill(at)
            case "restart process":
                await self._real.restart(at)
            case "disk fails process":
                await self._real.fail(at)
            case "load" | "done" | "look" | "found" | "complete" | "cancel":
                pass
            case other:
                raise AssertionError(other)
        if self._world.transaction is None and after.transaction is None:
            self._world = after

    async def _claim(self, at: int, after: World, *, takeover: bool) -> None:
        """To the end of its transaction: in between nobody else sees anything of it."""
        cancelled = self._chance.random() < 0.2
        while after.transaction is not None:
            moves = dict(self._rules.moves(after, at))
            cancel = f"cancel {at}"
            after = moves[cancel] if cancelled and cancel in moves else _other(moves, cancel)
        hand = after.hands[at]
        if hand.cancelled:
            await self._real.cancelled(at, takeover=takeover)
            after = dict(self._rules.moves(after, at))[f"release {at}"]
        elif after.processes[TWO[at]].failing:
            assert await self._real.claim(at, takeover=takeover) == "journal-trouble"
        else:
            code = await self._real.claim(at, takeover=takeover)
            assert code == ("ok" if hand.at in HOLDING else "busy"), self.steps
        self._world = after

    async def _compare(self) -> None:
        world = self._world
        for place, process in enumerate(world.processes):
            if process.up:
                self._names[place, process.life] = self._real.owner(place)
        line = await self._look.line(self._job)
        expected = None if world.row is None else self._names[world.row]
        assert line.owner == expected, self.steps
        assert self._look.holder_lives(line) is self._rules.lives(world, world.row), self.steps
        facts = await self._look.facts(self._job)
        assert facts == [CREATED] + [ASKED] * world.asked + [COMPLETED] * world.done, self.steps

    async def _refusals(self) -> None:
        """What the model leaves no way for is refused, and changes nothing."""
        world = self._world
        for at, hand in enumerate(world.hands):
            process = world.processes[TWO[at]]
            idle = process.up and not process.failing and hand.at == "idle"
            if idle and not world.done and not self._rules.may_begin(world, at):
                for takeover in (False, True):
                    assert await self._real.claim(at, takeover=takeover) == "busy", self.steps
                await self._compare()


def _other(moves: dict[str, World], cancel: str) -> World:
    (found,) = (world for name, world in moves.items() if name != cancel)
    return found


async def one_walk(path: Path, kind: type[Here | Elsewhere], seed: int, steps: int) -> list[str]:
    look = await Journal.open(path)
    job, _ = await look.adopt(plain_job(f"/data/{seed}"))
    await look.record(job.id, CREATED)
    real = kind(path, job.id)
    await real.open()
    walk = Walk(seed, real, look, job.id)
    try:
        await walk.go(steps)
    finally:
        await real.close()
        await look.close()
    return walk.steps


async def test_journals_do_what_the_model_does(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    taken: list[str] = []
    for number in range(200 if LONG else 12):
        taken += await one_walk(tmp_path / "journal.db", Here, seed + number, 60)
    kinds = {step.rpartition(" ")[0] for step in taken}
    assert {"claim", "takeover", "release", "kill process", "record ask"} <= kinds


async def test_processes_do_what_the_model_does(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for number in range(20 if LONG else 1):
        await one_walk(tmp_path / "journal.db", Elsewhere, seed + number, 60)
