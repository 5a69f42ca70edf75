"""``chunkup check``: what the server would refuse later, found before anything is sent."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli import complete
from chunkup.cli.advice import cure
from chunkup.cli.checked import Checked, errors_text, show_reading
from chunkup.cli.inputs import STANDARD_INPUT, gathered, input_options
from chunkup.cli.options import Where, setting, take, where_options
from chunkup.cli.splitting import ReadingLine, split_options, take_split
from chunkup.errors import BadContent, BadOption, ChunkupError, Failed, Refused
from chunkup.text import printable

if TYPE_CHECKING:
    from chunkup.gather import Gathered
    from chunkup.models import Job, Limits, Split
    from chunkup.preflight import Report, Wish
    from chunkup.providers import Provider

# A hint that names more files than this is no help.
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command's own options say."""

    purpose: str
    mime_type: str | None
    fix: bool
    output: str | None
    as_json: bool
    quiet: bool


@click.command(
    short_help="Check files before anything is sent.",
    epilog="""\b
Examples:
  chunkup check requests.jsonl --purpose batch
  chunkup check requests.jsonl --purpose batch --fix
  chunkup check big.jsonl --purpose batch --split
""",
)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(allow_dash=True))
@setting(
    "--purpose",
    "-p",
    required=True,
    metavar="PURPOSE",
    shell_complete=complete.purposes,
    help="What the files are meant for, as for upload.",
)
@setting("--mime-type", metavar="TYPE", help="[default: by the name's extension]")
@click.option(
    "--fix",
    is_flag=True,
    help="Mend what can be mended without a loss, in a new file beside PATH, NAME.fixed.jsonl: a "
    "byte order mark, CR LF, blank lines, a missing or repeated custom_id. Which ids are new is "
    "in NAME.fixed.ids.jsonl.",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(),
    help="With --fix and a single PATH: the new file. Nothing is ever overwritten.",
)
@split_options
@setting("--json", "as_json", is_flag=True, help="Print every finding as JSON, and a summary.")
@setting("--quiet", "-q", is_flag=True, help="Say nothing of how far a large file is read.")
@input_options
@where_options
def check(paths: tuple[str, ...], **values: Any) -> int:
    """Check files for what the server would refuse later, perhaps after hours.

    Prints the first twenty findings of each PATH, and then how the file is, with how many
    findings there are of each kind; with --split also the pieces that it would be cut into. With
    --fix it prints the paths that can be uploaded instead, and the rest goes to standard error.

    Nothing is sent, no key is needed, and no job is made. The limits are those of the provider
    that --base-url or --profile leads to. What this provider may or may not take is a warning.

    Exit 0 without errors, 2 if a single PATH has any, 1 if one of several has.
    """
    where: Where = take(Where, values)
    asked: _Asked = take(_Asked, values)
    split = take_split(values)
    found = gathered(paths, values)
    _check_usage(asked, found)
    for note in () if asked.quiet else found.notes:
        click.echo(note, err=True)
    course = _Course(where, asked, split, single=found.single)
    return course.carry_out(course.described(found.paths))


def _check_usage(asked: _Asked, found: "Gathered") -> None:
    if asked.output is not None and not asked.fix:
        raise click.UsageError("--output is where --fix writes: add --fix")
    if asked.output is not None and not found.single:
        raise click.UsageError("--output names one file; give one PATH with it")
    if asked.output is not None and not PurePath(asked.output).name:
        raise click.UsageError("--output is the path of a file")
    if STANDARD_INPUT in found.paths:
        raise BadOption(
            "standard input is gone once it is read; upload checks it before it sends it",
            hint=shlex.join(["chunkup", "upload", "-", "--purpose", asked.purpose]),
        )


def _provider(where: Where) -> "tuple[Provider, Limits]":
    """Whose ways count, and what it takes of a file.

    Raises:
        BadOption: The base URL is none.
    """
    from chunkup.cli.destination import ways
    from chunkup.endpoint import address
    from chunkup.intake import in_one_request

    profile = where.profile
    url = where.base_url or (profile and profile.base_url) or os.environ.get("OPENAI_BASE_URL")
    if url:
        address(url)
    provider = ways(profile, where.base_url)
    limits = profile.limits(provider.limits) if profile else provider.limits
    if in_one_request("auto", provider):
        limits = replace(limits, upload=limits.file)
    return provider, limits


class _Course:
    """One command: its files one after another, and none that is bad stops the others."""

    def __init__(self, where: Where, asked: _Asked, split: "Split | None", *, single: bool) -> None:
        self._where = where
        self._asked = asked
        self._split = split
        self._single = single
        self._provider, self._limits = _provider(where)
        self._told = Checked(as_json=asked.as_json, mending=asked.fix)
        self._line = ReadingLine(shown=show_reading(quiet=asked.quiet, as_json=asked.as_json))
        self._errors: list[ChunkupError] = []
        # Each with its errors, in words and as codes.
        self._bad: list[tuple[str, str, list[str]]] = []

    def described(self, paths: Sequence[str]) -> "list[Job]":
        """What files would be uploaded as; looks at all of them, and reads none.

        Raises:
            Refused: One cannot be uploaded, or not be cut or mended as asked for.
        """
        jobs = [self._described(path) for path in paths]
        for path in paths if self._asked.fix else ():
            _see_free(*self._places(path))
        return jobs

    def _described(self, path: str) -> "Job":
        from chunkup.models import Account, Job
        from chunkup.planner import is_jsonl, piece_limits, whole
        from chunkup.source import inspect, mime_type_of

        real, fingerprint = inspect(path)
        name = PurePath(path).name
        split = self._split
        if split is not None:
            if not is_jsonl(path):
                raise BadOption(
                    f"{printable(path)} cannot be cut between records: only JSON Lines have such",
                    hint="leave --split away",
                )
            split = piece_limits(split, self._asked.purpose, self._limits)
        return Job(
            id="",
            set_id="",
            account=Account(""),
            path=real,
            span=whole(fingerprint.size, path),
            fingerprint=fingerprint,
            purpose=self._asked.purpose,
            filename=name,
            mime_type=self._asked.mime_type or mime_type_of(name),
            created_at=0.0,
            given=path,
            split=split,
        )

    def carry_out(self, jobs: Sequence["Job"]) -> int:
        """Check them all; the exit code. Raises nothing that a user or a file can cause."""
        from chunkup.cli.main import say_error
        from chunkup.cli.session import run

        failure: ChunkupError | None = None
        try:
            code = run(self._all(jobs), restore=self._line.clear)
            self._told.heard()
        except ChunkupError as error:
            failure, code = error, error.exit_code
            self._line.clear()
            say_error(error)
        alone = self._errors[0] if self._single and self._errors else None
        self._told.summary(code, failure or alone or self._verdict(len(jobs)))
        return code

    async def _all(self, jobs: Sequence["Job"]) -> int:
        from chunkup.cli.main import say_error
        from chunkup.cli.session import worst

        for job in jobs:
            try:
                await self._one(job)
            except ChunkupError as error:
                if not self._single and error.exit_code == Refused.exit_code:
                    error.exit_code = Failed.exit_code  # it is no refusal of all that was asked
                self._errors.append(error)
                say_error(error, about=None if self._single else job.given)
                self._told.failed(job.given or job.path, error)
            finally:
                self._line.clear()
            if self._told.deaf:
                return 1
        verdict = self._verdict(len(jobs))
        if verdict is not None:
            say_error(verdict)
        return worst([*self._errors, *([verdict] if verdict else [])])

    async def _one(self, job: "Job") -> None:
        from chunkup.intake import pieces_of

        report: Report | None = None
        if self._asked.fix:
            job, report = await self._mended(job)
        if report is None:
            report = await self._surveyed(job, aloud=True)
        path = job.given or job.path
        pieces = pieces_of(job, report.pieces) if report.pieces and not report.errors else None
        self._told.file(path, report, pieces)
        if report.errors:
            self._bad.append((path, errors_text(report), _codes(report)))
        else:
            self._told.fit(path)

    async def _surveyed(self, job: "Job", *, aloud: bool) -> "Report":
        from chunkup.preflight import survey

        path = job.given or job.path
        try:
            return await survey(
                job.path,
                job.fingerprint,
                self._wish(job),
                tell=(lambda found: self._told.finding(path, found)) if aloud else None,
                progress=lambda at: self._line(job, at),
            )
        finally:
            self._line(job, None)

    def _wish(self, job: "Job") -> "Wish":
        from chunkup.preflight import Wish

        return Wish(
            purpose=job.purpose,
            filename=job.filename,
            mime_type=job.mime_type,
            limits=self._limits,
            provider=self._provider,
            split=job.split,
        )

    def _verdict(self, files: int) -> BadContent | None:
        """What is wrong with the files, and the command that helps first; None if nothing is."""
        if not self._bad:
            return None
        cures = {cure(codes) for _, _, codes in self._bad}
        hint = self._remedy([path for path, _, _ in self._bad], *cures) if len(cures) == 1 else None
        if self._single:
            ((path, said, _),) = self._bad
            return BadContent(f"{path} would be refused: {said}", hint=hint)
        error = BadContent(f"{len(self._bad)} of {files} files would be refused", hint=hint)
        error.exit_code = Failed.exit_code
        return error

    def _remedy(self, paths: list[str], remedy: str | None) -> str | None:
        if remedy is None or len(paths) > _MOST_NAMED or (remedy == "fix" and self._asked.fix):
            return None
        asked = self._asked
        words = [*paths, "--purpose", asked.purpose]
        if asked.mime_type is not None:
            words += ["--mime-type", asked.mime_type]
        command = ["check", *words, "--fix"] if remedy == "fix" else ["upload", *words, "--split"]
        return self._where.command(*command)

    # --- mending --------------------------------------------------------------------------

    def _places(self, path: str) -> tuple[Path, Path]:
        """Where the mended file goes, and beside it what became of the ids."""
        name = Path(path)
        target = Path(self._asked.output or name.with_name(f"{name.stem}.fixed{name.suffix}"))
        return target, target.with_name(f"{target.stem}.ids.jsonl")

    async def _mended(self, job: "Job") -> "tuple[Job, Report | None]":
        """The file to upload instead, if anything in this one can be mended.

        With what was found in it, unless that is to be told otherwise.
        """
        from chunkup.preflight.mending import mend

        path = job.given or job.path
        target, mapping = self._places(path)
        reading = partial(self._line, job)
        try:
            done = await mend(
                job.path, job.fingerprint, self._wish(job), target, mapping, progress=reading
            )
        finally:
            self._line.clear()
        if done.after is not None:
            self._told.mended(path, str(target), str(mapping) if done.ids else None, done.ids)
            job = self._described(str(target))
        told = not self._asked.as_json and self._split is None
        return job, (done.after or done.before) if told else None


def _see_free(target: Path, mapping: Path) -> None:
    """See that a new file and what belongs to it can have these paths.

    Raises:
        BadOption: It cannot.
    """
    from chunkup.preflight.fresh import free

    try:
        free(target, mapping)
    except BadOption as error:
        error.hint = "move it away, or name another file with --output FILE"
        raise


def _codes(report: "Report") -> list[str]:
    return [code for code, error in report.counts if error]
