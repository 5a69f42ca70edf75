"""Connections that are never made: then surely nothing was sent, and no key was heard."""

import asyncio
import errno
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from test_api import Call, every_call
from wire import Caller, listening, opened

from chunkup.api import _mapped
from chunkup.errors import Unreachable, Untrusted


@contextmanager
def closed_port() -> Iterator[str]:
    """An address where nobody listens, kept from being given to anybody else."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


@every_call
async def test_a_refused_connection_surely_sent_nothing(call: Call) -> None:
    with closed_port() as url:
        async with opened(url) as api:
            with pytest.raises(Unreachable) as caught:
                await call(api)
    assert not caught.value.sent
    assert not caught.value.offline  # somebody is there, and says no: that is no missing network
    assert caught.value.retryable
    assert "127.0.0.1" in str(caught.value)


HERE = ConnectionKey("host", 443, True, True, None, None, None)  # noqa: FBT003  (a tuple of aiohttp's)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorDNSError(HERE, OSError(-3, "Temporary failure in name resolution")),
        aiohttp.ClientConnectorError(HERE, OSError(errno.ENETUNREACH, "Network is unreachable")),
        aiohttp.ClientConnectorError(HERE, OSError(errno.EHOSTUNREACH, "No route to host")),
    ],
)
async def test_without_a_name_or_a_route_there_is_no_network(error: Exception) -> None:
    """Such errors cannot be had on loopback, so they are raised where aiohttp would."""
    with pytest.raises(Unreachable) as caught:
        async with _mapped("ask"):
            raise error
    assert not caught.value.sent
    assert caught.value.offline


@contextmanager
def deaf_port() -> Iterator[str]:
    """An address that lets nobody in: its queue is full and nobody takes from it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.settimeout(0)
                each.connect_ex(sock.getsockname())
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        finally:
            for each in waiting:
                each.close()


@every_call
async def test_a_connection_that_was_not_made_in_time_surely_sent_nothing(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.api._CONNECT", 0.2)
    with deaf_port() as url:
        async with opened(url) as api:
            with pytest.raises(Unreachable) as caught:
                await call(api)
    assert not caught.value.sent


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The TLS of a server whose certificate nobody vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    what = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    also = ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = [openssl, "req", *what, *also, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@asynccontextmanager
async def over_tls(context: ssl.SSLContext, heard: list[bytes]) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@every_call
async def test_a_server_that_nobody_vouches_for_hears_no_key_and_is_not_asked_again(
    call: Call, stranger: ssl.SSLContext
) -> None:
    heard: list[bytes] = []
    async with over_tls(stranger, heard) as url, opened(url) as api:
        with pytest.raises(Untrusted) as caught:
            await call(api)
    assert not caught.value.retryable
    assert "certificate" in str(caught.value)
    assert not any(heard)


@every_call
async def test_a_server_without_tls_where_some_was_expected_hears_no_key(call: Call) -> None:
    heard: list[bytes] = []

    async def serve(caller: Caller) -> None:
        heard.append(await caller.reader.read(1 << 16))
        await caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(serve) as wire, opened(wire.url.replace("http:", "https:")) as api:
        with pytest.raises(Unreachable) as caught:
            await call(api)
    assert not caught.value.sent
    assert all(b"Bearer" not in each for each in heard)
