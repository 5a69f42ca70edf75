"""``chunkup serve``."""

import asyncio
import os
import secrets
import sqlite3
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkup.cli.options import Duration, setting
from chunkup.cli.session import run
from chunkup.errors import BadOption, Interrupted

if TYPE_CHECKING:
    from chunkup.server.aim import Faults
    from chunkup.server.rows import Orphans

_A_FAULT = 'a fault is a line such as {"call": "part", "nth": 3, "drop_answer": true}'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """What is served, and to whom."""

    directory: Path
    host: str
    port: int
    key: str | None
    ttl: float
    faults: "Faults | None"
    orphans: "Orphans"
    with_uploads: bool


@click.command(short_help="Run the embedded OpenAI-compatible server.")
@setting(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where it keeps what it gets.  [default: a folder that is deleted at the end]",
)
@setting(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@setting(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--key",
    envvar="OPENAI_API_KEY",
    metavar="KEY",
    help="The key it accepts; others may read a command line, so prefer "
    "OPENAI_API_KEY.  [default: any]",
)
@click.option("--no-key", is_flag=True, help="Accept any key, and none.")
@setting(
    "--ttl",
    type=Duration(),
    default="3600s",
    show_default=True,
    help="How long an Upload lives.",
)
@setting(
    "--faults",
    "plan",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Let requests fail as this plan says, one JSON object a line. Each strike is told on "
    "stderr, as the line that makes it happen again.",
)
@setting(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let faults that go by chance strike the same requests again.  [default: a new one, "
    "told on stderr]",
)
@setting(
    "--orphans",
    type=click.Choice(["ignore", "count", "refuse"]),
    default="ignore",
    show_default=True,
    help="What becomes of parts that nobody lists: count refuses parts beyond the declared bytes, "
    "refuse makes no File while there are any.",
)
@setting(
    "--no-uploads",
    is_flag=True,
    help="Have only the Files API.",
)
def serve(  # noqa: PLR0913  (one for each option)
    *,
    directory: Path | None,
    host: str,
    port: int,
    key: str | None,
    no_key: bool,
    ttl: float,
    plan: Path | None,
    seed: int | None,
    orphans: "Orphans",
    no_uploads: bool,
) -> int:
    """Run a server that speaks the Uploads and Files APIs, strictly, for tests and trials.

    It prints its base URL on stdout once it accepts requests, and runs until it is stopped.
    """
    if ttl <= 0:
        raise click.BadParameter("an Upload must live longer than that", param_hint="--ttl")
    faults = None if plan is None else _faults(plan, seed)
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chunkup-")))
        service = _Service(
            directory=directory,
            host=host,
            port=port,
            key=None if no_key else key or None,
            ttl=ttl,
            faults=faults,
            orphans=orphans,
            with_uploads=not no_uploads,
        )
        try:
            run(_serve(service))
        except Interrupted as error:
            return error.exit_code  # how a server is meant to end: nothing to complain about
    return 0


def _faults(path: Path, seed: int | None) -> "Faults":
    """The faults of a plan, each of whose strikes is told.

    Raises:
        BadOption: It cannot be read, or is no plan.
    """
    from chunkup.server.aim import Faults
    from chunkup.server.plans import PlanError, read_plan

    try:
        plan = read_plan(path.read_text("utf-8-sig"))
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadOption(f"{path} is no plan: it is not UTF-8", hint=_A_FAULT) from error
    except PlanError as error:
        raise BadOption(f"{path}, line {error.line}: {error.problem}", hint=_A_FAULT) from error
    if seed is None:
        seed = secrets.randbelow(1 << 32)
        if any(fault.probability is not None for fault in plan):
            click.echo(f"faults go by chance: --seed {seed} strikes the same requests", err=True)
    faults = Faults(seed, lambda strike: click.echo(f"struck: {strike.line}", err=True))
    for fault in plan:
        faults.set(fault)
    return faults


async def _serve(service: _Service) -> None:
    from chunkup.server.app import create_app, start
    from chunkup.server.store import ForeignFolderError, Store, StoreInUseError
    from chunkup.server.strikes import striking

    try:
        store = Store(service.directory, ttl=service.ttl, orphans=service.orphans)
    except (OSError, sqlite3.Error, StoreInUseError, ForeignFolderError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise BadOption(
            f"{service.directory} cannot be used: {why}",
            hint="leave --dir away for a folder of its own",
        ) from error
    app = create_app(
        store,
        key=service.key,
        middlewares=[] if service.faults is None else [striking(service.faults)],
        with_uploads=service.with_uploads,
    )
    try:
        try:
            runner, url = await start(app, service.host, service.port)
        except OSError as error:
            raise BadOption(
                f"cannot listen on {service.host} port {service.port}: "
                f"{os.strerror(error.errno or 0)}",
                hint="leave --port away for a free one",
            ) from error
        try:
            click.echo(url)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
    finally:
        store.close()
