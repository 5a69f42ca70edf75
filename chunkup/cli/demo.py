"""``chunkup demo``: the promise, kept before one's eyes.

The server is this process; the uploader is another one, and it is really killed.
"""

import asyncio
import hashlib
import json
import signal
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import click

from chunkup.cli.session import run
from chunkup.errors import Failed
from chunkup.planner import whole
from chunkup.text import duration_text, size_text

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from chunkup.journal import JobLine, Journal
    from chunkup.server.app import Arrival

_SIZE: Final = 300 * 10**6
_KILL_AT: Final = 0.4
_PARTS: Final = 50


@click.command(short_help="Watch an upload be killed and resumed, without a key.")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def demo(file: Path | None) -> int:
    """Upload FILE to an embedded server, kill the uploader half-way, resume, compare.

    Without FILE, 300 MB of JSONL are made from the Python standard library's own sources. No
    key is needed and nothing leaves this machine.
    """
    with tempfile.TemporaryDirectory(prefix="chunkup-demo-") as folder:
        run(_demo(file, Path(folder)))
    return 0


async def _demo(file: Path | None, folder: Path) -> None:
    if file is None:
        file = folder / "stdlib.jsonl"
        _step(f"writing {size_text(_SIZE)} of JSONL out of the standard library's sources")
        await asyncio.to_thread(_write_jsonl, file)
    async with _Stage(file, folder) as stage:
        await stage.upload_and_kill()
        file_id = await stage.resume()
        await asyncio.to_thread(stage.compare, file_id)
    _step("nothing with a receipt travelled twice; the File is the file, byte for byte")


def _step(text: str) -> None:
    click.echo(f"· {text}")


def _write_jsonl(path: Path) -> None:
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    number = 0
    with path.open("w", encoding="utf-8") as out:
        while out.tell() < _SIZE:
            for source in sources:
                text = source.read_text("utf-8", "replace")
                record = {"custom_id": f"{number}", "name": source.name, "text": text}
                out.write(json.dumps(record) + "\n")
                number += 1
                if out.tell() >= _SIZE:
                    break


class _Stage:
    """The embedded server in this process, the uploader in another, and what was seen."""

    def __init__(self, file: Path, folder: Path) -> None:
        from chunkup.source import inspect

        self._file = file
        self._folder = folder
        self._size = whole(inspect(file)[1].size).size
        self._part_size = min(64 << 20, max(1, -(-self._size // _PARTS)))
        self._journal = folder / "state" / "journal.db"
        self._received = 0
        self._killed = asyncio.Event()

    async def __aenter__(self) -> Self:
        from chunkup.server.app import create_app, start
        from chunkup.server.store import Store

        self._store = Store(self._folder / "server")
        app = create_app(self._store, observer=self._observe, middlewares=[self._hold()])
        self._runner, self._url = await start(app)
        _step(f"the embedded server accepts requests at {self._url}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._killed.set()
        await self._runner.cleanup()
        self._store.close()

    def _observe(self, arrival: "Arrival") -> None:
        self._received += arrival.bytes

    def _hold(self) -> "Middleware":
        """From 40 % on, parts wait at the door, so that the kill finds some of them half-sent."""
        from aiohttp import web

        @web.middleware
        async def hold(request: web.Request, handler: "Handler") -> web.StreamResponse:
            if request.path.endswith("/parts") and self._received >= _KILL_AT * self._size:
                await self._killed.wait()
            return await handler(request)

        return hold

    async def upload_and_kill(self) -> "JobLine":
        """Upload until 40 % have receipts, then SIGKILL; the job as the journal has it."""
        from chunkup.journal import Journal

        _step(
            f"uploading {self._file.name}, {size_text(self._size)} in parts of "
            f"{size_text(self._part_size)}"
        )
        uploader = await self._start(
            "upload",
            str(self._file),
            "--purpose",
            "user_data",
            "--part-size",
            str(self._part_size),
        )
        journal = await Journal.open(self._journal)
        try:
            while not await self._far_enough(journal):
                if uploader.returncode is not None:
                    raise Failed("the uploader ended before it could be killed")
                await asyncio.sleep(0.01)
            uploader.send_signal(signal.SIGKILL)
            await uploader.wait()
            _step(f"kill -9 {uploader.pid}")
            self._killed.set()
            # What the dead process had put on the wire arrives still, and is nobody's doing.
            await self._quiet()
            (line,) = await journal.lines()
        finally:
            await journal.close()
        _step(
            f"the journal has receipts for {line.parts} parts, {line.done * 100 // self._size} %; "
            f"{self._received - line.done} bytes more had arrived without one"
        )
        self._stored = {part.id for part in self._store.parts()}
        self._receipts = line.done
        return line

    async def _quiet(self) -> None:
        """Wait until the server has closed every connection that the dead process left."""
        while self._runner.server is not None and self._runner.server.connections:  # noqa: ASYNC110  (aiohttp tells nobody)
            await asyncio.sleep(0.01)

    async def _far_enough(self, journal: "Journal") -> bool:
        return any(line.done >= _KILL_AT * self._size for line in await journal.lines())

    async def resume(self) -> str:
        """Resume, and return the id that it prints."""
        _step("chunkup resume")
        began = time.monotonic()
        uploader = await self._start("resume")
        out, _ = await uploader.communicate()
        if uploader.returncode != 0:
            raise Failed(f"resume ended with exit code {uploader.returncode}")
        file_id = out.decode().split()[0]
        _step(f"it printed {file_id} after {duration_text(time.monotonic() - began)}")
        return file_id

    def compare(self, file_id: str) -> None:
        """Compare what the server holds with the file, and what travelled with the receipts.

        Raises:
            Failed: Something is not as promised.
        """
        again = [part for part in self._store.parts() if part.id not in self._stored]
        sent, missing = sum(part.bytes for part in again), self._size - self._receipts
        _step(f"the resumed run sent {sent} bytes; {missing} had no receipt")
        if sent != missing:
            raise Failed(f"a part with a receipt travelled twice: {sent} bytes, not {missing}")
        ours, theirs = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        with self._file.open("rb") as source:
            while block := source.read(1 << 20):
                ours.update(block)
        held = 0
        for block in self._store.read_file(file_id):
            theirs.update(block)
            held += len(block)
        _step(f"here:   {self._size} bytes, MD5 {ours.hexdigest()}")
        _step(f"server: {held} bytes, MD5 {theirs.hexdigest()}")
        if held != self._size or ours.digest() != theirs.digest():
            raise Failed("the File on the server differs from the file")

    async def _start(self, command: str, *more: str) -> asyncio.subprocess.Process:
        arguments = [
            *("-m", "chunkup", command, *more),
            *("--base-url", self._url, "--no-key", "--journal", str(self._journal)),
        ]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
