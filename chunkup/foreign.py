"""What aiohttp and the sockets bring, in our words and within bounds: here and nowhere else."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from chunkup.errors import (
    ChunkupError,
    ProxyRefused,
    ServerTrouble,
    Unreachable,
    Untrusted,
    WantsCertificate,
)
from chunkup.models import Answer
from chunkup.proxies import Proxy
from chunkup.shortage import shortage
from chunkup.text import printable
from chunkup.veil import blank

# Of an answer that is no success, which may be a portal's page: bytes, and seconds to wait.
_EXCUSE: Final = 64 << 10
_EXCUSE_TIME: Final = 10.0
_NO_NETWORK: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,  # not even an address of our own
    }
)
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")

# OpenSSL's own numbers (X509_V_ERR), which do not change; other reasons are told in its words.
_EXPIRED, _EARLY, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
_DOUBTS: Final = {
    _EARLY: "is not valid yet; check this machine's clock",
    _EXPIRED: "has expired; its operator has to renew it, unless this machine's clock is wrong",
    _OTHER_HOST: "is made out to another name; check the base URL",
    _OTHER_ADDRESS: "is made out to another address; check the base URL",
    **dict.fromkeys(
        (18, 19, 20, 21),
        "is of nobody in the trust store that is used; if it is meant to be trusted, --cacert "
        "takes a file with the certificate of who signed it",
    ),
}
# What a server says when it is the one who does not trust us. The last one may have another
# reason, and waiting helps with none.
_WANTS: Final = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
    }
)


@asynccontextmanager
async def mapped(what: str, proxy: Proxy | None = None) -> AsyncIterator[None]:
    """Turn what a request raises into our words.

    Args:
        what: What it asked for, as a sentence says it.
        proxy: What it goes through.

    What it raised keeps no frames: the headers lie open in those of aiohttp.
    """
    try:
        yield
    except aiohttp.ClientHttpProxyError as error:
        raise _of_proxy(error, proxy) from blank(_bare(error))
    except aiohttp.ClientConnectorCertificateError as error:
        raise Untrusted(_doubt(error)) from blank(error)
    except aiohttp.ClientConnectorError as error:
        if (wish := _wish(error)) is not None:
            raise wish from blank(error)
        if lack := shortage(error):
            raise lack from blank(error)
        if proxy is not None and (error.host, error.port) == proxy.place:
            raise Unreachable(
                f"cannot reach {proxy}: {_reason(error)}", sent=False, offline=_offline(error)
            ) from blank(error)
        raise Unreachable(
            f"cannot reach {error.host}: {_reason(error)}", sent=False, offline=_offline(error)
        ) from blank(error)
    except aiohttp.ConnectionTimeoutError as error:
        # Whom nothing reaches is in no trouble that asking again could make worse.
        raise Unreachable(
            f"no connection to {proxy or 'the server'} was made in time", sent=False, offline=True
        ) from blank(error)
    except TimeoutError as error:
        said = f"the server did not answer in time when asked to {what}"
        raise Unreachable(said) from blank(error)
    except (aiohttp.ClientError, OSError) as error:
        if (wish := _wish(error)) is not None:
            raise wish from blank(error)
        detail = printable(str(error))
        if isinstance(error, aiohttp.ClientResponseError):
            error, detail = _bare(error), "what came is no answer in HTTP/1"
        detail = detail or type(error).__name__
        raise Unreachable(f"the connection broke: {detail}") from blank(error)
    except RuntimeError as error:
        # What aiohttp says to who reads on of a connection that is gone.
        if str(error) != "Connection closed.":
            raise
        raise Unreachable("the connection broke in the middle of the answer") from blank(error)


def _numbers(error: aiohttp.ClientConnectorError) -> set[int]:
    """Why: each address of a name fails in its own way, and of several only a text is left."""
    several = {int(number) for number in _ERRNO.findall(str(error.strerror or error.os_error))}
    return {error.errno} if error.errno else several


def _reason(error: aiohttp.ClientConnectorError) -> str:
    known = [os.strerror(number) for number in sorted(_numbers(error)) if number > 0]
    if not known and isinstance(error.os_error, ConnectionResetError):
        # asyncio says no more of a handshake that the other side left.
        return "the TLS handshake broke off; a server that wants a client certificate may do that"
    return " or ".join(known) or printable(error.strerror or str(error.os_error), 300)


def _offline(error: aiohttp.ClientConnectorError) -> bool:
    found = _numbers(error)
    no_name = isinstance(error, aiohttp.ClientConnectorDNSError)
    return no_name or (bool(found) and found <= _NO_NETWORK)


def _doubt(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Why a certificate is not believed, in one sentence."""
    cause = error.certificate_error
    signer = next(iter(getattr(cause, "__notes__", ())), None)  # from trust.py
    code = getattr(cause, "verify_code", 0)
    why = _DOUBTS.get(code) or f"is refused: {printable(str(cause), 300)}"
    return (
        f"{error.host}:{error.port} is not trusted, so nothing was sent: its certificate"
        f"{f', signed by {signer},' if signer else ''} {why}"
    )


def _wish(error: BaseException) -> WantsCertificate | None:
    """The server's wish for a certificate of ours, wherever in an error it stands.

    In TLS 1.3 it comes when the handshake is long over for us, in answer to the first request.
    """
    seen: BaseException | None = error
    while seen is not None:
        reasons = {str(getattr(seen, "reason", "")), *map(str, seen.args)}
        for name in _WANTS:
            if any(name in reason for reason in reasons):
                return WantsCertificate(
                    "the server ended the TLS handshake, so nothing was done: it wants a client "
                    f"certificate, or another one ({name.lower().replace('_', ' ')})",
                    hint="name one with --client-cert and --client-key",
                )
        seen = seen.__cause__ or seen.__context__
    return None


def _bare(error: aiohttp.ClientResponseError) -> aiohttp.ClientResponseError:
    """The same without the headers that were sent: the key, or a proxy's password."""
    error.request_info = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict()))
    error.args = ()
    return error


def _of_proxy(error: aiohttp.ClientHttpProxyError, proxy: Proxy | None) -> ChunkupError:
    """What a proxy says instead of opening a tunnel."""
    who = proxy or "the proxy"
    said = f"{error.status} {printable(error.message, 200)}".rstrip()
    # Its status and words are not the server's, and say nothing of an Upload.
    answer = Answer(407, "")
    if error.status in {401, 407}:  # tinyproxy has the first for a wrong password
        variable = proxy.variable if proxy is not None else "HTTPS_PROXY"
        return ProxyRefused(
            f"{who} wants a user name and a password, or others, so nothing was sent: {said}",
            hint=f"export {variable}=http://USER:PASSWORD@HOST:PORT",
            answer=answer,
        )
    if error.status < 500 and error.status not in {408, 429}:
        return ProxyRefused(
            f"{who} does not let this through, so nothing was sent: {said}", answer=answer
        )
    return Unreachable(f"{who} made no connection to the server: {said}", sent=False)


async def read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """A success whole, and of anything else the beginning: its status says the most."""
    success = 200 <= response.status < 300
    found = bytearray()
    with nullcontext() if success else suppress(TimeoutError):
        async with asyncio.timeout(None if success else _EXCUSE_TIME):
            async for block in response.content.iter_any():
                found += block
                if len(found) > most and success:
                    raise ServerTrouble(
                        f"the server's answer is longer than {most} bytes", retryable=True
                    )
                if len(found) > _EXCUSE and not success:
                    break
    return bytes(found)
