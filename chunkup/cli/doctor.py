"""``chunkup doctor``: is it me?"""

import json
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli.destination import choose
from chunkup.cli.options import Duration, Where, setting, take, where_options
from chunkup.cli.origins import CHOSEN, Origins, again, origins
from chunkup.cli.session import run
from chunkup.cli.streams import put
from chunkup.errors import BadOption, ChunkupError
from chunkup.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chunkup.doctor import Finding, Subject

_BROKEN: Final = "chunkup.doctor.profile"
_WIDTH: Final = len("connection")


def _chosen(ctx: click.Context, param: click.Parameter, name: str | None) -> Any:
    """As for every command, but a profile that is broken is a finding and no end."""
    try:
        return choose(ctx, param, name)
    except BadOption as error:
        ctx.meta.update({_BROKEN: error, CHOSEN: name})
        return None


@click.command(short_help="Find out what is wrong here, without changing anything.")
@setting(
    "--timeout",
    type=Duration(),
    default="15s",
    show_default=True,
    help="Take no longer than that for all of it.",
)
@setting("--json", "as_json", is_flag=True, help="Print each check as JSON, and a summary.")
@where_options
@click.pass_context
def doctor(ctx: click.Context, /, timeout: float, *, as_json: bool, **values: Any) -> int:
    """Find out why uploads will not go: settings, journal, network, server, one line each.

    Nothing is changed, here or there: the journal is neither made nor locked, and the server is
    asked to list a File. What is printed can be shown to anybody: no key, no header's value, no
    password; your own folder is ~.
    """
    where: Where = take(Where, values)
    if timeout <= 0:
        raise click.BadParameter("nothing can be found out in no time", param_hint="--timeout")
    subject = _subject(ctx, where, timeout)
    return run(_examined(subject, as_json=as_json))


next(param for param in doctor.params if param.name == "profile").callback = _chosen


def _subject(ctx: click.Context, where: Where, timeout: float) -> "Subject":
    from chunkup.doctor import Subject, Veil
    from chunkup.journal import default_path
    from chunkup.proxies import Proxies

    found = origins(where, ctx, ctx.meta.get(_BROKEN), os.environ)
    journal = where.journal or default_path()
    home = os.path.expanduser("~")  # noqa: PTH111  (Path raises where there is none)
    source = ctx.get_parameter_source("journal")
    named = source.name.lower() if source else ""
    said = {"commandline": "--journal", "environment": "CHUNKUP_JOURNAL"}
    return Subject(
        findings=found.findings,
        endpoint=found.endpoint,
        named=found.named,
        variable=found.variable,
        trust=found.trust,
        proxies=Proxies.of(os.environ),
        journal=(journal, said.get(named, "the default")),
        timeout=timeout,
        again=_again(where, found),
        veil=Veil(_secrets(where, found.variable, os.environ), home),
    )


def _secrets(where: Where, variable: str, environ: "Mapping[str, str]") -> "Iterator[str]":
    """Every value that is there to be sent, and what is written in its place."""
    for name in ("OPENAI_API_KEY", variable, "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        yield environ.get(name, "")
    yield from (where.organization or "", where.project or "")
    written = [header.written for header in where.profile.headers] if where.profile else []
    said = [environ.get(name, "") for name in ("OPENAI_CUSTOM_HEADERS", "CHUNKUP_HEADERS")]
    for lines in (*said, *where.headers):
        written += [line.partition(":")[2].strip() for line in lines.splitlines()]
    for value in written:
        yield environ.get(value[4:], "") if value.startswith("env:") else value
    for name, value in environ.items():
        if name.lower().endswith("_proxy") or name.endswith("_BASE_URL"):
            user, at, _ = value.rpartition("//")[2].rpartition("@")
            yield from (user, *user.split(":")) if at else ()


def _again(where: Where, found: Origins) -> "Callable[[str | None], str]":
    def command(base_url: str | None) -> str:
        if found.endpoint is None:
            return "chunkup doctor"
        return again(where, base_url or found.endpoint.base_url)

    return command


async def _examined(subject: "Subject", *, as_json: bool) -> int:
    from contextlib import aclosing

    from chunkup.doctor import State, examine

    counts = dict.fromkeys(State, 0)
    failed: list[str] = []
    async with aclosing(examine(subject)) as findings:
        async for finding in findings:
            counts[finding.state] += 1
            failed += [finding.check] if finding.state is State.FAIL else []
            for line in [_json(finding)] if as_json else _lines(finding):
                _print(line)
    code = 1 if failed else 0
    if as_json:
        summary = {str(state): count for state, count in counts.items()}
        _print(json.dumps(_stamped("summary") | {"exit_code": code} | summary))
    elif failed:
        click.echo(f"to be repaired: {', '.join(failed)}", err=True)
    else:
        click.echo("nothing is wrong that would keep an upload from going", err=True)
    return code


def _print(line: str) -> None:
    error = put(line)
    if error is not None and not isinstance(error, BrokenPipeError):
        raise ChunkupError(f"standard output takes nothing: {error.strerror}")


def _lines(finding: "Finding") -> list[str]:
    head = f"{finding.state:<5} {finding.check:<{_WIDTH}} {printable(finding.says, 2000)}"
    return [head, f"      hint: {printable(finding.hint, 4000)}"] if finding.hint else [head]


def _json(finding: "Finding") -> str:
    return json.dumps(_stamped("check") | asdict(finding))


def _stamped(event: str) -> dict[str, Any]:
    return {"v": 1, "time": time.time(), "event": event}
