"""A command brought to a point from which it does not get on by itself, to be signalled there."""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from aiohttp import web
from house import Handler, call_of
from test_cli import AS_USED, Shell

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds, on a machine that is busy with tests.
LATE = 20.0
UPLOAD = ("upload", "a.bin", *AS_USED)
PIPE = asyncio.subprocess.PIPE


class Way(Enum):
    """How it goes on."""

    RESUME = auto()  # by the command that is named
    AGAIN = auto()  # nothing was begun that anybody could go on with
    LATER = auto()  # by the command that is named, which takes too long or finds it done
    OVER = auto()  # this is how it ends, and nothing is said of it


@dataclass
class Stage:
    """One command that is to be stopped."""

    shell: Shell
    process: asyncio.subprocess.Process | None = None
    heard: bytes = b""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    at_end: list[Callable[[], object]] = field(default_factory=list)

    async def begin(
        self,
        *words: str,
        before: tuple[str, ...] = (sys.executable, "-m", "chunkup"),
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = PIPE,
        stderr: int = PIPE,
        **more: str,
    ) -> asyncio.subprocess.Process:
        """Start a command as a shell in a terminal does: a group of its own, nothing ignored."""
        process = self.process = await asyncio.create_subprocess_exec(
            *before,
            *words,
            cwd=self.shell.folder,
            env={**self.shell.environ, "CHUNKUP_RETRIES": "100", **more},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_as_usual,
        )
        self.shell.started.append(process)
        return process

    async def hear(self, *words: str) -> None:
        """Read what it says until all of these were said."""
        assert self.process is not None
        assert self.process.stderr is not None
        while not all(word.encode() in self.heard for word in words):
            more = await asyncio.wait_for(self.process.stderr.read(65536), LATE)
            assert more, f"it ended before that: {self.heard.decode()}"
            self.heard += more

    async def reads(self, name: str, *, least: int = 1) -> None:
        """Wait until it has a file open, and has read so much of it."""
        assert self.process is not None
        folder = Path("/proc") / str(self.process.pid)
        while not _has_read(folder, name, least):
            assert self.process.returncode is None, await self.end()
            await asyncio.sleep(0.01)  # another process's files, of which nobody tells

    async def sees(self, event: asyncio.Event) -> None:
        """Wait for an event, which cannot come any more if the command has ended."""
        assert self.process is not None
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.process.wait())]
        await asyncio.wait(waits, timeout=LATE, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        assert event.is_set(), await self.end()

    def hold(self, call: str, *, after: int = 0) -> asyncio.Event:
        """Have the server hold all requests of a kind but the first; set once one is held."""
        held = asyncio.Event()

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            if call_of(request) == call and self.shell.house.calls.count(call) > after:
                held.set()
                await self.go.wait()
            return await handler(request)

        self.shell.house.intercept = intercept
        return held

    def unheard(self, call: str, *, after: int = 0) -> asyncio.Event:
        """As :meth:`hold`, of what is done already."""
        held = asyncio.Event()

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            if call_of(request) == call and self.shell.house.calls.count(call) > after:
                held.set()
                await self.go.wait()
            return answer

        self.shell.house.intercept = intercept
        return held

    async def end(self) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        assert self.process is not None
        out, err = await asyncio.wait_for(self.process.communicate(), LATE)
        assert self.process.returncode is not None
        return self.process.returncode, (out or b"").decode(), (self.heard + (err or b"")).decode()


def _as_usual() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _has_read(folder: Path, name: str, least: int) -> bool:
    with suppress(OSError):
        for link in (folder / "fd").iterdir():
            with suppress(OSError):
                if link.readlink().name == name:
                    seen = (folder / "fdinfo" / link.name).read_text()
                    return int(seen.split()[1]) >= least
    return False
