"""How commands ask the server for small things: one after another, and none stops the others."""

import errno
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chunkup.cli.options import How, Where, make_engine, take
from chunkup.cli.session import run, worst
from chunkup.cli.streams import put, write
from chunkup.errors import ChunkupError, NotFound, Refused

if TYPE_CHECKING:
    from chunkup.engine import Engine
    from chunkup.files.stored import StoredFiles


class Errands:
    """One command's requests: results on stdout, errors and waits on stderr.

    ``values`` are those of :func:`chunkup.cli.options.patience_options` and
    :func:`chunkup.cli.options.where_options`. With ``as_json`` errors are on stdout as well.

    Attributes:
        deaf: Whether nobody reads standard output any more.
    """

    def __init__(self, values: dict[str, Any], *, as_json: bool = False) -> None:
        self._where: Where = take(Where, values)
        self._how = How(workers=16, fail_if_late=False, **values)
        self._as_json = as_json
        self._errors: list[ChunkupError] = []
        self.deaf = False

    def command(self, *words: str) -> str:
        """A command to the same place, that can be pasted."""
        return self._where.command(*words)

    def carry_out(
        self,
        work: Callable[["StoredFiles"], Awaitable[int]],
        *,
        go_on: Callable[[], str | None] = lambda: None,
    ) -> int:
        """Do what there is to do; the exit code. ``go_on`` gives the command after a signal."""
        from chunkup.files.stored import StoredFiles

        return self.with_engine(lambda engine: work(StoredFiles(engine)), go_on=go_on)

    def with_engine(
        self,
        work: Callable[["Engine"], Awaitable[int]],
        *,
        go_on: Callable[[], str | None] = lambda: None,
    ) -> int:
        """As :meth:`carry_out`, for what needs more than the Files API."""
        engine = make_engine(self._where, self._how)

        async def whole() -> int:
            try:
                return await work(engine)
            except ChunkupError as error:
                self._advise(error, go_on())
                raise
            finally:
                await engine.aclose()

        with _told():
            return run(whole(), go_on=go_on)

    def for_each(
        self,
        ids: Sequence[str],
        one: Callable[["StoredFiles", str], Awaitable[None]],
        *,
        again: Sequence[str],
    ) -> int:
        """Do it for each id once, whatever becomes of the others; the exit code.

        ``again`` are the words of the command, without the ids.
        """
        from chunkup.cli.main import say_error

        todo = list(dict.fromkeys(ids))
        left = list(todo)

        async def work(stored: "StoredFiles") -> int:
            for file_id in todo:
                try:
                    await one(stored, file_id)
                except ChunkupError as error:
                    self._errors.append(error)
                    self._advise(error, self.command(*again, file_id))
                    say_error(error, about=file_id if len(todo) > 1 else None)
                    if self._as_json:
                        said = {"code": error.code, "message": error.message, "hint": error.hint}
                        self.put(json.dumps({"id": file_id, **said}))
                left.remove(file_id)
                if self.deaf:
                    break
            return worst(self._errors) or int(self.deaf)

        return self.carry_out(work, go_on=lambda: self.command(*again, *left) if left else None)

    def put(self, text: str) -> None:
        """Write a line to standard output.

        Raises:
            ChunkupError: It takes nothing. A reader who has enough is no error.
        """
        if not self.deaf:
            self._heard(put(text))

    async def pour(self, block: bytes) -> bool:
        """Write bytes to standard output; whether anybody reads them.

        Raises:
            ChunkupError: It takes nothing.
        """
        from chunkup.aside import aside

        # A reader may be as slow as it likes, and a signal must be felt meanwhile.
        self._heard(await aside(lambda: _written(block)))
        return not self.deaf

    def _heard(self, error: OSError | None) -> None:
        if isinstance(error, BrokenPipeError):
            self.deaf = True
        elif error is not None:
            raise ChunkupError(f"standard output takes nothing: {error.strerror}")

    def _advise(self, error: ChunkupError, again: str | None) -> None:
        from chunkup.cli.advice import advise

        error.hint = advise(error, self._where)
        if error.hint is None and isinstance(error, NotFound):
            error.hint = self.command("files", "list")
        elif error.hint is None and not isinstance(error, Refused):
            error.hint = again


def _written(block: bytes) -> OSError | None:
    try:
        if sys.stdout is None:
            return OSError(errno.EBADF, "it is closed")
        write(sys.stdout.fileno(), memoryview(block))
    except OSError as error:
        return error
    return None


@contextmanager
def _told() -> Iterator[None]:
    """Say on standard error what is waited for: a command that stands still has to say why."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    log = logging.getLogger("chunkup")
    # With -v the root has it said already.
    if not logging.getLogger().handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
