"""Where a command sends to and as whom: its flags, the profile and the environment as one.

What goes first: a flag, its ``CHUNKUP_`` variable, the profile, the ``OPENAI_`` variables, the
built-in value. click knows that order for everything but headers, since a profile takes part
in it as the map of defaults; headers of all these places go together, name by name.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chunkup.cli.options import Where
    from chunkup.models import Account
    from chunkup.profile import Profile
    from chunkup.providers import Provider


class HeaderOption(click.Option):
    """An option whose variable is read elsewhere, line by line: click would cut it at blanks."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Nothing: see the class."""


def choose(ctx: click.Context, _: click.Parameter, name: str | None) -> "Profile | None":
    """The profile of this name, taking part in the defaults of all other options.

    Raises:
        BadOption: There is none, or it cannot be understood.
    """
    if not name:
        return None
    from chunkup.config import load
    from chunkup.endpoint import address
    from chunkup.errors import BadOption

    profile = load(name)
    try:
        address(profile.base_url or "https://unsaid")
    except BadOption as error:
        raise BadOption(f"profile {profile.label}: {error.message}", hint=error.hint) from None
    ctx.default_map = {**(ctx.default_map or {}), **profile.defaults()}
    return profile


def profile_of(account: "Account") -> "Profile | None":
    """A profile that goes where a job's account is, the user's own first, if there is one."""
    from chunkup.config import built_in_profiles, written_profiles
    from chunkup.errors import BadOption

    found: list[Profile] = []
    with suppress(BadOption):  # a file that nobody asked for must not spoil a hint
        found += written_profiles()
    return next((one for one in (*found, *built_in_profiles()) if _fits(one, account)), None)


def _fits(profile: "Profile", account: "Account") -> bool:
    from chunkup.endpoint import address
    from chunkup.errors import BadOption

    try:
        here = profile.base_url is not None and address(profile.base_url) == account.base_url
    except BadOption:
        return False
    said = (profile.organization, profile.project)
    sent = (account.organization, account.project)
    return here and all(mine in {None, theirs} for mine, theirs in zip(said, sent, strict=True))


def resolved(where: "Where", environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The destination as an uploader takes it; profile, headers and variables are settled here.

    Raises:
        Refused: A header that is none, a variable that is named and not set, or no key.
    """
    from chunkup.endpoint import surroundings
    from chunkup.errors import NoKey
    from chunkup.profile import parse_header, parse_headers

    profile = where.profile
    found: dict[str, Any] = {
        "base_url": where.base_url,
        "organization": where.organization,
        "project": where.project,
        "allow_http": where.allow_http,
        "no_key": where.no_key,
        "cacert": where.cacert,
        "client_cert": where.client_cert,
        "client_key": where.client_key,
    }
    written = (
        [(header, f" of profile {profile.label}") for header in profile.headers] if profile else []
    )
    written += [(header, "") for header in parse_headers(environ.get("CHUNKUP_HEADERS", ""))]
    written += [(parse_header(text), "") for text in where.headers]
    # By name first: what is replaced need not be there.
    last = {header.name.lower(): (header, whose) for header, whose in written}
    found["headers"] = {
        header.name: header.value(environ, whose) for header, whose in last.values()
    }
    if profile is None:
        return found
    if not where.no_key:
        found["api_key"] = profile.key(environ)
    theirs = environ if profile.base_url is None else surroundings(profile.base_url, environ)
    if theirs is not environ:
        if not where.no_key and profile.api_key is None:
            raise NoKey(
                f"profile {profile.label} goes to a place of its own and names no key for it",
                hint='write api_key = "env:VARIABLE" into that profile, or no_key = true',
            )
        found["environ"] = theirs
    found |= {"preset": profile.preset, "auth": profile.auth, "query": dict(profile.query)}
    if profile.has_limits:
        found["limits"] = profile.limits(ways(profile, where.base_url).limits)
    return found


def ways(profile: "Profile | None", base_url: str | None = None) -> "Provider":
    """Whose ways the server of a profile has, or that of an address; OpenAI's without either."""
    from yarl import URL

    from chunkup.providers import COMPATIBLE, OFFICIAL, PRESETS, provider_at

    if profile is not None and profile.preset is not None:
        return PRESETS[profile.preset]
    address = base_url or (profile and profile.base_url) or os.environ.get("OPENAI_BASE_URL")
    try:
        return provider_at(URL(address or OFFICIAL).host or "")
    except ValueError:
        return COMPATIBLE  # whoever goes there is told what is wrong with it


def noted(words: Sequence[str], headers: Sequence[str]) -> str:
    """A command as the journal may keep it: no header's value in it, however it was written.

    Args:
        words: The command's own words.
        headers: What click took for headers, which is how their places are known for sure.
    """
    from chunkup.profile import parse_header

    shown = list(words)
    for text in sorted(headers, key=len, reverse=True):
        header = parse_header(text)
        if header.literal:
            shown = [word.replace(text, f"{header.name}: ***") for word in shown]
    return shlex.join(shown)
