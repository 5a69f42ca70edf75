"""``chunkup profiles``: the places that can be chosen by name, and where their keys come from."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from chunkup.cli.options import setting
from chunkup.cli.table import columns, show

if TYPE_CHECKING:
    from chunkup.profile import Profile

_COLUMNS: Final = ("PROFILE", "ADDRESS", "KEY", "PRESET", "FROM")


@dataclass(frozen=True, slots=True)
class _Place:
    """One profile as it is shown.

    ``api_key`` is the name of the variable that holds the key, and ``set`` whether it does; its
    value is nobody's business. ``problem`` is why the profile cannot be used, or None.
    """

    name: str
    base_url: str | None
    api_key: str | None
    set: bool
    preset: str | None
    source: str
    problem: str | None


@click.command(short_help="List the places that --profile can name.")
@setting("--json", "as_json", is_flag=True, help="Print one object a line as JSON.")
def profiles(*, as_json: bool) -> int:
    """List every profile: its address, the variable that its key comes from, its preset.

    Profiles are written in config.toml, in your configuration folder or where CHUNKUP_CONFIG
    says. The others are built in: known providers whose own documents name a variable for the
    key. One in the file goes before a built-in one of its name.
    """
    from chunkup.text import printable

    found = _places(os.environ)
    if as_json:
        return show(json.dumps(asdict(place)) for place in found)
    code = show(columns([_COLUMNS, *map(_row, found)]))
    for place in found:
        if place.problem:
            click.echo(f"{printable(place.name, 40)}: {place.problem}", err=True)
    return code


def _places(environ: Mapping[str, str]) -> list[_Place]:
    from chunkup.config import config_path, load, names, written_names
    from chunkup.errors import BadOption

    here, written = str(config_path(environ)), written_names(environ)
    found = []
    # The user's own first, in his order.
    for name in dict.fromkeys([*written, *names(environ)]):
        source = here if name in written else "built-in"
        try:
            found.append(_place(name, load(name, environ), source, environ))
        except BadOption as error:
            found.append(_Place(name, None, None, False, None, source, error.message))  # noqa: FBT003  (a row)
    return found


def _place(name: str, profile: "Profile", source: str, environ: Mapping[str, str]) -> _Place:
    variable = profile.api_key
    return _Place(
        name=name,
        base_url=profile.base_url,
        api_key=variable,
        set=variable is not None and bool(environ.get(variable, "").strip()),
        preset=profile.preset,
        source=source,
        problem=None,
    )


def _row(place: _Place) -> tuple[str, ...]:
    from chunkup.text import printable

    key = "none named"
    if place.problem:
        key = "-"
    elif place.api_key:
        key = place.api_key + ("" if place.set else " (not set)")
    return (
        printable(place.name, 40),
        printable(place.base_url or "-", 300),
        key,
        place.preset or "-",
        printable(place.source, 4096),
    )
