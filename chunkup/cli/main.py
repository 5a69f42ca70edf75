"""The command line as a whole: its commands, its errors, its exit codes."""

import sys
from importlib import import_module
from typing import Any, Final

import click

from chunkup import __version__
from chunkup.errors import ChunkupError, Interrupted
from chunkup.text import printable

_COMMANDS: Final = {
    "upload": ("chunkup.cli.upload", "Upload files; the same command again continues."),
    "resume": ("chunkup.cli.resume", "Continue uploads that stopped."),
    "jobs": ("chunkup.cli.jobs", "List what the journal holds."),
    "show": ("chunkup.cli.jobs", "Show one job: how far it is, and why it stopped."),
    "cancel": ("chunkup.cli.jobs", "End a job, here and on the server."),
    "serve": ("chunkup.cli.serve", "Run the embedded OpenAI-compatible server."),
    "demo": ("chunkup.cli.demo", "Watch an upload be killed and resumed, without a key."),
}

EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    failed, and waiting won't help
  2    usage, a file that can't be uploaded, no key: nothing was sent
  3    another process holds the job
  4    outcome unknown: look with `chunkup show`
  75   stopped for now: run the same command again
  129, 130, 143
       hang-up, Ctrl-C, SIGTERM: what was accepted is kept
"""


class _Lazy(click.Group):
    """Loads a command's module only when that command is run or asked for its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  (the table above is ours)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in _COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Upload files of any size to OpenAI-compatible APIs, and never start over.",
    epilog=EXIT_CODES,
)
@click.version_option(__version__, "-V", "--version", message="chunkup %(version)s")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: every request.")
def cli(verbose: int) -> None:
    """The root of all commands."""
    if verbose:
        _log_to_stderr(verbose)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; never a traceback for what a user can cause."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        result: Any = cli.main(args=arguments, prog_name="chunkup", standalone_mode=False)
    except ChunkupError as error:
        say_error(error)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "chunkup"
        _say("usage", error.format_message(), f"{where} --help")
        return 2
    except click.ClickException as error:
        _say("usage", error.format_message(), None)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say_error(Interrupted("interrupted before anything was sent"))
        return 130
    return result if isinstance(result, int) else 0


def say_error(error: ChunkupError) -> None:
    """An error as people read it: code and sentence, a blank line, the hint."""
    _say(error.code, error.message, error.hint)


def _say(code: str, message: str, hint: str | None) -> None:
    text = f"error[{code}]: {printable(message, 2000)}"
    if hint:
        text += f"\n\nhint: {printable(hint, 2000)}"
    click.echo(text, err=True)


def _log_to_stderr(verbose: int) -> None:
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("chunkup").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
