"""Where to send and as whom, resolved from arguments and the environment.

The variables are those of the official SDKs and mean the same. A key is held only here, is
never part of a ``repr``, and leaves in one header of one kind of request: to ``base_url``.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from yarl import URL

from chunkup.errors import BadOption, NoKey, PlainHttp
from chunkup.key import Key, KeySource, key_of, sendable
from chunkup.models import Account, Limits
from chunkup.profile import HEADER_NAME
from chunkup.provider import OFFICIAL, Provider, provider_at

# What the client itself says of a request; a second opinion would break it.
_FORBIDDEN: Final = frozenset(
    {
        *("authorization", "connection", "content-encoding", "content-length", "content-type"),
        *("expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
# Letters, digits, hyphens, as the name system has them; underscores, as containers do.
_HOST: Final = re.compile(
    r"(?!.{254})(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\.?", re.ASCII
)
_AUTHORITY: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One destination: URL, identity and provider. Headers and key never show in a ``repr``."""

    base_url: str
    provider: Provider
    organization: str | None = None
    project: str | None = None
    key: Key | None = field(default=None, repr=False)
    extra: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    async def headers(self) -> dict[str, str]:
        """Headers of one request, with the key as it is now.

        Raises:
            Unreachable: The key could not be had.
            BadOption: What was had cannot be a key.
        """
        ours: dict[str, str] = {}
        if self.key is not None:
            ours["Authorization"] = f"Bearer {await self.key.now()}"
        if self.organization:
            ours["OpenAI-Organization"] = self.organization
        if self.project:
            ours["OpenAI-Project"] = self.project
        return merged(dict(self.extra), ours)

    async def account(self, salt: bytes) -> Account:
        """Whose jobs these are, with nothing in it that opens a door.

        Raises:
            Unreachable, BadOption: As :meth:`headers`.
        """
        digest = None
        if self.key is not None:
            secret = (await self.key.first()).encode()
            digest = hashlib.blake2b(secret, key=salt, digest_size=6).hexdigest()
        return Account(
            base_url=self.base_url,
            organization=self.organization,
            project=self.project,
            headers=tuple(sorted(name.lower() for name, _ in self.extra)),
            key_hash=digest,
        )


def resolve(  # noqa: PLR0913  (each is one thing that a user may set)
    *,
    base_url: str | None = None,
    api_key: str | KeySource | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    allow_http: bool = False,
    no_key: bool = False,
    limits: Limits | None = None,
    environ: Mapping[str, str] | None = None,
) -> Endpoint:
    """Arguments first, then ``OPENAI_*`` variables, then the provider's own address.

    Args:
        base_url: ``https://host/v1``; no user name, query or fragment.
        api_key: The key, or a callable that gives it anew for each request. It is called on
            the event loop, so one that has to wait is async.
        organization: As the API's ``OpenAI-Organization`` header.
        project: As the API's ``OpenAI-Project`` header.
        headers: More headers for every request; they go before those of the same names in
            ``OPENAI_CUSTOM_HEADERS``.
        allow_http: Let a key cross a network unencrypted.
        no_key: Send none at all, even if the environment has one.
        limits: What this provider takes; default what OpenAI does.
        environ: Where variables are looked up; default this process's environment.

    Raises:
        NoKey: There is none, and ``no_key`` was not said.
        PlainHttp: The key would leave this machine over plain http.
        BadOption: A URL, key or header that cannot be.
    """
    if environ is None:
        environ = os.environ
    url = _clean_url(base_url or environ.get("OPENAI_BASE_URL") or OFFICIAL)
    extra = merged(_custom_headers(environ.get("OPENAI_CUSTOM_HEADERS", "")), headers or {})
    for name, value in extra.items():
        if name.lower() == "authorization":
            raise BadOption(
                "the header Authorization carries the key, and nothing else",
                hint="export OPENAI_API_KEY=..., or use a header of another name and --no-key",
            )
        if (
            name.lower() in _FORBIDDEN
            or not HEADER_NAME.fullmatch(name)
            or not sendable(value, " \t")
        ):
            raise BadOption(f"the header {name!r} cannot be set", hint="leave that header away")
    organization = organization or environ.get("OPENAI_ORG_ID") or None
    project = project or environ.get("OPENAI_PROJECT_ID") or None
    for what, who in (("organization", organization), ("project", project)):
        if who is not None and not sendable(who):
            raise BadOption(f"the {what} has characters that no header can carry")
    key = None if no_key else key_of(api_key, environ)
    if key is None and not no_key:
        raise NoKey(
            "there is no API key: OPENAI_API_KEY is not set (--no-key sends none)",
            hint="export OPENAI_API_KEY=...",
        )
    secret = key is not None or bool(extra)
    if secret and url.scheme == "http" and not _is_here(url) and not allow_http:
        raise PlainHttp(
            f"the key would go to {url.host} over plain http, readable on the way",
            hint="use an https:// base URL, or --allow-http if that network is yours",
        )
    provider = provider_at(url.host or "")
    return Endpoint(
        base_url=str(url),
        provider=provider if limits is None else replace(provider, limits=limits),
        organization=organization,
        project=project,
        key=key,
        extra=tuple(extra.items()),
    )


def merged(*mappings: Mapping[str, str]) -> dict[str, str]:
    """Headers, of which a later one replaces an earlier one however either is capitalised."""
    found: dict[str, tuple[str, str]] = {}
    for mapping in mappings:
        found.update({name.lower(): (name, value) for name, value in mapping.items()})
    return dict(found.values())


def address(base_url: str) -> str:
    """A base URL in the one way in which accounts write it.

    Raises:
        BadOption: It is none.
    """
    return str(_clean_url(base_url))


def surroundings(base_url: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that a profile with this address may use.

    What the ``OPENAI_`` variables hold belongs to one place: ``OPENAI_BASE_URL``, or OpenAI
    without it. A profile that goes to another origin (scheme, host, port) gets none of them,
    or its host would be sent the key and the headers of somebody else's.

    Raises:
        BadOption: The address is none.
    """
    origin = _origin(_clean_url(base_url))
    try:
        theirs = _origin(_clean_url(environ.get("OPENAI_BASE_URL") or OFFICIAL))
    except BadOption:
        return {}
    return environ if origin == theirs else {}


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port


def _clean_url(text: str) -> URL:
    text = text.strip()
    authority, _, _ = text.partition("://")[2].partition("/")
    if "@" in authority or "?" in text or "#" in text:
        raise BadOption(
            "a base URL cannot carry a user name, a password, a query or a fragment",
            hint="give the address alone, and what identifies you in headers",
        )
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    # URL drops line ends, reads digits of any script, and takes nearly anything for a host.
    plain = text.isprintable() and " " not in text and _AUTHORITY.fullmatch(authority)
    named = _is_host(url.raw_host or "", bracketed=authority.startswith("["))
    if not plain or not named or url.scheme not in {"http", "https"} or url.port == 0:
        raise BadOption(
            "the base URL is not an http(s) address",
            hint="give one such as https://api.openai.com/v1",
        )
    return url.with_path(url.raw_path.rstrip("/"), encoded=True)


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST.fullmatch(host) is not None
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def _is_here(url: URL) -> bool:
    host = url.host or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _custom_headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found
