"""Uploads as a command carries them out: told as they go, one exit code in the end."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from chunkup import events
from chunkup.cli.advice import advise, advise_by_code
from chunkup.cli.main import say, say_error
from chunkup.cli.options import Where
from chunkup.cli.output import Output, nothing_done
from chunkup.cli.session import run, worst
from chunkup.cli.streams import limit
from chunkup.cli.talk import Talk
from chunkup.dataset import Dataset, InOrder, Result
from chunkup.engine import Engine
from chunkup.errors import (
    Busy,
    ChunkupError,
    Interrupted,
    JournalTrouble,
    OutcomeUnknown,
    SourceChanged,
    Stopped,
    Unauthorized,
)
from chunkup.events import Event, Summary
from chunkup.journal import Standing
from chunkup.listener import careful
from chunkup.models import Job, RemoteFile
from chunkup.outlast import outlast
from chunkup.render import make_renderer

# A key that is no key fails three hundred files alike, and the last ones tell nothing new.
_ALIKE: Final = 3


@dataclass(frozen=True, slots=True)
class Task:
    """What a command is to carry out.

    ``label`` puts a tab and the path behind each id. ``held`` is who else runs the rest: the
    error of a command that could do nothing for it.
    """

    dataset: Dataset
    label: bool
    held: Busy | None = None


class Transfer:
    """One command's uploads: progress and errors on stderr, ids or events on stdout."""

    def __init__(self, where: Where, talk: Talk) -> None:
        self._where = where
        self._format = talk.format
        self._quiet = talk.quiet
        # Jobs that have an Upload: only these are worth going on with under another key.
        self._begun: set[str] = set()
        # Jobs that were told to be done, and whose results a signal may still keep from us.
        self._done: dict[str, events.Completed] = {}
        self._output = Output(as_json=talk.json)
        self._renderer = make_renderer("none" if talk.quiet else _progress(talk))
        self._task: Task | None = None
        self._last: str | None = None
        self._errors: list[ChunkupError] = []
        self._alike: Counter[tuple[str, str]] = Counter()
        self._counts: Counter[str] = Counter()
        # Files that another job had made of the same content.
        self._found_there = 0

    def carry_out(
        self,
        build: Callable[[], Engine],
        find: Callable[[Engine], Awaitable[Task]],
        *,
        max_time: float | None = None,
    ) -> int:
        """Find out what to do, and do it; one that fails stops no other. The exit code.

        After ``max_time`` seconds it stops as at a signal.

        Raises nothing that a user, a file or a server can cause: it is said here.
        """
        failure: ChunkupError | None = None
        try:
            doing = self._all(build(), find, max_time)
            code = run(doing, go_on=self._go_on, restore=self._renderer.close, max_time=max_time)
        except ChunkupError as error:
            failure, code = error, error.exit_code
            self._renderer.pause()
            if isinstance(error, Interrupted) and sys.stderr.isatty():
                click.echo(err=True)  # the terminal has put ^C where this would begin
            say_error(self._advised(error))
        finally:
            self._renderer.close()
        self._output.summary(self._summary(code, failure))
        return code

    async def _all(
        self,
        engine: Engine,
        find: Callable[[Engine], Awaitable[Task]],
        max_time: float | None,
    ) -> int:
        limit(max_time)
        noting = asyncio.create_task(self._note_printed(engine))
        try:
            try:
                task = self._task = await find(engine)
                if task.held is not None and not task.dataset.members:
                    raise task.held
                extent = task.dataset.extent
                if extent[0] > 1:
                    self._renderer.begin(*extent)
                await self._settle(task)
            finally:
                self._output.close()
                # Here a slow reader is waited for; a stop leaves them a moment, and ends it.
                await outlast(noting)
        finally:
            await engine.aclose()
        if self._output.broken:
            unheard = ChunkupError("standard output broke off; the ids are on standard error")
            unheard.hint = self._where.command("resume")
            say_error(unheard)
            self._errors.append(unheard)
        return worst(self._errors)

    async def _settle(self, task: Task) -> None:
        order = InOrder()
        async with aclosing(task.dataset.results(careful(self.watch))) as results:
            async for place, result in results:
                self._count(result)
                fresh = task.dataset.members[place].adopted.standing is not Standing.DONE
                self._found_there += result.reused and fresh
                if result.error is not None:
                    self._say(result, task.dataset.members[place].job, result.error)
                for due in order.due(place, result):
                    self._print(due)
        for (code, _), count in self._alike.items():
            if count > _ALIKE:
                more = count - _ALIKE
                say(code, f"the same for {more} more file{'s' * (more > 1)}")
        files, there = len(task.dataset.members), self._found_there
        if files > 1 and there and not self._quiet:
            self._renderer.pause()
            are = "was" if there == 1 else "were"
            click.echo(f"{there} of {files} files {are} there already and not sent", err=True)
        if files > 1 and self._errors and not self._quiet:
            self._renderer.pause()
            click.echo(self._balance(files), err=True)

    def _balance(self, files: int) -> str:
        """How a command with many files ended that did not end well."""
        done = self._counts["completed"] + self._counts["reused"]
        rest = [
            f"{self._counts[name]} {said}"
            for name, said in (
                ("failed", "failed"),
                ("stopped", "stopped"),
                ("busy", "held by another process"),
                ("unknown", "in doubt"),
            )
            if self._counts[name]
        ]
        return f"{done} of {files} files are done; {', '.join(rest)}"

    def _say(self, result: Result, job: Job, error: ChunkupError) -> None:
        """An error of one file; what hits many alike is told a few times and then counted."""
        self._errors.append(error)
        self._alike[error.code, error.message] += 1
        if self._alike[error.code, error.message] <= _ALIKE:
            self._renderer.pause()
            named = result.path if self._task is not None and self._task.label else None
            say_error(self._advised(error, job), about=named)

    def _print(self, result: Result) -> None:
        if result.file is None or self._task is None:
            return
        self._renderer.pause()
        label = self._task.label if self._format is None else self._format == "tsv"
        self._output.file(result.file.id, result.path if label else None, result.job_id)
        self._say_unheard()

    async def _note_printed(self, engine: Engine) -> None:
        """Note the ids that have been written, until there can be no more; say the others."""
        async for printed in self._output.printed():
            # To print one again does no harm, and all that was asked for is done.
            with suppress(JournalTrouble):
                await (await engine.journal()).mark_printed(printed)
        self._say_unheard()

    def _say_unheard(self) -> None:
        for text in self._output.unheard():
            self._renderer.pause()
            click.echo(text, err=True)

    def watch(self, event: Event) -> None:
        """Show an event, and remember what it means for the end of the command."""
        self._last = event.job or self._last
        if isinstance(event, events.UploadCreated | events.PartAccepted) or (
            isinstance(event, events.JobStarted) and event.done
        ):
            self._begun.add(event.job)
        if isinstance(event, events.Completed):
            self._done[event.job] = event
        self._renderer.show(event)
        self._output.event(self._whole(event))

    def _whole(self, event: Event) -> Event:
        """An event whose commands can be pasted: with destination and journal in them."""
        if not isinstance(event, events.Failed | events.Stopped | events.Unknown):
            return event
        members = self._task.dataset.members if self._task else ()
        job = next((member.job for member in members if member.job.id == event.job), None)
        hint = event.hint
        if isinstance(event, events.Unknown):
            doubt = OutcomeUnknown(event.message, candidates=event.candidates, job_id=event.job)
            hint = advise(doubt, self._where, job)
        elif job is not None:
            hint = advise_by_code(event.code, self._where, job) or hint
        return replace(event, hint=hint, resume=self._where.command("resume", event.job))

    def _count_done(self, file: RemoteFile | None, *, reused: bool) -> None:
        self._counts["reused" if reused else "completed"] += 1
        self._counts["bytes"] += (file.bytes if file else None) or 0

    def _count(self, result: Result) -> None:
        self._done.pop(result.job_id, None)
        match result.error:
            case None:
                self._count_done(result.file, reused=result.reused)
            case Busy():
                self._counts["busy"] += 1
            case OutcomeUnknown():
                self._counts["unknown"] += 1
            case Stopped():
                self._counts["stopped"] += 1
            case _:
                self._counts["failed"] += 1

    def _summary(self, code: int, failure: ChunkupError | None) -> Summary:
        files = len(self._task.dataset.members) if self._task else 0
        for event in self._done.values():
            self._count_done(event.file, reused=event.reused)
        # What was cut off, or not even begun, can be gone on with as well.
        told = sum(count for name, count in self._counts.items() if name != "bytes")
        self._counts["stopped"] += max(0, files - told)
        return replace(nothing_done(code, failure), files=files, **dict[str, Any](self._counts))

    def _go_on(self) -> str | None:
        """What continues after a signal: the one job, or all that stopped."""
        if self._task is None or self._last is None:
            return None
        # The last, since a file that changed ends one job and begins another.
        one = [self._last] if len(self._task.dataset.members) == 1 else []
        return self._where.command("resume", *one)

    def _advised(self, error: ChunkupError, job: Job | None = None) -> ChunkupError:
        error.hint = advise(error, self._where, job)
        if isinstance(error, Unauthorized) and job is not None and job.id not in self._begun:
            # With the right key this is another account's job, and nothing of it is worth keeping.
            error.hint = advise_by_code(SourceChanged.code, self._where, job)
        return error


def _progress(talk: Talk) -> str:
    """How progress is shown: a bar leaves no place for what else is written to its terminal."""
    verbose = logging.getLogger("chunkup").isEnabledFor(logging.INFO)
    crowded = verbose or (talk.json and sys.stdout is not None and sys.stdout.isatty())
    return "lines" if talk.progress == "auto" and crowded else talk.progress
