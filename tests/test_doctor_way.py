"""What the doctor finds out about the way to a server: each broken step is one clear line."""

import asyncio
import os
import socket
import ssl
import time
from contextlib import ExitStack

import pytest
from desk import CHECKS, LIST, PASSWORD, Desk, closed_port, desk
from tls import Authority
from wire import Caller, Serve, listening, reply

__all__ = ["desk"]


# --- the way ----------------------------------------------------------------------------------


def test_a_name_that_nobody_knows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    desk.set(OPENAI_BASE_URL="https://lab.example/v1")
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    seen = desk.look()
    assert seen.failed == {"name"}
    assert seen["name"].says == (
        "there is no address for lab.example port 443: Name or service not known"
    )
    assert seen["name"].hint == "nslookup lab.example"
    assert {seen[check].state for check in CHECKS[11:]} == {"skip"}


def test_a_name_service_that_hangs_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.set(OPENAI_BASE_URL="https://lab.example/v1")
    pipe = os.pipe()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: os.read(pipe[0], 1))
    try:
        seen = desk.look("--timeout", "1")
        assert "no name service answered for lab.example port 443" in seen["name"].says
    finally:
        os.write(pipe[1], b"x")
        for handle in pipe:
            os.close(handle)


def test_a_port_at_which_nobody_listens(desk: Desk) -> None:
    port = closed_port()
    desk.set(OPENAI_BASE_URL=f"https://127.0.0.1:{port}/v1")
    seen = desk.look()
    assert seen.failed == {"connection"}
    assert f"127.0.0.1 port {port}: nothing listens there" in seen["connection"].says
    hint = seen["connection"].hint or ""
    assert hint.startswith("chunkup doctor --base-url https://127.0.0.1:PORT/v1 ")
    assert (seen["tls"].state, seen["answer"].state, seen["clock"].state) == ("skip",) * 3


def test_a_port_that_swallows_everything(desk: Desk) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # a full queue drops whoever knocks
            other = stack.enter_context(socket.socket())
            other.setblocking(False)  # noqa: FBT003  (socket's own)
            other.connect_ex(server.getsockname())
        desk.set(OPENAI_BASE_URL=f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        began = time.monotonic()
        seen = desk.look("--timeout", "2")
    if seen["connection"].state == "ok":
        pytest.skip("this system's queues are never full")
    assert time.monotonic() - began < 60, "the system itself would go on for two minutes"
    assert "nothing answers there" in seen["connection"].says
    assert seen["connection"].hint == "export http_proxy=http://HOST:PORT"


@pytest.mark.parametrize("end", ["trusted", "untrusted", "expired", "early", "other host"])
def test_the_chain_is_told_by_whom_it_is_signed(desk: Desk, end: str) -> None:
    authority = Authority(desk.folder / "ca", "Company Authority")
    name = "other.example" if end == "other host" else "127.0.0.1"
    pair = authority.pair(name, expired=end == "expired", early=end == "early")
    hits: list[str] = []

    async def serve(caller: Caller) -> None:
        hits.append((await caller.request()).target)
        await caller.say(reply(LIST))

    desk.tls(pair.context(), serve)
    if end == "untrusted":
        authority = Authority(desk.folder / "others", "Somebody Else")
    seen = desk.look("--cacert", str(authority.path))
    assert "authority.pem (from --cacert)" in seen["trust"].says
    assert "Company Authority" in seen["tls"].says
    if end == "trusted":
        assert (seen.code, seen["tls"].facts["version"]) == (0, "TLSv1.3")
        assert len(hits) == 1
        return
    assert seen.failed == {"tls"}
    says, hint = {
        "untrusted": ("is not trusted here", "export SSL_CERT_FILE="),
        "expired": ("expired", "date"),
        "early": ("is not valid yet", "date"),
        "other host": ("is made out to other.example", "chunkup doctor"),
    }[end]
    assert says in seen["tls"].says
    assert (seen["tls"].hint or "").startswith(hint)
    assert seen["answer"].state == "skip"
    assert hits == [], "nothing is asked of a server that is not trusted"


def test_a_port_without_tls(desk: Desk) -> None:
    wire = desk.wire(reply(LIST))
    desk.set(OPENAI_BASE_URL=wire.url.replace("http://", "https://"))
    seen = desk.look("--timeout", "4")
    assert seen.failed == {"tls"}
    assert "no TLS" in seen["tls"].says or "before TLS" in seen["tls"].says


def test_a_client_certificate_is_named_with_its_end(desk: Desk) -> None:
    desk.wire(reply(LIST))
    authority = Authority(desk.folder / "ca")
    for pair, state, says in (
        (authority.pair("me.example"), "ok", ", which ends in"),
        (authority.pair("me.example", expired=True), "fail", ", which has expired"),
    ):
        flags = ["--client-cert", str(pair.certificate), "--client-key", str(pair.key)]
        seen = desk.look(*flags)
        assert seen["trust"].state == state
        assert f"{pair.certificate} (from --client-cert){says}" in seen["trust"].says


async def one_list(caller: Caller) -> None:
    await caller.request()
    await caller.say(reply(LIST))


def test_a_server_that_wants_a_certificate_is_content_with_one(desk: Desk) -> None:
    authority = Authority(desk.folder / "ca")
    context = authority.pair("127.0.0.1").context()
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    desk.tls(context, one_list)
    seen = desk.look("--cacert", str(authority.path))
    assert (seen.failed, seen["tls"].state) == ({"answer"}, "ok")
    pair = authority.pair("me.example")
    flags = ["--client-cert", str(pair.certificate), "--client-key", str(pair.key)]
    assert desk.look("--cacert", str(authority.path), *flags).code == 0


@pytest.mark.parametrize(("host", "state"), [("lab.example", "warn"), ("localhost", "ok")])
def test_addresses_that_take_no_connection_are_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, host: str, state: str
) -> None:
    port = int(desk.wire(reply(LIST)).url.split(":")[2].removesuffix("/v1"))
    desk.set(OPENAI_BASE_URL=f"http://{host}:{port}/v1")
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
        for address in ("127.0.0.9", "127.0.0.1")
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: both)
    seen = desk.look("--allow-http")
    assert (seen.code, seen["connection"].state) == (0, state)
    assert seen["connection"].facts["deaf"] == 1
    assert f"{host} has 2 addresses" in seen["name"].says


# --- proxies ----------------------------------------------------------------------------------


def leading(to: str, asked: list[str], refusal: bytes | None = None) -> Serve:
    """A proxy that leads every CONNECT to one port of this machine."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
        writer.close()

    async def serve(caller: Caller) -> None:
        head = await caller.head()
        asked.append(f"{head.method} {head.target} {head.headers.get('proxy-authorization')}")
        if refusal is not None:
            await caller.say(refusal)
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", int(to))
        await caller.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ways = (pump(caller.reader, writer), pump(reader, caller.writer))
        try:
            await asyncio.gather(*ways)
        finally:
            writer.close()

    return serve


def test_through_a_proxy_the_whole_way_is_looked_at(desk: Desk) -> None:
    authority = Authority(desk.folder / "ca")
    url = desk.tls(authority.pair("lab.example").context())
    asked: list[str] = []
    proxy = desk.open(listening(leading(url.split(":")[2].split("/")[0], asked)))
    place = proxy.url.removeprefix("http://").removesuffix("/v1")
    desk.set(
        OPENAI_BASE_URL="https://lab.example/v1",
        https_proxy=f"http://me:{PASSWORD}@{place}",
        SSL_CERT_FILE=str(authority.path),
    )
    seen = desk.look()
    assert seen.code == 0, seen.lines
    assert seen["proxy"].says == f"{place}, which https_proxy names"
    assert f"the proxy {place} (https_proxy) took a connection" in seen["connection"].says
    assert seen["tls"].facts["version"] == "TLSv1.3"
    assert seen["answer"].facts["status"] == 200
    assert len(set(asked)) == 1
    assert asked[0].startswith("CONNECT lab.example:443 Basic ")


@pytest.mark.parametrize(
    ("status", "says", "hint"),
    [
        (407, "407", "export https_proxy=http://USER:PASSWORD@127.0.0.1:"),
        (403, "403 X", "unset https_proxy"),
    ],
)
def test_a_proxy_that_leads_nowhere(desk: Desk, status: int, says: str, hint: str) -> None:
    asked: list[str] = []
    refusal = f"HTTP/1.1 {status} X {PASSWORD[3:13]}\r\nContent-Length: 0\r\n\r\n".encode()
    proxy = desk.open(listening(leading("", asked, refusal)))
    place = proxy.url.removesuffix("/v1").replace("//", f"//me:{PASSWORD}@")
    desk.set(OPENAI_BASE_URL="https://lab.example/v1", https_proxy=place)
    seen = desk.look()
    assert seen.failed == {"tls"}
    assert f"would not lead to lab.example:443: {says}" in seen["tls"].says
    assert (seen["tls"].hint or "").startswith(hint)


def test_an_address_of_colons_has_brackets_for_the_proxy(desk: Desk) -> None:
    asked: list[str] = []
    proxy = desk.open(listening(leading("", asked, reply(b"no", 403))))
    desk.set(OPENAI_BASE_URL="https://[2001:db8::1]/v1", https_proxy=proxy.url[:-3])
    desk.look()
    assert asked == ["CONNECT [2001:db8::1]:443 None"]


def test_a_proxy_that_is_down_is_named_and_not_the_server(desk: Desk) -> None:
    port = closed_port()
    proxy = f"http://me:{PASSWORD}@127.0.0.1:{port}"
    desk.set(OPENAI_BASE_URL="https://lab.example/v1", HTTPS_PROXY=proxy)
    seen = desk.look()
    assert seen.failed == {"connection"}
    assert f"the proxy 127.0.0.1:{port} (HTTPS_PROXY): nothing listens" in seen["connection"].says
    assert seen["connection"].hint == "unset HTTPS_PROXY"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_not_gone_past(desk: Desk, variable: str) -> None:
    wire = desk.wire(reply(LIST))
    desk.set(
        OPENAI_BASE_URL="https://lab.example/v1",
        **{variable: f"socks5://me:{PASSWORD}@{wire.url.split('/')[2]}"},
    )
    seen = desk.look()
    assert seen.failed == {"proxy"}
    assert seen["proxy"].hint == f"unset {variable}"
    assert {seen[check].state for check in CHECKS[10:]} == {"skip"}
    assert wire.connections == 0
