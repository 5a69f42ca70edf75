"""The command line as a whole: its commands, its errors, its exit codes."""

import os
import sys
from importlib import import_module
from signal import SIGINT, Signals
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup import __version__
from chunkup.cli import signals
from chunkup.cli.streams import given_up, secure
from chunkup.errors import ChunkupError, Interrupted, Refused
from chunkup.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMMANDS: Final = {
    "upload": ("chunkup.cli.upload", "Upload files; the same command again continues."),
    "resume": ("chunkup.cli.resume", "Continue uploads that stopped."),
    "check": ("chunkup.cli.check", "Check files before anything is sent."),
    "jobs": ("chunkup.cli.jobs", "List what the journal holds."),
    "show": ("chunkup.cli.jobs", "Show one job: how far it is, and why it stopped."),
    "stop": ("chunkup.cli.stop", "Ask the process that runs a job to stop it."),
    "cancel": ("chunkup.cli.stop", "End a job, here and on the server."),
    "prune": ("chunkup.cli.jobs", "Forget jobs that are over and old."),
    "files": ("chunkup.cli.files", "List, show, download, delete and create Files."),
    "verify": ("chunkup.cli.verify", "Ask the server about every File of a manifest."),
    "probe": ("chunkup.cli.probe", "Find out what this provider really does, with tiny Files."),
    "serve": ("chunkup.cli.serve", "Run the embedded OpenAI-compatible server."),
    "demo": ("chunkup.cli.demo", "Watch an upload be killed and resumed, without a key."),
    "doctor": ("chunkup.cli.doctor", "Find out what is wrong here, without changing anything."),
    "profiles": ("chunkup.cli.profiles", "List the places that --profile can name."),
    "completion": ("chunkup.cli.completion", "Let a shell complete commands, jobs and profiles."),
}
# What click takes for yes in a variable.
_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})

# For fingers that know them from elsewhere: they work, and no help lists them.
_ALIASES: Final = {"ls": "jobs", "status": "show"}

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


class Usage(Refused):
    """The command line itself makes no sense."""

    code = "usage"


class NoSuchCommand(click.UsageError):
    """A command that does not exist; ``near`` is the one that may have been meant."""

    def __init__(self, name: str, near: str | None, ctx: click.Context) -> None:
        super().__init__(
            f"there is no command {name!r}" + (f"; did you mean {near}?" if near else ""), ctx
        )
        self.near = near


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, rest = args[0], args[1:]
        if name == "status" and not ctx.resilient_parsing and not _names_a_job(ctx, rest):
            name = "jobs"
        name = _ALIASES.get(name, name)
        if name not in _COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, _COMMANDS, n=1, cutoff=0.5)
            near = near or [known for known in _COMMANDS if name and known.startswith(name)]
            raise NoSuchCommand(name, near[0] if near else None, ctx)
        return super().resolve_command(ctx, [name, *rest])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        # From the table: loading every command for a word of help would be felt.
        return [
            CompletionItem(name, help=said)
            for name, (_, said) in _COMMANDS.items()
            if name.startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in _COMMANDS.items()])


def _names_a_job(ctx: click.Context, arguments: list[str]) -> bool:
    """Whether ``show`` would find its argument among these words."""
    show = cli.get_command(ctx, "show")
    assert show is not None  # noqa: S101  (the table above is ours)
    with show.make_context("show", list(arguments), parent=ctx, resilient_parsing=True) as found:
        return bool(found.params.get("job"))


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
    signals.heed()
    secure()
    code = run(arguments)
    # What still printed when a signal came was left as well.
    sys.exit(128 + signals.came[0] if given_up and signals.came else code)


def run(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        # A command that waits before it has a loop, for a list or an answer, is simply left.
        with signals.meeting(signals.interrupt):
            result: Any = cli.main(args=arguments, prog_name="chunkup", standalone_mode=False)
    except ChunkupError as error:
        return _ended(arguments, error)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "chunkup"
        if isinstance(error, NoSuchCommand) and error.near:
            where += f" {error.near}"
        return _ended(arguments, Usage(error.format_message(), hint=f"{where} --help"))
    except click.ClickException as error:
        return _ended(arguments, Usage(error.format_message()))
    except (signals.Signalled, click.Abort, KeyboardInterrupt):
        return _interrupted(arguments)
    except Exception as error:
        from chunkup.shortage import shortage

        if lack := shortage(error):
            return _ended(arguments, lack)
        if isinstance(error, OSError):  # of click itself, when it writes a help or the version
            return _ended(arguments, ChunkupError(f"standard output failed: {error.strerror}"))
        raise
    return result if isinstance(result, int) else 0


def _interrupted(arguments: list[str] | None) -> int:
    """Say that a signal, or a person who was asked, ended it before it began; its exit code."""
    number = signals.came[0] if signals.came else SIGINT
    if sys.stderr.isatty():
        click.echo(err=True)  # the terminal has put ^C where this would begin
    said = f"stopped by {Signals(number).name} before anything was sent"
    return _ended(arguments, Interrupted(said, signal=number))


def _ended(arguments: list[str] | None, error: ChunkupError) -> int:
    """Say an error that came before there was anything to do; its exit code."""
    say_error(error)
    words = sys.argv[1:] if arguments is None else arguments
    wanted = "--json" in words or os.environ.get("CHUNKUP_JSON", "").lower() in _YES
    command = next((word for word in words if word in _COMMANDS), None)
    if wanted and command in {"upload", "resume"}:
        from chunkup.cli.output import Output, nothing_done

        Output(as_json=True).summary(nothing_done(error.exit_code, error))
    elif wanted and command == "check":
        from chunkup.cli.checked import Checked

        Checked(as_json=True, mending=False).summary(error.exit_code, error)
    return error.exit_code


def say_error(error: ChunkupError, about: str | None = None) -> None:
    """An error as people read it: code and sentence, a blank line, the hint.

    ``about`` is the file of several that it is about, named if the sentence does not.
    """
    named = about is None or about in error.message
    message = error.message if named else f"{about}: {error.message}"
    say(error.code, message, error.hint)


def say(code: str, message: str, hint: str | None = None) -> None:
    """A sentence with its code, as errors are said."""
    text = f"error[{code}]: {printable(message, 2000)}"
    if hint:
        text += f"\n\nhint: {printable(hint, 20_000)}"
    click.echo(text, err=True)


def _log_to_stderr(verbose: int) -> None:
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("chunkup").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
