"""What aiohttp and the sockets bring, in our words and within bounds: here and nowhere else."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Final

import aiohttp

from chunkup.errors import ServerTrouble, Unreachable, Untrusted
from chunkup.text import printable

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


@asynccontextmanager
async def mapped(what: str) -> AsyncIterator[None]:
    """Turn what a request raises into our words; ``what`` it asked for, as a sentence says it."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Untrusted(
            f"the server's certificate is not trusted, so nothing was sent: "
            f"{error.certificate_error}; check the base URL and this machine's trust store",
        ) from error
    except aiohttp.ClientConnectorError as error:
        # Each address of a name fails in its own way, and of several only a text is left.
        several = {int(number) for number in _ERRNO.findall(str(error.strerror or error.os_error))}
        found = {error.errno} if error.errno else several
        known = [os.strerror(number) for number in sorted(found) if number > 0]
        raise Unreachable(
            f"cannot reach {error.host}: {' or '.join(known) or error.strerror}",
            sent=False,
            offline=isinstance(error, aiohttp.ClientConnectorDNSError)
            or (bool(found) and found <= _NO_NETWORK),
        ) from error
    except aiohttp.ConnectionTimeoutError as error:
        # Whom nothing reaches is in no trouble that asking again could make worse.
        raise Unreachable(
            "no connection to the server was made in time", sent=False, offline=True
        ) from error
    except TimeoutError as error:
        raise Unreachable(f"the server did not answer in time when asked to {what}") from error
    except (aiohttp.ClientError, OSError) as error:
        broken = isinstance(error, aiohttp.ClientResponseError)
        detail = "what came is no answer in HTTP/1" if broken else printable(str(error))
        detail = detail or type(error).__name__
        raise Unreachable(f"the connection broke: {detail}") from error


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
