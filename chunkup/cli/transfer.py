"""Uploads as a command carries them out: one after another, told as they go."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chunkup.cli.main import say_error
from chunkup.cli.options import How, Where
from chunkup.cli.session import Output, run, worst
from chunkup.errors import Busy, ChunkupError
from chunkup.events import Event
from chunkup.models import RemoteFile
from chunkup.render import make_renderer
from chunkup.text import printable
from chunkup.uploader import AsyncUploader

Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Work:
    """One upload of a command: what it is called on stdout, and what does it."""

    path: str
    begin: Callable[[Listener], Awaitable[RemoteFile]]


class Transfer:
    """One command's uploads: progress and errors on stderr, ids on stdout.

    ``label`` puts a tab and the path behind each id. ``skip_busy`` leaves jobs that other
    processes hold to them, as long as anything else could be done.
    """

    def __init__(self, where: Where, how: How, *, label: bool, skip_busy: bool = False) -> None:
        self._where = where
        self._label = label
        self._skip_busy = skip_busy
        self._output = Output()
        self._renderer = make_renderer("none" if how.quiet else how.progress)
        self._job: str | None = None

    def carry_out(self, uploader: AsyncUploader, find: Callable[[], Awaitable[list[Work]]]) -> int:
        """Do each work in turn; one that fails stops no other. The command's exit code."""
        try:
            return run(self._all(uploader, find), go_on=self._go_on, restore=self._renderer.close)
        finally:
            self._renderer.close()

    async def _all(self, uploader: AsyncUploader, find: Callable[[], Awaitable[list[Work]]]) -> int:
        errors: list[ChunkupError] = []
        done = 0
        async with uploader:
            for work in await find():
                self._job = None
                try:
                    file = await work.begin(self._watch)
                except ChunkupError as error:
                    errors.append(error)
                    self._renderer.pause()
                    say_error(self._with_command(error))
                else:
                    done += 1
                    await self._print(uploader, file, work.path)
        if self._output.broken:
            errors.append(ChunkupError("nobody reads standard output any more"))
        if self._skip_busy and done:
            errors = [error for error in errors if not isinstance(error, Busy)]
        return worst(errors)

    async def _print(self, uploader: AsyncUploader, file: RemoteFile, path: str) -> None:
        self._renderer.pause()
        name = printable(file.id, 500)
        self._output.line(f"{name}\t{printable(path, 4096)}" if self._label else name)
        if self._job is not None:
            await (await uploader.journal()).mark_printed([self._job])

    def _watch(self, event: Event) -> None:
        self._job = event.job
        self._renderer.show(event)

    def _go_on(self) -> str | None:
        return self._where.command("resume", self._job) if self._job else None

    def _with_command(self, error: ChunkupError) -> ChunkupError:
        """Where going on is the way out, say so as one whole command."""
        if error.job_id and error.exit_code == 75:
            error.hint = self._where.command("resume", error.job_id)
        return error
