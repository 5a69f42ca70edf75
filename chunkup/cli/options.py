"""Options that several commands share, and what they make."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chunkup.cli import complete
from chunkup.cli.destination import HeaderOption, choose, noted, profile_of, resolved
from chunkup.text import parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    from chunkup.engine import Engine
    from chunkup.models import Account
    from chunkup.profile import Profile

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Size(click.ParamType[int]):
    """``64MiB`` or ``200MB``, in bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[float]):
    """``90s`` or ``2h``, in seconds; with ``some``, more than none."""

    name = "DURATION"

    def __init__(self, *, some: bool = False) -> None:
        self._some = some

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        try:
            seconds = value if isinstance(value, int | float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self._some and seconds <= 0:
            self.fail("in no time at all nothing can be done", param, ctx)
        return seconds


class Rate(click.ParamType[float]):
    """``5MB/s`` or ``40Mbit/s``, in bytes a second, of which there is a least."""

    name = "RATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Bytes a second."""
        from chunkup.models import LEAST_RATE

        try:
            rate = value if isinstance(value, int | float) else parse_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not rate >= LEAST_RATE:
            least = f"{LEAST_RATE >> 10}KiB/s"
            self.fail(f"below {least} connections look dead to servers", param, ctx)
        return float(rate)


def setting(flag: str, *more: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """An option that can be set by a variable too: ``CHUNKUP_`` and the flag, in capitals.

    Acts that are meant for one time only are plain ``click.option``s.
    """
    variable = "CHUNKUP_" + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(flag, *more, envvar=variable, show_envvar=True, **attributes)


def journal_option(function: _Function) -> _Function:
    """``--journal``, for every command that reads or writes it."""
    return setting(
        "--journal",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The journal's file.  [default: in your state folder]",
    )(function)


def where_options(function: _Function) -> _Function:
    """Where to send and as whom."""
    options = (
        setting(
            "--base-url",
            metavar="URL",
            help="The API, such as https://host/v1.  [default: OPENAI_BASE_URL, then OpenAI]",
        ),
        setting(
            "--profile",
            metavar="NAME",
            is_eager=True,
            callback=choose,
            shell_complete=complete.profiles,
            help="A place by its name in config.toml (or in the file that CHUNKUP_CONFIG names), "
            "or a known provider's, see `chunkup profiles`. Where its address is of another origin "
            "than OPENAI_BASE_URL, no OPENAI_ variable goes there: it names its own key.",
        ),
        click.option(
            "--header",
            "-H",
            "headers",
            cls=HeaderOption,
            multiple=True,
            metavar="'NAME: VALUE'",
            envvar="CHUNKUP_HEADERS",
            show_envvar=True,
            help="One more header for every request; as 'NAME: env:VARIABLE' its value stays out "
            "of sight. The variable holds one a line, and a header of the same name given here "
            "goes before it.",
        ),
        setting(
            "--organization",
            metavar="ID",
            help="Organization to send as.  [default: OPENAI_ORG_ID]",
        ),
        setting(
            "--project",
            metavar="ID",
            help="Project to send as.  [default: OPENAI_PROJECT_ID]",
        ),
        setting(
            "--allow-http",
            is_flag=True,
            help="Let the key cross a network over plain http.",
        ),
        setting(
            "--no-key",
            is_flag=True,
            help="Send no key.",
        ),
        setting(
            "--cacert",
            metavar="FILE",
            type=click.Path(),
            help="Trust these certificate authorities (PEM), and no others.  [default: "
            "SSL_CERT_FILE and SSL_CERT_DIR, then the operating system's]",
        ),
        setting(
            "--client-cert",
            metavar="FILE",
            type=click.Path(),
            help="Show this certificate (PEM) to a server that asks for one.  [default: "
            "OPENAI_MTLS_CLIENT_CERT_FILE]",
        ),
        setting(
            "--client-key",
            metavar="FILE",
            type=click.Path(),
            help="Its private key, if that is in another file.  [default: "
            "OPENAI_MTLS_CLIENT_KEY_FILE]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return journal_option(function)


def patience_options(function: _Function) -> _Function:
    """How long to try."""
    options = (
        setting(
            "--retries",
            type=click.IntRange(0, 100),
            default=8,
            show_default=True,
            help="Attempts after the first for one request.",
        ),
        setting(
            "--stall-timeout",
            type=Duration(),
            default="60s",
            show_default=True,
            help="Cut an attempt that makes no progress for so long.",
        ),
        setting(
            "--offline-wait",
            type=Duration(),
            default="15m",
            show_default=True,
            help="Wait so long for a network that is gone.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def transport_options(function: _Function) -> _Function:
    """How to send."""
    function = setting(
        "--fail-if-late",
        is_flag=True,
        help="Fail as soon as the Upload is seen to expire before its end.",
    )(function)
    options = (
        setting(
            "--workers",
            type=click.IntRange(1, 64),
            default=16,
            show_default=True,
            help="Most parts in flight at once.",
        ),
        setting(
            "--limit-rate",
            type=Rate(),
            help="Send no more content a second than this, all files together: 5MB/s, 40Mbit/s.",
        ),
        setting(
            "--max-time",
            type=Duration(some=True),
            help="Stop after so long as at a signal, and exit with 75; the same command goes on.",
        ),
    )
    function = patience_options(function)
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Where:
    """The values of :func:`where_options`."""

    base_url: str | None
    organization: str | None
    project: str | None
    allow_http: bool
    no_key: bool
    journal: Path | None
    profile: "Profile | None" = None
    headers: tuple[str, ...] = field(default=(), repr=False)
    cacert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    @classmethod
    def of(cls, account: "Account", journal: Path | None) -> "Where":
        """Where a job of this account goes on."""
        return cls(
            base_url=account.base_url,
            organization=account.organization,
            project=account.project,
            allow_http=False,
            no_key=account.key_hash is None,
            journal=journal,
            profile=profile_of(account),
        )

    def command(self, *words: str) -> str:
        """A command with the same destination and journal, that can be pasted.

        Headers stand in it only if they name a variable: their values are nobody's business.
        """
        from chunkup.profile import parse_header

        line = ["chunkup", *words]
        for flag, value in (
            ("--profile", self.profile.name if self.profile else None),
            ("--base-url", self.base_url or os.environ.get("OPENAI_BASE_URL")),
            ("--organization", self.organization),
            ("--project", self.project),
            ("--cacert", self.cacert),
            ("--client-cert", self.client_cert),
            ("--client-key", self.client_key),
            ("--journal", str(self.journal) if self.journal else None),
        ):
            if value:
                line += [flag, value]
        for header in map(parse_header, self.headers):
            if not header.literal:
                line += ["--header", f"{header.name}: {header.written}"]
        for flag, said in (("--allow-http", self.allow_http), ("--no-key", self.no_key)):
            if said:
                line.append(flag)
        return shlex.join(line)


@dataclass(frozen=True, slots=True)
class How:
    """The values of :func:`transport_options`."""

    workers: int
    retries: int
    stall_timeout: float
    offline_wait: float
    fail_if_late: bool = False
    limit_rate: float | None = None
    max_time: float | None = None


def take(kind: type[Any], values: dict[str, Any]) -> Any:
    """Take a group's values out of a command's keyword arguments."""
    return kind(**{name: values.pop(name) for name in kind.__dataclass_fields__})


def make_engine(where: Where, how: How | None = None, **more: Any) -> "Engine":
    """The engine that the options describe.

    Raises:
        Refused: No key, or an option that cannot be.
    """
    from chunkup.endpoint import resolve
    from chunkup.engine import Engine
    from chunkup.journal import default_path
    from chunkup.models import Options
    from chunkup.stops import Home
    from chunkup.trust import context

    options = Options()
    if how is not None:
        options = replace(
            options,
            workers=how.workers,
            retries=how.retries,
            stall_timeout=how.stall_timeout,
            offline_wait=how.offline_wait,
            fail_if_late=how.fail_if_late,
            limit_rate=how.limit_rate,
        )
    name = os.path.basename(sys.argv[0])  # noqa: PTH119  (a name, and no path yet)
    endpoint = resolve(**resolved(where))
    context(endpoint.trust)  # a file that cannot be used is refused before a job is written
    return Engine(
        endpoint,
        Home(where.journal or default_path()),
        options=options,
        command=noted([name, *sys.argv[1:]], where.headers),
        **more,
    )
