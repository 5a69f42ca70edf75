"""Jobs that run in this process, and how any process of this machine can stop one of them.

A signal would do for a command, but a job may run in a notebook or a service that has to live
on. So who wants a stop writes it into the job's row, and who runs jobs reads once a second which
of its own are meant.
"""

import asyncio
import socket
from pathlib import Path
from typing import Final

from chunkup.errors import Busy, ChunkupError
from chunkup.journal import Journal, busy
from chunkup.models import Job, RemoteFile

_POLL: Final = 1.0
# A process that has not let go of a job after so many seconds will not.
_PATIENCE: Final = 10.0


class Home:
    """One journal, opened at first use, for all that share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = asyncio.Lock()
        self._journal: Journal | None = None

    async def journal(self) -> Journal:
        """The journal, opened now if it was not, and anew after its disk had failed."""
        async with self._opening:
            if self._journal is not None and self._journal.spent:
                # Room may have been made since; in a notebook nobody wants a new uploader for it.
                await self.close()
            if self._journal is None:
                self._journal = await Journal.open(self._path)
        return self._journal

    async def close(self) -> None:
        """Close the journal; a later use opens it again."""
        journal, self._journal = self._journal, None
        if journal is not None:
            await journal.close()


class Stops:
    """The jobs that run here, each in a task of its own.

    ``patience`` is how many seconds another process has to let go of a job.
    """

    def __init__(self, home: Home, *, patience: float = _PATIENCE) -> None:
        self._home = home
        self._patience = patience
        self._runs: dict[str, asyncio.Task[RemoteFile]] = {}
        self._asked: set[str] = set()
        self._poller: asyncio.Task[None] | None = None

    def add(self, job_id: str, run: asyncio.Task[RemoteFile]) -> None:
        """This task runs the job from now on."""
        self._runs[job_id] = run
        poller = self._poller
        # One that is cancelled looks no more, though it may not have ended yet.
        if poller is None or poller.done() or poller.cancelling():
            self._poller = asyncio.create_task(self._poll())

    def remove(self, job_id: str) -> bool:
        """The job's run is over; whether it was asked to stop."""
        self._runs.pop(job_id, None)
        if not self._runs and self._poller is not None:
            self._poller.cancel()
        asked = job_id in self._asked
        self._asked.discard(job_id)
        return asked

    def stop(self, job_id: str) -> bool:
        """Stop the job's run, if it runs here."""
        run = self._runs.get(job_id)
        if run is None:
            return False
        self._asked.add(job_id)
        run.cancel()
        return True

    async def ask(self, job: Job) -> bool:
        """Ask whoever runs a job to stop it, and wait until it has; False if nobody does.

        Raises:
            Busy: It runs on another machine, or was not let go of in time.
        """
        journal = await self._home.journal()
        line = await journal.line(job.id)
        if line.holder is None or not journal.holder_lives(line):
            return False
        if await journal.revoke(job.id):
            return True
        if not self.stop(job.id):
            if line.holder.host != socket.gethostname():
                raise Busy(
                    f"job {job.id} runs on another machine, {line.holder.host}, and can only be "
                    "stopped there",
                    hint=f"chunkup show {job.id}",
                    job_id=job.id,
                )
            await journal.ask_to_stop(job.id)
        holder, loop = line.holder, asyncio.get_running_loop()
        until = loop.time() + self._patience
        while loop.time() < until:
            await asyncio.sleep(_POLL / 10)
            now = await journal.line(job.id)
            # Who has it next, if somebody waited for it, is not who was asked.
            if now.owner != line.owner or not journal.holder_lives(now):
                return True
        raise busy(job.id, holder)

    async def close(self) -> None:
        """End the looking."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
            self._poller = None

    async def _poll(self) -> None:
        journal = await self._home.journal()
        while True:
            await asyncio.sleep(_POLL)
            try:
                for job_id in await journal.asked_to_stop():
                    if not self.stop(job_id):
                        await journal.revoke(job_id)
            except ChunkupError:
                return  # the runs meet the same disk, and say so
