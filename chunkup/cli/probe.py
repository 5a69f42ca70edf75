"""``chunkup probe``: what this provider really does."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli import complete
from chunkup.cli.findings import differences, fields, summary, table
from chunkup.cli.options import Duration, Where, setting, take, where_options
from chunkup.cli.session import run
from chunkup.cli.streams import put
from chunkup.errors import ChunkupError, Failed, Stopped
from chunkup.text import duration_text, printable

if TYPE_CHECKING:
    from chunkup.endpoint import Endpoint
    from chunkup.probe import Answered, Bench, Course, Left

_CERTIFICATES: Final = ("cacert", "client_cert", "client_key")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the command's own options say."""

    purpose: str
    timeout: float
    large: bool
    expect: str | None
    write_profile: str | None
    as_json: bool


@click.command(short_help="Find out what this provider really does, with tiny Files.")
@setting(
    "--purpose",
    "-p",
    default="batch",
    show_default=True,
    metavar="PURPOSE",
    shell_complete=complete.purposes,
    help="What the Files are for. Those for batch can be read again, and vanish by themselves.",
)
@setting(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Take no longer than that, deleting included.",
)
@click.option("--large", is_flag=True, help="Send one part of 64 MiB as well.")
@setting(
    "--expect",
    type=click.Choice(["openai"]),
    help="Compare with what is documented or recorded of this one; exit 1 if it differs.",
)
@click.option(
    "--write-profile",
    metavar="NAME",
    help="Add what was found to config.toml as a profile. None is ever overwritten.",
)
@setting("--json", "as_json", is_flag=True, help="Print each fact as JSON, and a summary.")
@where_options
def probe(**values: Any) -> int:
    """Find out what this provider really does, instead of what its pages say.

    Some forty questions are asked with Files and Uploads of a few hundred bytes, whose names begin
    with chunkup-probe-. All of them are deleted again, also after an error or Ctrl-C; what could
    not be deleted is named. Nothing else of the account is read or changed, and no model is asked.
    """
    where: Where = take(Where, values)
    wish: _Wish = take(_Wish, values)
    if wish.timeout <= 0:
        raise click.BadParameter("nothing can be found out in no time", param_hint="--timeout")
    if not wish.purpose.strip() or not wish.purpose.isprintable():
        raise click.BadParameter("a purpose is a word", param_hint="--purpose")
    from chunkup.cli.destination import resolved
    from chunkup.endpoint import resolve
    from chunkup.probe import Bench
    from chunkup.probe.keeping import room
    from chunkup.transport import Transport

    if wish.write_profile is not None:
        room(wish.write_profile)
    endpoint = resolve(**resolved(where))
    bench = Bench(Transport(endpoint), purpose=wish.purpose)
    told = _Told(wish.as_json)
    return run(_probed(where, wish, endpoint, bench, told), restore=lambda: _name(bench.left))


@dataclass(slots=True)
class _Told:
    """What goes to standard output; if that breaks, deleting goes on all the same."""

    as_json: bool
    broken: OSError | None = None
    rows: list["Answered"] = field(default_factory=list)

    def line(self, text: str) -> None:
        if self.broken is None:
            self.broken = put(text)

    def answer(self, one: "Answered") -> None:
        self.rows.append(one)
        if self.as_json:
            self.record("finding", **fields(one))

    def record(self, event: str, **said: Any) -> None:
        self.line(json.dumps({"v": 1, "time": time.time(), "event": event, **said}))


async def _probed(
    where: Where, wish: _Wish, endpoint: "Endpoint", bench: "Bench", told: _Told
) -> int:
    from chunkup.probe import QUESTIONS, Course

    course = Course(
        bench, QUESTIONS, wish.timeout, told.answer, large=wish.large, stopping=_say_stopping
    )
    click.echo(_plan(wish, endpoint, bench, len(QUESTIONS)), err=True)
    bench.transport.open()
    error: ChunkupError | None = None
    try:
        await course.run()
        error = _verdict(where, wish, course)
    except ChunkupError as failure:
        error = failure
    finally:
        await bench.transport.close()
        _say_left(bench.left)
    if not wish.as_json and told.rows:
        for line in table(told.rows):
            told.line(line)
    if wish.write_profile is not None and told.rows and not course.late:
        try:
            _keep(wish.write_profile, where, endpoint, told.rows)
        except ChunkupError as failure:
            error = error or failure
    if wish.as_json:
        told.record("summary", **summary(course, wish.expect, error))
    if told.broken is not None and not isinstance(told.broken, BrokenPipeError):
        error = error or Failed(f"standard output takes nothing: {told.broken.strerror}")
    if error is not None:
        raise error
    return 0


# --- sentences --------------------------------------------------------------------------------


def _plan(wish: _Wish, endpoint: "Endpoint", bench: "Bench", count: int) -> str:
    large = ", and one part of 64 MiB" if wish.large else ""
    return (
        f"asking {printable(endpoint.base_url, 200)} {count} questions, with Files of a few "
        f"hundred bytes for {printable(wish.purpose, 80)}{large}; they are called "
        f"chunkup-probe-{bench.mark}... and deleted again; {duration_text(wish.timeout)} at most"
    )


def _say_stopping() -> None:
    click.echo("stopping: deleting what was made (a second signal leaves at once)", err=True)


def _say_left(left: "Left") -> None:
    if left.files or left.lost or left.strangers:
        _name(left)
        return
    if not (left.made_files or left.made_uploads or left.unheard):
        return
    said = f"{left.made_files} Files and {left.made_uploads} Uploads were made"
    open_ones = len(left.uploads) + left.unheard
    rest = f"no File is left, and {open_ones} Uploads that end by themselves" if open_ones else ""
    click.echo(f"{said}; {rest or 'nothing of them is left'}", err=True)
    _name(left)


def _name(left: "Left") -> None:
    """Say what is still there, one a line."""
    for file_id, name in left.files.items():
        click.echo(f"not deleted: {_shown(file_id)} {printable(name, 200)}", err=True)
    for upload_id in sorted(left.uploads):
        click.echo(f"not cancelled, and ends by itself: {_shown(upload_id)}", err=True)
    for file_id, name in left.strangers.items():
        click.echo(
            f"not touched, since its name is not ours: {_shown(file_id)} {printable(name, 200)}",
            err=True,
        )
    if left.lost:
        click.echo(f"without an answer, so that a File may be left: {left.lost} requests", err=True)


def _shown(identity: str) -> str:
    return printable(identity, 5000)


def _verdict(where: Where, wish: _Wish, course: "Course") -> ChunkupError | None:
    """Why the command does not end well, if it does not."""
    left = course.bench.left
    if left.files:
        hint = where.command("files", "delete", *left.files, "--yes")
        return Failed(f"{len(left.files)} Files could not be deleted", hint=hint)
    if left.lost:
        prefix = f"chunkup-probe-{course.bench.mark}"
        return Failed(
            f"{left.lost} requests had no answer, and the list does not tell whether Files came "
            f"of them; their names would begin with {prefix}",
            hint=where.command("files", "list", "--purpose", wish.purpose),
        )
    differing = [one.question.name for one in differences(course)]
    if wish.expect and differing:
        return Failed(f"this is not what {wish.expect} does: {', '.join(differing)}")
    if course.late:
        again = where.command("probe", "--timeout", f"{2 * wish.timeout:.0f}s")
        return Stopped(
            f"not all could be asked in {duration_text(wish.timeout)}; nothing is left", hint=again
        )
    return None


# --- the profile ------------------------------------------------------------------------------


def _keep(name: str, where: Where, endpoint: "Endpoint", rows: Sequence["Answered"]) -> None:
    from chunkup.probe import keeping

    said = {**_place(where, endpoint), **keeping.follows(rows)}
    text = keeping.table(name, said)
    try:
        path = keeping.add(name, text)
    except ChunkupError:
        click.echo(f"what was to be written:\n{text}", err=True)
        raise
    click.echo(f"wrote the profile {name} to {printable(str(path), 4096)}", err=True)


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None  # noqa: PTH100  (links are the user's)


def _place(where: Where, endpoint: "Endpoint") -> dict[str, Any]:
    """Where it is and as whom, without a secret in it."""
    from chunkup.profile import ENV, parse_header, parse_headers

    profile = where.profile
    headers = list(profile.headers) if profile else []
    headers += parse_headers(os.environ.get("CHUNKUP_HEADERS", ""))
    headers += map(parse_header, where.headers)
    last = {header.name.lower(): header for header in headers}
    for header in last.values():
        if header.literal:
            click.echo(f"left out of the profile: the value of {header.name}", err=True)
    variable = (profile.api_key if profile else None) or "OPENAI_API_KEY"
    return {
        "base_url": endpoint.base_url,
        "preset": profile.preset if profile else None,
        "api_key": None if where.no_key else f"{ENV}{variable}",
        "no_key": where.no_key or None,
        "auth": profile.auth if profile else None,
        "query": dict(profile.query) if profile else None,
        "organization": where.organization,
        "project": where.project,
        "allow_http": where.allow_http or None,
        **{name: _absolute(getattr(where, name)) for name in _CERTIFICATES},
        "headers": {one.name: one.written for one in last.values() if not one.literal},
    }
