"""Profiles in the user's ``config.toml``: places to send to, each with a name.

    [profiles.gateway]
    base_url = "https://gateway.example/v1"
    api_key = "env:GATEWAY_KEY"
    headers = { X-Tenant = "blue", X-Token = "env:GATEWAY_TOKEN" }
    workers = 4
    limits = { upload = "2GB" }

``preset = "mistral"`` takes a known provider's address, key and ways. Nothing selects a profile
but ``--profile`` and ``CHUNKUP_PROFILE``.

Built in are those presets that have an address and whose own documents name a variable for the
key, and ``azure``, which is where Azure's variables say.
"""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import platformdirs

from chunkup.errors import BadOption
from chunkup.profile import Profile
from chunkup.profile.azure import azure
from chunkup.profile.written import completed, read_profile
from chunkup.providers import PRESETS
from chunkup.providers.presets import AZURE, OPENAI
from chunkup.text import printable

_LONGEST: Final = 1 << 20
# Chosen by name, OpenAI gets the key that is called after it, whatever OPENAI_BASE_URL says.
_BUILT_IN: Final = {
    name: completed(Profile(name, preset=name))
    for name, preset in PRESETS.items()
    if preset.base_url is not None and preset.key is not None
}
BUILT_IN: Final = frozenset({*_BUILT_IN, AZURE.name})


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are: ``CHUNKUP_CONFIG``, or in the user's configuration folder."""
    said = environ.get("CHUNKUP_CONFIG")
    return Path(said) if said else Path(platformdirs.user_config_dir("chunkup")) / "config.toml"


def load(name: str, environ: Mapping[str, str] = os.environ) -> Profile:
    """The profile of this name; one in the file goes before a built-in one.

    Raises:
        BadOption: There is none, or the file or the profile cannot be understood.
    """
    written = _read(environ)
    if name in written:
        return read_profile(name, written[name], str(config_path(environ)))
    if name == AZURE.name:
        return azure(environ)
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    # His own first: whoever mistypes a name mostly means one of those.
    others = [*sorted(written), *sorted(BUILT_IN.difference(written))]
    known = ", ".join(printable(other, 80) for other in others)
    raise BadOption(
        f"there is no profile {printable(name, 80)!r}; known are {known}",
        hint=f"write [profiles.NAME] in {config_path(environ)}, or choose another with --profile",
    )


def written_profiles(environ: Mapping[str, str] = os.environ) -> Iterator[Profile]:
    """The file's profiles, in its order; one that cannot be understood is left out.

    Raises:
        BadOption: The file cannot be understood.
    """
    for name, table in _read(environ).items():
        with suppress(BadOption):
            yield read_profile(name, table, str(config_path(environ)))


def written_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of the file's profiles, in its order.

    Raises:
        BadOption: The file cannot be understood.
    """
    return list(_read(environ))


def built_in_profiles(environ: Mapping[str, str] = os.environ) -> Iterator[Profile]:
    """The built-in profiles that lead anywhere, but for OpenAI's: it needs no name to be chosen."""
    with suppress(BadOption):
        yield azure(environ)
    yield from (profile for name, profile in _BUILT_IN.items() if name != OPENAI.name)


def names(environ: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Every profile that there is, with its address if it has one.

    Raises:
        BadOption: The file cannot be understood.
    """
    found = {name: profile.base_url for name, profile in _BUILT_IN.items()} | {AZURE.name: None}
    with suppress(BadOption):
        found[AZURE.name] = azure(environ).base_url
    for name, table in _read(environ).items():
        found[name] = None
        with suppress(BadOption):
            found[name] = read_profile(name, table, "").base_url
    return found


# --- the file -------------------------------------------------------------------------------


def _read(environ: Mapping[str, str]) -> dict[str, Any]:
    """The tables under ``profiles``, as they are written."""
    path = config_path(environ)
    raw = _bytes(path, needed=bool(environ.get("CHUNKUP_CONFIG")))
    try:
        found = tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadOption(f"{path} is not UTF-8 text (at line {line})", hint="repair it") from None
    except tomllib.TOMLDecodeError as error:
        # Its own words name a place and at most a key, never a value.
        raise BadOption(f"{path} is not TOML: {error}", hint="repair it there") from None
    except RecursionError:
        raise BadOption(f"{path} is nested too deeply", hint="write [profiles.NAME]") from None
    profiles = found.pop("profiles", {})
    if found or not isinstance(profiles, dict):
        wrong = next(iter(found), "profiles")
        raise BadOption(
            f"{path} says {printable(wrong, 80)!r}, which means nothing there",
            hint="it holds tables [profiles.NAME] and nothing else",
        )
    return profiles


def _bytes(path: Path, *, needed: bool) -> bytes:
    another = "name another file in CHUNKUP_CONFIG"
    try:
        # Without waiting for whoever might write into a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise BadOption(f"{path} is not a regular file", hint=another)
            with open(handle, "rb", closefd=False) as file:
                raw = file.read(_LONGEST + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        if not needed:
            return b""
        raise BadOption(
            f"CHUNKUP_CONFIG names {path}, which does not exist", hint="unset CHUNKUP_CONFIG"
        ) from None
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror}", hint=another) from None
    if len(raw) > _LONGEST:
        raise BadOption(f"{path} is longer than a megabyte", hint=another)
    return raw
