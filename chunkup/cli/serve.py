"""``chunkup serve``."""

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from chunkup.cli.options import Duration, setting
from chunkup.cli.session import run
from chunkup.errors import BadOption, Interrupted


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
def serve(  # noqa: PLR0913  (one for each option)
    directory: Path | None, host: str, port: int, key: str | None, *, no_key: bool, ttl: float
) -> int:
    """Run a server that speaks the Uploads and Files APIs, strictly, for tests and trials.

    It prints its base URL on stdout once it accepts requests, and runs until it is stopped.
    """
    if ttl <= 0:
        raise click.BadParameter("an Upload must live longer than that", param_hint="--ttl")
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chunkup-")))
        try:
            run(_serve(directory, host, port, None if no_key else key or None, ttl))
        except Interrupted as error:
            return error.exit_code  # how a server is meant to end: nothing to complain about
    return 0


async def _serve(directory: Path, host: str, port: int, key: str | None, ttl: float) -> None:
    from chunkup.server.app import create_app, start
    from chunkup.server.store import Store

    try:
        store = Store(directory, ttl=ttl)
    except OSError as error:
        raise BadOption(f"{directory} cannot be used: {error.strerror}") from error
    try:
        try:
            runner, url = await start(create_app(store, key=key), host, port)
        except OSError as error:
            raise BadOption(
                f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}",
                hint="leave --port away for a free one",
            ) from error
        try:
            click.echo(url)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
    finally:
        store.close()
