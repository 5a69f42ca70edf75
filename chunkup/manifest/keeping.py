"""A manifest while its command runs: entries go in as files end, and reach the disk soon."""

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Final

from chunkup.aside import aside
from chunkup.errors import BadOption, Failed
from chunkup.manifest.entry import Entry, Key, line_of
from chunkup.manifest.sheet import Sheet
from chunkup.outlast import outlast
from chunkup.text import printable

# Seconds between two writings, and how often its own length a writing pauses: 5 % of the time.
_PAUSE: Final = 1.0
_SHARE: Final = 20.0


class Manifest:
    """The manifest at ``path``. Making one does no I/O; :meth:`prepare` comes first.

    Other entries that are there stay; of the same stretch, purpose and place the newer one does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._given = path
        self._sheet: Sheet | None = None
        self._ours: dict[Key, tuple[int, str]] = {}
        self._wanted = self._written = 0
        self._writer: asyncio.Task[None] | None = None
        self._due = 0.0
        self._error: Failed | None = None

    @property
    def path(self) -> Path:
        """Where the file really is, once :meth:`prepare` has been there."""
        return self._sheet.path if self._sheet is not None else Path(self._given).absolute()

    async def prepare(self) -> None:
        """See that it can be written, before anything is sent.

        Raises:
            BadOption: It cannot, or what is there is no manifest.
        """
        if os.fspath(self._given) in {"", "-"}:
            raise BadOption(
                "a manifest is a file, and standard output has the ids",
                hint="name it with --manifest FILE",
            )
        self._sheet = await outlast(aside(partial(_checked, self._given)))

    def add(self, place: int, entry: Entry) -> None:
        """One more File; ``place`` is its file's among those of the command.

        It is on the disk a second later, or when a twentieth of the time allows; call it on the
        loop.
        """
        self._ours[entry.key] = (place, line_of(entry))
        self._wanted += 1
        if self._writer is None:
            self._writer = asyncio.create_task(self._keep_writing())

    async def close(self) -> None:
        """Have all of it on the disk.

        Raises:
            Failed: It is not. What was uploaded is uploaded all the same.
        """
        await outlast(self._closed())
        if self._error is not None:
            raise self._error

    async def _closed(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cancel()  # its pause; a writing under way is waited for
            await asyncio.wait([writer])
        if self._written < self._wanted:
            await self._write()

    async def _keep_writing(self) -> None:
        while self._written < self._wanted:
            await asyncio.sleep(self._due - time.monotonic())
            await self._write()
        self._writer = None

    async def _write(self) -> None:
        assert self._sheet is not None  # noqa: S101  (the order of calls is ours)
        ordered = sorted(self._ours.items(), key=lambda item: item[1][0])
        wanted, began = self._wanted, time.monotonic()
        try:
            await outlast(
                aside(partial(self._sheet.merge, {key: line for key, (_, line) in ordered}))
            )
        except (OSError, BadOption) as error:
            self._error = self._failed(error)
        else:
            self._written, self._error = wanted, None
        finally:
            took = time.monotonic() - began
            self._due = time.monotonic() + max(_PAUSE, _SHARE * took)

    def _failed(self, error: OSError | BadOption) -> Failed:
        shown = printable(str(self.path), 4096)
        if isinstance(error, BadOption):
            why = f"the manifest could not be written: {error.message}"
        else:
            why = f"the manifest {shown} could not be written: {error.strerror or error}"
        return Failed(
            f"{why}; the uploads went on without it",
            hint="make that good, then run the same command again with --skip-existing",
        )


def _checked(path: str | os.PathLike[str]) -> Sheet:
    try:
        sheet = Sheet(path)
    except (OSError, ValueError) as error:
        raise BadOption(
            f"the manifest {printable(os.fspath(path))} cannot be written: {error}"
        ) from error
    sheet.check()
    return sheet
