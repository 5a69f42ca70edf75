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
from typing import Final, Protocol
from urllib.parse import urlencode

from yarl import URL

from chunkup.errors import BadOption, NoKey, PlainHttp
from chunkup.key import Key, KeySource, key_of, sendable
from chunkup.models import Account, Limits
from chunkup.profile import HEADER_NAME
from chunkup.providers import OFFICIAL, PRESETS, Auth, Provider, provider_at
from chunkup.proxies import Proxies, here
from chunkup.text import printable
from chunkup.trust import Trust, trust_of
from chunkup.veil import Veiled, unseen

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


class Signer(Protocol):
    """Somebody else who builds the address and the headers of every request."""

    @property
    def base_url(self) -> str:
        """Where all requests go to; what none of them may leave."""
        ...

    async def sign(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        """The URL, query included, and the headers of one request to a path below the base URL.

        Raises:
            ChunkupError: They cannot be had.
        """
        ...

    async def secret(self) -> str | None:
        """What tells one account from another; only its hash is kept. None if nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One destination: URL, identity and provider. Headers and key never show in a ``repr``."""

    base_url: str
    provider: Provider
    organization: str | None = None
    project: str | None = None
    key: Key | None = field(default=None, repr=False)
    extra: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auth: Auth = Auth.BEARER
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    signer: Signer | None = field(default=None, repr=False)
    trust: Trust = field(default_factory=Trust)
    proxies: Proxies = field(default_factory=Proxies)

    async def target(self, method: str, path: str) -> tuple[str, Veiled]:
        """The URL and the headers of one request, with the key as it is now.

        Raises:
            Unreachable: The key could not be had.
            BadOption: What was had cannot be a key.
        """
        if self.signer is not None:
            url, signed = await self.signer.sign(method, path)
            return url, Veiled(merged(signed, dict(self.extra)))
        url = self.base_url + path
        if self.query:
            url += f"?{urlencode(self.query)}"
        ours = Veiled()
        if self.key is not None:
            key = await self.key.now()
            if self.auth is Auth.API_KEY:
                ours["api-key"] = key
            else:
                ours["Authorization"] = f"Bearer {key}"
        if self.organization:
            ours["OpenAI-Organization"] = self.organization
        if self.project:
            ours["OpenAI-Project"] = self.project
        return url, Veiled(merged(dict(self.extra), ours))

    async def account(self, salt: bytes) -> Account:
        """Whose jobs these are, with nothing in it that opens a door.

        Raises:
            Unreachable, BadOption: As :meth:`target`.
        """
        secret = None
        if self.signer is not None:
            secret = await self.signer.secret()
        elif self.key is not None:
            secret = await self.key.first()
        return Account(
            base_url=self.base_url,
            organization=self.organization,
            project=self.project,
            headers=tuple(sorted(name.lower() for name, _ in self.extra)),
            key_hash=secret
            and hashlib.blake2b(secret.encode(), key=salt, digest_size=6).hexdigest(),
        )


@unseen
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
    preset: str | Provider | None = None,
    auth: Auth | None = None,
    query: Mapping[str, str] | None = None,
    signer: Signer | None = None,
    cacert: str | os.PathLike[str] | None = None,
    client_cert: str | os.PathLike[str] | None = None,
    client_key: str | os.PathLike[str] | None = None,
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
        limits: What this provider takes; default what its preset says.
        preset: Whose ways the server has, by name or in full; default by the URL's host. One with
            an address of its own goes there, and the ``OPENAI_`` variables do not go with it.
        auth: How the key is sent; default as the preset says.
        query: Added to every URL, after what the preset says.
        signer: Who builds addresses and headers instead; then there is no key of ours.
        cacert: The file of authorities to believe instead of the operating system's; default
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``. It and the next two are read at the first use.
        client_cert: The file of a certificate to show to servers that ask for one; default
            ``OPENAI_MTLS_CLIENT_CERT_FILE``.
        client_key: The file of its private key, unless that is in the same; default
            ``OPENAI_MTLS_CLIENT_KEY_FILE``.
        environ: Where variables are looked up; default this process's environment.

    Raises:
        NoKey: There is none, and ``no_key`` was not said.
        PlainHttp: The key would leave this machine over plain http.
        BadOption: A URL, key or header that cannot be.
    """
    if environ is None:
        environ = os.environ
    chosen = _preset(preset)
    if signer is not None:
        base_url, no_key, environ = signer.base_url, True, _without_openai(environ)
    elif base_url is None and chosen is not None and chosen.base_url is not None:
        base_url, environ = chosen.base_url, surroundings(chosen.base_url, environ)
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
    secret = key is not None or signer is not None or bool(extra)
    if secret and url.scheme == "http" and not here(url.host or "") and not allow_http:
        raise PlainHttp(
            f"the key would go to {url.host} over plain http, readable on the way",
            hint="use an https:// base URL, or --allow-http if that network is yours",
        )
    proxies = Proxies.of(environ)
    proxies.for_url(url)  # what cannot be used is refused before anything is tried
    provider = chosen or provider_at(url.host or "")
    return Endpoint(
        base_url=str(url),
        provider=provider if limits is None else replace(provider, limits=limits),
        organization=organization,
        project=project,
        key=key,
        extra=tuple(extra.items()),
        auth=auth or provider.auth,
        query=tuple({**dict(provider.query), **(query or {})}.items()),
        signer=signer,
        trust=trust_of(cacert, client_cert, client_key, environ),
        proxies=proxies,
    )


def _preset(given: str | Provider | None) -> Provider | None:
    if not isinstance(given, str):
        return given
    if given not in PRESETS:
        raise BadOption(
            f"there is no preset {printable(given, 80)!r}",
            hint=f"known are {', '.join(sorted(PRESETS))}",
        )
    return PRESETS[given]


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
        return _without_openai(environ)
    return environ if origin == theirs else _without_openai(environ)


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


def _without_openai(environ: Mapping[str, str]) -> dict[str, str]:
    """What is said of this machine and its network, and nothing of whom it speaks to."""
    return {name: value for name, value in environ.items() if not name.startswith("OPENAI_")}


def _custom_headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found
