"""The way to the server, one step after the other: name, connection, TLS.

The connections are of its own and nothing is sent over them, so that each step can be told from
the next. The request itself goes the way of all others, see :mod:`chunkup.doctor.asking`.
"""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from yarl import URL

from chunkup import names
from chunkup.doctor.certificate import Certificate, noting, presented
from chunkup.doctor.finding import Fact, Finding, State, Veil
from chunkup.proxies import Proxy, here
from chunkup.text import duration_text, printable

_DAY: Final = 86400.0
_SOON: Final = 7 * _DAY
# Of a proxy's answer to CONNECT.
_HEAD: Final = 1 << 14
# X.509's reasons, as OpenSSL numbers them.
_EXPIRED: Final = 10
_EARLY: Final = 9
_OTHER_NAME: Final = frozenset({62, 64})


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where it leads and by what. ``patience`` bounds each step, in seconds.

    ``again`` is the command that looks once more, there or at another base URL.
    """

    url: URL
    proxy: Proxy | None
    trust: ssl.SSLContext | None
    patience: float
    again: Callable[[str | None], str]
    veil: Veil

    @property
    def first(self) -> URL:
        """Who is connected to: the proxy, if there is one."""
        return URL(self.proxy.url) if self.proxy else self.url

    @property
    def host(self) -> str:
        """As :attr:`first`."""
        return self.first.raw_host or ""

    @property
    def port(self) -> int:
        """As :attr:`first`."""
        return self.first.port or 0

    @property
    def who(self) -> str:
        """:attr:`first`, as a sentence names it."""
        return str(self.proxy) if self.proxy else f"{self.host} port {self.port}"

    @property
    def elsewhere(self) -> str:
        """The same host, at a port that is still to be said."""
        shown = f"[{self.url.host}]" if ":" in (self.url.host or "") else self.url.host
        return f"{self.url.scheme}://{shown}:PORT{self.url.raw_path}"

    def repair(self, direct: str) -> str:
        """What helps where nobody is met at :attr:`first`; ``direct`` without a proxy."""
        return f"unset {self.proxy.variable}" if self.proxy else direct


async def walk(way: Way) -> AsyncIterator[Finding]:
    """Go the way; what is behind a step that failed is skipped."""
    found, addresses = await _named(way)
    yield found
    if not addresses:
        yield Finding("connection", State.SKIP, "not tried: there is no address to connect to")
        yield Finding("tls", State.SKIP, "not tried: there is no connection")
        return
    found, address = await _connected(way, addresses)
    yield found
    if way.url.scheme == "http":
        yield _plain(way)
    elif address is None:
        yield Finding("tls", State.SKIP, "not tried: there is no connection")
    else:
        yield await _secured(way, address)


# --- steps ----------------------------------------------------------------------------------


async def _named(way: Way) -> tuple[Finding, list[str]]:
    """The addresses of a name."""
    with suppress(ValueError):
        ip_address(way.host)
        return Finding("name", State.OK, f"{way.host} is an address itself"), [way.host]
    began = time.monotonic()
    try:
        async with asyncio.timeout(way.patience):
            found = await names.resolver().resolve(way.host, way.port, socket.AF_UNSPEC)
    except TimeoutError:
        says = f"no name service answered for {way.who} in {duration_text(way.patience)}"
        return Finding("name", State.FAIL, says, hint=way.repair(f"nslookup {way.host}")), []
    except OSError as error:
        says = f"there is no address for {way.who}: {error.strerror or 'it is not known'}"
        return Finding("name", State.FAIL, says, hint=way.repair(f"nslookup {way.host}")), []
    took = time.monotonic() - began
    addresses = list(dict.fromkeys(str(one["host"]) for one in found))
    count = "1 address" if len(addresses) == 1 else f"{len(addresses)} addresses"
    says = f"{way.host} has {count}, known after {_time(took)}"
    facts = {"seconds": round(took, 3), "addresses": len(addresses)}
    return Finding("name", State.OK, says, facts=facts), addresses


async def _connected(way: Way, addresses: list[str]) -> tuple[Finding, str | None]:
    """The first address that takes a connection."""
    why, hint = "", way.again(None)
    end = time.monotonic() + way.patience
    for deaf, address in enumerate(addresses):
        left = len(addresses) - deaf
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.1, (end - began) / left)):
                async with _open(address, way.port):
                    took = time.monotonic() - began
        except TimeoutError:
            # What keeps silent is mostly a firewall, which leaves a proxy as the only way.
            why, hint = "nothing answers there", f"export {way.url.scheme}_proxy=http://HOST:PORT"
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else "it failed"
            if error.errno == errno.ECONNREFUSED:
                why = "nothing listens there (connection refused)"
                hint = way.again(way.elsewhere)
        else:
            says = f"{way.who} took a connection after {_time(took)}"
            facts = {"seconds": round(took, 3), "deaf": deaf}
            # A server on this machine seldom listens at both of its addresses.
            if not deaf or here(way.first.host or ""):
                return Finding("connection", State.OK, says, facts=facts), address
            says += f"; {deaf} of its {len(addresses)} addresses before that took none"
            finding = Finding("connection", State.WARN, says, hint=way.again(None), facts=facts)
            return finding, address
    says = f"cannot connect to {way.who}: {why}"
    return Finding("connection", State.FAIL, says, hint=way.repair(hint)), None


async def _secured(way: Way, address: str) -> Finding:
    """Whether the server proves who it is, and who vouches for it."""
    if way.trust is None:
        return Finding("tls", State.SKIP, "not tried: whom to trust is not known")
    noted = noting(way.trust)
    began = time.monotonic()
    try:
        async with asyncio.timeout(way.patience):
            async with _open(address, way.port) as (reader, writer):
                refused = await _through(way, reader, writer)
                if refused is not None:
                    return refused
                await writer.start_tls(way.trust, server_hostname=way.url.raw_host)
                took = time.monotonic() - began
                secured = writer.get_extra_info("ssl_object")
                shown = presented(secured)
    except TimeoutError:
        says = f"no TLS was agreed on in {duration_text(way.patience)}"
        return Finding("tls", State.FAIL, says, hint=way.again(None))
    except ssl.SSLCertVerificationError as error:
        return _mistrusted(way, error, noted[-1] if noted else None)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return Finding("tls", State.FAIL, _no_tls(error), hint=way.again(None))
    version = str(secured.version())
    facts: dict[str, Fact] = {
        "version": version,
        "seconds": round(took, 3),
    }
    if shown is None:
        return Finding("tls", State.OK, f"{version}, trusted, after {_time(took)}", facts=facts)
    left = shown.ends - time.time()
    says = (
        f"{version} after {_time(took)}; the certificate is signed by {_signers(way, shown)} "
        f"and ends in {duration_text(left)}"
    )
    facts |= {"issuer": way.veil.words(shown.issuer), "ends": shown.ends}
    return Finding(
        "tls",
        State.OK if left > _SOON else State.WARN,
        says,
        hint=None if left > _SOON else way.again(None),
        facts=facts,
    )


def _plain(way: Way) -> Finding:
    if here(way.url.host or ""):
        return Finding("tls", State.OK, "none is needed: plain http, to this machine")
    says = "plain http: who is on the way can read all of it, the key included"
    return Finding(
        "tls", State.WARN, says, hint=way.again(f"https://{str(way.url).partition('://')[2]}")
    )


# --- TLS ------------------------------------------------------------------------------------


async def _through(
    way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Finding | None:
    """Have the proxy lead on; what it said if it would not."""
    if way.proxy is None:
        return None
    host = way.url.raw_host or ""
    target = f"[{host}]:{way.url.port}" if ":" in host else f"{host}:{way.url.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if way.proxy.authorization:
        lines.append(f"Proxy-Authorization: {way.proxy.authorization}")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = await reader.readuntil(b"\r\n\r\n")
    first, _, _ = head.partition(b"\r\n")
    _, _, rest = first.decode("latin-1").partition(" ")
    status = rest[:3]
    if status.startswith("2"):
        return None
    says = f"{way.who} would not lead to {target}: {way.veil.words(rest, 100)}"
    if status == "407":
        url = f"http://USER:PASSWORD@{way.host}:{way.port}"
        return Finding("tls", State.FAIL, says, hint=f"export {way.proxy.variable}={url}")
    return Finding("tls", State.FAIL, says, hint=way.repair(way.again(None)))


def _mistrusted(
    way: Way, error: ssl.SSLCertVerificationError, shown: Certificate | None
) -> Finding:
    code = error.verify_code
    facts: dict[str, Fact] = {"code": code}
    about = f"the certificate of {way.url.raw_host}"
    if shown is not None:
        about += f" (signed by {_signers(way, shown)})"
        facts |= {"issuer": way.veil.words(shown.issuer), "ends": shown.ends}
    hint = "export SSL_CERT_FILE=CERTIFICATES.pem"
    if code in {_EXPIRED, _EARLY}:
        says, hint = f"{about} is not valid yet by this machine's clock", "date"
        if code == _EXPIRED:
            ago = f" {duration_text(time.time() - shown.ends)} ago" if shown else ""
            says = f"{about} expired{ago} by this machine's clock"
    elif code in _OTHER_NAME:
        names_it = way.veil.words(shown.names, 200) if shown else "another name"
        says, hint = f"{about} is made out to {names_it}", way.again(None)
    else:
        says = f"{about} is not trusted here: {printable(error.verify_message, 200)}"
    return Finding("tls", State.FAIL, says, hint=hint, facts=facts)


def _signers(way: Way, shown: Certificate) -> str:
    by = way.veil.words(shown.issuer, 150) or "nobody who is named"
    if shown.own:
        return f"itself ({by})"
    root = way.veil.words(shown.root, 150)
    return f"{by} (below {root})" if root and root != by else by


def _no_tls(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "unknown reason").replace("_", " ").lower()
        return f"no TLS could be agreed on: {printable(reason, 100)}"
    return "the connection broke before TLS was agreed on; is this an https port?"


# --- connections ----------------------------------------------------------------------------


@asynccontextmanager
async def _open(
    address: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is dropped in the end. An address needs no name service."""
    reader, writer = await asyncio.open_connection(address, port, limit=_HEAD)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 9.95 else duration_text(seconds)
