"""Certificates made on the spot, and servers that hold them."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
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


@dataclass(frozen=True)
class Pair:
    """A certificate with those that lead to its authority, and its private key: PEM files."""

    certificate: Path
    key: Path

    @property
    def nginx(self) -> str:
        """What a server block says of it."""
        return f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key};"

    def context(self) -> ssl.SSLContext:
        """For a server that holds it."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


class Authority:
    """Somebody who signs certificates; his own is in the file ``path``."""

    def __init__(self, folder: Path, name: str = "Company Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA(organization_name=name)
        self._made = 0
        self.path = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def pair(self, *names: str, expired: bool = False, early: bool = False) -> Pair:
        """A certificate for these names, fit for servers and clients alike."""
        issued = self._ca.issue_cert(
            *names,
            not_before=datetime(2999, 1, 1, tzinfo=UTC) if early else None,
            not_after=datetime(2020, 1, 1, tzinfo=UTC) if expired else None,
        )
        self._made += 1
        made = Pair(self._folder / f"{self._made}.pem", self._folder / f"{self._made}-key.pem")
        for at, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(made.certificate, append=at > 0)
        issued.private_key_pem.write_to_path(made.key)
        return made


@asynccontextmanager
async def listening_tls(serve: Serve, holder: Certificate | ssl.SSLContext) -> AsyncIterator[str]:
    """Listen on loopback over TLS; the base URL. Connections end when the clients end them."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(Caller(reader, writer, []))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    context = holder.context if isinstance(holder, Certificate) else holder
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
