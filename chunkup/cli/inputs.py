"""What a command is given: paths, folders, a list of paths, standard input."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from chunkup.cli.options import setting
from chunkup.text import size_text

if TYPE_CHECKING:
    from chunkup.cli.talk import Talk
    from chunkup.gather import Gathered
    from chunkup.journal import Journal
    from chunkup.spool import Spool

_Function = TypeVar("_Function", bound=Callable[..., Any])

STANDARD_INPUT: Final = "-"
_ERASE: Final = "\r\x1b[K"


class _LineByLine(click.Option):
    """A repeatable option whose variable has one value a line: click would cut it at blanks."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's lines."""
        said = self.resolve_envvar_value(ctx)
        return None if said is None else tuple(filter(None, said.splitlines()))


def input_options(function: _Function) -> _Function:
    """Which files."""
    options = (
        setting(
            "--recursive",
            "-r",
            is_flag=True,
            help="Of a FILE that is a folder, take the files in and below it. Hidden ones, empty "
            "ones and linked folders are left out, and counted; a link to a file is followed.",
        ),
        setting(
            "--include",
            cls=_LineByLine,
            multiple=True,
            metavar="PATTERN",
            help="Of folders, take only files that this matches; may be repeated, in the variable "
            "by lines. Without a / it is for the name, with one for the path below the FILE that "
            "is a folder. * and ? stop at a /, **/ is any number of folders, and a / at the end "
            "all that is below.",
        ),
        setting(
            "--exclude",
            cls=_LineByLine,
            multiple=True,
            metavar="PATTERN",
            help="Of folders, take nothing that this matches, and enter no folder that it "
            "matches; goes before --include.",
        ),
        click.option(
            "--from-file",
            metavar="LIST",
            type=click.Path(),
            help="Take the files that LIST names too: one a line, or divided by NUL as "
            "`find -print0` does. - is standard input.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def gathered(paths: tuple[str, ...], values: dict[str, Any]) -> "Gathered":
    """The files that a command line means; takes the values of :func:`input_options` out.

    ``-`` remains what it is, at most once: whoever uploads it lets :func:`spooled` write it
    first.

    Raises:
        Refused: One of them cannot be uploaded, or there is none.
    """
    from chunkup.errors import NoSuchFile, Refused
    from chunkup.gather import IN_IT, Gathered, gather, listed
    from chunkup.source import inspect

    recursive: bool = values.pop("recursive")
    patterns: dict[str, tuple[str, ...]] = {
        name: values.pop(name) for name in ("include", "exclude")
    }
    source: str | None = values.pop("from_file")
    _check_usage(paths, source, patterns, recursive=recursive)
    try:
        named = () if source is None else listed(*_read_list(source), recursive=recursive)
        if not paths and not named:
            raise NoSuchFile(
                f"{_called(source)} names no files", hint="write one path on each line of it"
            )
        own = _own() if recursive else ()
        found = gather([*paths, *named], recursive=recursive, own=own, **patterns)
        if STANDARD_INPUT in found.paths:
            # Before hours of it are read, and cannot be read again.
            for path in found.paths:
                if path != STANDARD_INPUT:
                    inspect(path)
    except Refused as error:
        if error.hint == IN_IT:
            error.hint = _again_recursively() or IN_IT
        raise
    return Gathered(found.paths, found.notes, single=found.single and not named)


def _check_usage(
    paths: Sequence[str],
    source: str | None,
    patterns: dict[str, tuple[str, ...]],
    *,
    recursive: bool,
) -> None:
    if not paths and source is None:
        raise click.UsageError("name at least one FILE, or a list of them with --from-file")
    if paths.count(STANDARD_INPUT) + (source == STANDARD_INPUT) > 1:
        raise click.UsageError("standard input can be read only once: give - once")
    context = click.get_current_context()
    for name in patterns:
        # A variable may stand there for other commands.
        if not recursive and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} chooses among the files of folders: add --recursive")


def _own() -> list[str]:
    """Where this command itself reads and writes."""
    from chunkup.journal import default_path

    said = click.get_current_context().params
    journal = os.fspath(said.get("journal") or default_path())
    manifest = said.get("manifest")
    return [journal, f"{journal}-spool", *([os.fspath(manifest)] if manifest else [])]


def _called(source: str | None) -> str:
    return "standard input" if source == STANDARD_INPUT else f"{source}"


def _read_list(source: str) -> tuple[bytes, str]:
    """A list's content, as far as it may go, and what it is called."""
    from chunkup.errors import NoSuchFile, NotAFile, Unreadable
    from chunkup.gather import LONGEST_LIST

    name = _called(source)
    standard = source == STANDARD_INPUT
    if standard and os.isatty(0):
        raise NotAFile(
            "standard input is a terminal, and a list of paths is to be read from it",
            hint="find FOLDER -type f -print0 | chunkup upload --from-file - --purpose user_data",
        )
    try:
        with open(0 if standard else source, "rb", closefd=not standard) as stream:
            return stream.read(LONGEST_LIST + 1), name
    except FileNotFoundError as error:
        raise NoSuchFile(f"there is no list {name}", hint="check the path") from error
    except IsADirectoryError as error:
        raise NotAFile(
            f"{name} is a directory, and no list of paths",
            hint=f"chunkup upload --recursive {shlex.quote(name)} --purpose user_data",
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unreadable(f"the list {name} cannot be read: {why}") from error


def _again_recursively() -> str | None:
    """This very command with ``--recursive``, to be pasted; None where that cannot be told."""
    from chunkup.cli.destination import noted

    context = click.get_current_context()
    words, name = sys.argv[1:], context.info_name
    if name not in words:
        return None
    place = words.index(name) + 1
    command = ["chunkup", *words[:place], "--recursive", *words[place:]]
    said = noted(command, context.params.get("headers") or ())
    return said if said.isprintable() else None


async def still_needed(journal: "Journal") -> set[str]:
    """Paths of files that jobs are not through with."""
    from chunkup.machine import OPEN

    return {line.job.path for line in await journal.lines() if line.phase in OPEN}


async def spooled(spool: "Spool", talk: "Talk") -> str:
    """The path of a file with all of standard input; says on a terminal how much came so far.

    Raises:
        ChunkupError: See :meth:`chunkup.spool.Spool.take`.
    """
    shown = sys.stderr.isatty() and not talk.quiet and talk.progress in {"auto", "bar"}

    def tell(size: int) -> None:
        click.echo(f"{_ERASE}reading standard input: {size_text(size)}", nl=False, err=True)

    try:
        return await spool.take(0, tell=tell if shown else None)
    finally:
        if shown:
            click.echo(_ERASE, nl=False, err=True)
