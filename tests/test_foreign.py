"""Connections that are never made: then surely nothing was sent, and no key was heard."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from test_api import Call, every_call
from tls import Certificate, listening_tls, make_certificate
from wire import Caller, body_of, listening, opened, silent

from chunkup.errors import Unreachable, Untrusted
from chunkup.foreign import mapped


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


def several(*numbers: int) -> OSError:
    """What is left where a name has several addresses, and each fails in its own way."""
    texts = [str(OSError(number, "Connect call failed ('::1', 1)")) for number in numbers]
    return OSError(f"Multiple exceptions: {', '.join(texts)}")


@pytest.mark.parametrize(
    ("error", "offline"),
    [
        (OSError(errno.ENETUNREACH, "Connect call failed"), True),
        (OSError(errno.EHOSTUNREACH, "Connect call failed"), True),
        (OSError(errno.EADDRNOTAVAIL, "Connect call failed"), True),
        (several(errno.ENETUNREACH, errno.EHOSTUNREACH), True),
        (several(errno.ENETUNREACH, errno.ECONNREFUSED), False),
        (OSError(errno.ECONNREFUSED, "Connect call failed"), False),
        (OSError("nobody knows what"), False),
    ],
    ids=str,
)
async def test_no_network_is_told_from_a_server_that_is_not_there(
    error: OSError,
    offline: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    """Such errors can hardly be had on loopback, so they are raised where aiohttp would."""
    with pytest.raises(Unreachable) as caught:
        async with mapped("ask"):
            raise aiohttp.ClientConnectorError(HERE, error)
    assert not caught.value.sent
    assert caught.value.offline == offline
    if error.errno or "Multiple" in str(error):
        assert "Connect call" not in str(caught.value), "the system has words for it"


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
        async with mapped("ask"):
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
    monkeypatch.setattr("chunkup.transport.CONNECT", 0.2)
    monkeypatch.setattr("chunkup.api.CONNECT", 0.2)
    with deaf_port() as url:
        async with opened(url) as api:
            with pytest.raises(Unreachable) as caught:
                await call(api)
    assert not caught.value.sent
    assert caught.value.offline


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@every_call
async def test_a_server_that_nobody_vouches_for_hears_no_key_and_is_not_asked_again(
    call: Call, stranger: Certificate
) -> None:
    heard: list[bytes] = []

    async def serve(caller: Caller) -> None:
        heard.append(await caller.reader.read(1))

    async with listening_tls(serve, stranger) as url, opened(url) as api:
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


@every_call
async def test_a_handshake_that_never_ends_is_cut_and_sent_nothing(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.transport.CONNECT", 0.3)
    monkeypatch.setattr("chunkup.api.CONNECT", 0.3)

    async def serve(caller: Caller) -> None:
        await caller.reader.read(1 << 16)
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url.replace("http:", "https:")) as api:
        with pytest.raises(Unreachable, match="no connection") as caught:
            await call(api)
    assert not caught.value.sent
    assert caught.value.offline


async def test_a_part_that_waits_for_its_connection_was_surely_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever holds a connection up, a name service for one: it need not end by itself."""
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)

    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    async with (
        listening(serve) as wire,
        opened(wire.url.replace("http:", "https:"), stall=0.3) as api,
    ):
        with pytest.raises(Unreachable, match="no connection") as caught:
            await api.add_part("upload_1", body_of(b"abc"), silent)
    assert not caught.value.sent
