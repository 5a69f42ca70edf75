"""Which proxy a request goes through, as the environment says it; what cannot be is refused.

``https_proxy`` is for ``https://`` addresses, ``http_proxy`` for ``http://`` ones, in lower case
first, as curl has it; an empty one is none. Under ``REQUEST_METHOD``, which says that a web server
started this process, ``HTTP_PROXY`` may be a header of somebody's request, and is not read.
``ALL_PROXY``, and proxies that are spoken to in socks or in TLS, are refused by name: to go past
them would be to go where somebody did not want it.

``NO_PROXY`` is a list with commas: ``host`` (and all below it), ``.suffix`` or ``*.suffix`` (only
what is below), ``*``, an IP address or a network such as ``10.0.0.0/8``; each with ``:port`` if it
is for that port alone. What cannot be understood in it exempts nobody.

This very machine (``localhost``, ``127.0.0.0/8``, ``::1``) is never reached through a proxy, as in
Go, in which the official command line is written: to a proxy these names mean the proxy itself,
and what is meant to stay here, a key over plain http among it, would leave.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote

from yarl import URL

from chunkup.errors import BadOption

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
# What has no scheme in front may be a password, and is not shown.
_OTHER_KINDS: Final = frozenset({"https", "socks", "socks4", "socks4a", "socks5", "socks5h"})
_PORT: Final = re.compile(r"(.+):([0-9]+)")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, the variable that names it, and what lets us through it, which never shows."""

    url: str
    variable: str
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.url.removeprefix('http://')} ({self.variable})"

    @property
    def place(self) -> tuple[str | None, int | None]:
        """Its host and port."""
        url = URL(self.url)
        return url.host, url.port

    @property
    def headers(self) -> dict[str, str]:
        """For the proxy, and for nobody behind it."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


@dataclass(frozen=True, slots=True)
class Proxies:
    """What the environment says about proxies. No value shows in a ``repr``: it may be secret."""

    said: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    exempt: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Proxies":
        """What these variables say; nothing is judged before it is needed."""
        said = []
        for kind in ("http", "https", "all"):
            for variable in (f"{kind}_proxy", f"{kind}_proxy".upper()):
                value = environ.get(variable, "").strip()
                if value and not (variable == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
                    said.append((kind, variable, value))
                    break
        listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        exempt = tuple(listed.lower().replace(",", " ").split())
        return cls(tuple(said), exempt)

    def for_url(self, url: URL) -> Proxy | None:
        """The proxy on the way to an address, or None if the way is direct.

        Raises:
            BadOption: One was meant that cannot be used.
        """
        if here(url.host or "") or any(_covers(entry, url) for entry in self.exempt):
            return None
        for kind, variable, value in self.said:
            if kind == url.scheme:
                return _proxy(variable, value, url)
            if kind == "all":
                raise BadOption(
                    f"{variable} names a proxy for everything, which is not supported",
                    hint=f"unset {variable}, and name an http:// proxy in {url.scheme}_proxy",
                )
        return None


def here(host: str) -> bool:
    """Whether a host is this very machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy(variable: str, value: str, url: URL) -> Proxy:
    direct = f"or NO_PROXY={url.host} for the way without"
    scheme = _SCHEME.match(value)
    kind = scheme[0].lower() if scheme else "http"
    if kind in _OTHER_KINDS:
        raise BadOption(
            f"{variable} names a proxy of the kind {kind}, which is not supported",
            hint=f"set {variable} to an http:// proxy, {direct}",
        )
    plain, authorization = None, None
    try:
        found = URL(value if scheme else f"http://{value}")
        if kind == "http" and found.raw_host and found.port:
            plain = URL.build(scheme="http", host=found.raw_host, port=found.port)
            authorization = _authorization(found)
    except ValueError:
        plain = None
    if plain is None:
        raise BadOption(
            f"{variable} is not the address of a proxy",
            hint=f"set {variable} to one such as http://proxy.example:3128, {direct}",
        )
    return Proxy(str(plain).rstrip("/"), variable, authorization)


def _authorization(proxy: URL) -> str | None:
    if proxy.raw_user is None and proxy.raw_password is None:
        return None
    pair = f"{unquote(proxy.raw_user or '')}:{unquote(proxy.raw_password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _covers(entry: str, url: URL) -> bool:
    """Whether an entry of the list, in lower case, is about an address."""
    if entry == "*":
        return True
    return any(
        (port is None or port == url.port) and _same(name, host)
        for name, port in _readings(entry)
        for host in {url.host or "", url.raw_host or ""}
    )


def _readings(entry: str) -> Iterator[tuple[str, int | None]]:
    """The names and ports that an entry may mean; an IPv6 address needs brackets for a port."""
    yield entry.removeprefix("[").removesuffix("]"), None
    found = _PORT.fullmatch(entry)
    if found and (":" not in found[1] or found[1].startswith("[")):
        yield found[1].removeprefix("[").removesuffix("]"), int(found[2])


def _same(name: str, host: str) -> bool:
    name, host = name.rstrip("."), host.lower().rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        try:
            return address in ip_network(name, strict=False)
        except ValueError:
            return False
    if name.startswith(("*.", ".")):
        return host.endswith(name.removeprefix("*"))
    return bool(name) and (host == name or host.endswith(f".{name}"))
