"""Certificates made on the spot, and servers that hold them."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from wire import Caller, Serve


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that nobody vouches for but who is told its ``path``."""

    path: Path
    context: ssl.SSLContext


def make_certificate(folder: Path) -> Certificate:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, path = folder / "key.pem", folder / "certificate.pem"
    what = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    also = ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = [openssl, "req", *what, *also, "-keyout", str(key), "-out", str(path)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return Certificate(path, context)


@asynccontextmanager
async def listening_tls(serve: Serve, certificate: Certificate) -> AsyncIterator[str]:
    """Listen on loopback over TLS; the base URL. Connections end when the clients end them."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(Caller(reader, writer, []))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=certificate.context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
