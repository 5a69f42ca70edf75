"""A real proxy on the way: what goes through it, what it hears, and what it may say."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from house import HASTY, KEY, House, make_source
from nginx import nginx
from test_api import Call, every_call
from test_cli import Shell, shell
from test_foreign import closed_port
from test_wire_tls import before, watch
from tinyproxy import FAR, far, tinyproxy
from tls import Authority, Pair, listening_tls
from wire import Caller, answering, everything, listening, reply

from chunkup import AsyncUploader
from chunkup.api import Api
from chunkup.endpoint import resolve
from chunkup.errors import BadOption, ChunkupError, PlainHttp, ProxyRefused, Unreachable, Untrusted
from chunkup.foreign import mapped
from chunkup.proxies import Proxy

__all__ = ["shell"]


USER, PASSWORD = "me", "canary-5up3r53cr37"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
BASIC = f"BasicAuth {USER} {PASSWORD}"
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("company"))


@pytest.fixture(scope="module")
def theirs(company: Authority) -> Pair:
    return company.pair(FAR)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def api_at(url: str, environ: dict[str, str], **more: Any) -> AsyncIterator[Api]:
    endpoint = resolve(base_url=url, api_key=KEY, environ=environ, allow_http=True, **more)
    api = Api(endpoint, stall_timeout=30, complete_timeout=30)
    api.open()
    try:
        yield api
    finally:
        await api.close()


def uploader(url: str, journal: Path, **more: Any) -> AsyncUploader:
    given = {"base_url": url, "api_key": KEY, "journal": journal, "part_size": 1000}
    return AsyncUploader(**{**given, "options": HASTY, **more})


# --- what goes through it -------------------------------------------------------------------


async def test_an_upload_goes_through_a_tunnel_and_stops_and_goes_on(
    house: House,
    tmp_path: Path,
    journal: Path,
    company: Authority,
    theirs: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_source(tmp_path / "a.bin", 8500)
    seen = watch(house)
    async with (
        tinyproxy(tmp_path / "proxy", BASIC) as proxy,
        nginx(tmp_path / "nginx", before(house, theirs)) as [url],
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.with_password(USER, PASSWORD))
        place = far(url).removeprefix("https://").removesuffix("/v1")
        async with uploader(far(url), journal, cacert=company.path) as first:
            run = first.start(
                tmp_path / "a.bin",
                purpose="user_data",
                on_event=lambda event: (
                    run.stop() if type(event).__name__ == "PartAccepted" else None
                ),
            )
            await run.wait()
            [job] = await first.jobs()
        assert proxy.asked
        async with uploader(far(url), journal, cacert=company.path) as second:
            file = await second.resume(job.id)
        assert set(proxy.asked) == {f"CONNECT {place}"}
    assert file.bytes == 8500
    assert house.calls.count("create") == 1
    assert {headers["authorization"] for headers in seen} == {f"Bearer {KEY}"}
    assert not any("proxy-authorization" in headers for headers in seen)


async def test_plain_http_goes_through_it_as_well(
    house: House, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(tmp_path / "a.bin", 2500)
    seen = watch(house)
    url = far(house.url)
    async with tinyproxy(tmp_path / "proxy", BASIC) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.with_password(USER, PASSWORD))
        with pytest.raises(PlainHttp):
            uploader(url, journal)
        async with uploader(url, journal, allow_http=True) as opened:
            file = await opened.upload(tmp_path / "a.bin", purpose="user_data")
        assert proxy.asked[0].startswith("POST http://")
        assert len(proxy.asked) == len(seen) == 5
    assert file.bytes == 2500
    assert not any("proxy-authorization" in headers for headers in seen)


@every_call
async def test_a_proxy_hears_its_password_and_no_key(
    call: Call, company: Authority, theirs: Pair
) -> None:
    async with listening(answering(reply(b"", 502))) as wire:
        environ = {"HTTPS_PROXY": wire.url.replace("//", f"//{USER}:{PASSWORD}@")}
        async with api_at("https://api.example/v1", environ) as api:
            with pytest.raises(Unreachable):
                await call(api)
    [asked] = wire.asked
    assert (asked.method, asked.target) == ("CONNECT", "api.example:443")
    assert asked.headers["proxy-authorization"] == f"Basic {ENCODED}"
    assert asked.headers["host"] == "api.example"
    assert KEY not in repr(asked.headers)
    assert asked.headers.keys() <= {
        *("proxy-authorization", "host", "user-agent", "accept", "accept-encoding"),
        *("connection", "content-length", "content-type"),
    }


async def test_what_is_exempt_or_here_does_not_go_through_it(house: House, tmp_path: Path) -> None:
    async with tinyproxy(tmp_path / "proxy") as proxy:
        for url in (house.url, house.url.replace("127.0.0.1", "localhost")):
            async with api_at(url, {"HTTP_PROXY": proxy.url}) as api:
                assert await api.list_files("batch", None) == ([], False)
        for exempt in (FAR, "*"):
            environ = {"HTTP_PROXY": proxy.url, "NO_PROXY": exempt}
            async with api_at(far(house.url), environ) as api:
                # Without somebody in between aiohttp does not read this as an address.
                with pytest.raises(ChunkupError, match=r"127\.1 - is not a canonical"):
                    await api.list_files("batch", None)
        async with api_at(far(house.url), {"HTTP_PROXY": proxy.url}) as api:
            await api.list_files("batch", None)
        await proxy.told.wait()
        assert len(proxy.asked) == 1
    assert len(house.calls) == 3


# --- what it may say ------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("wrong", [None, PASSWORD], ids=["none", "wrong"])
async def test_a_proxy_that_wants_another_password_is_one_sentence(
    call: Call, wrong: str | None, tmp_path: Path
) -> None:
    async with tinyproxy(tmp_path / "proxy", "BasicAuth me right") as proxy:
        url = proxy.with_password(USER, wrong) if wrong else proxy.url
        async with api_at("https://api.example/v1", {"https_proxy": url}) as api:
            with pytest.raises(ProxyRefused) as caught:
                await call(api)
    assert str(caught.value) == (
        f"the proxy {proxy.host} (https_proxy) wants a user name and a password, or others, so "
        f"nothing was sent: {'401 Unauthorized' if wrong else '407 Proxy Authentication Required'}"
    )
    assert caught.value.hint == "export https_proxy=http://USER:PASSWORD@HOST:PORT"
    assert not caught.value.retryable
    assert caught.value.exit_code == 1
    for secret in (PASSWORD, ENCODED, KEY):
        assert secret not in everything(caught.value)


async def test_without_a_tunnel_the_same_is_said_of_its_answer(tmp_path: Path) -> None:
    """A wrong password is a 401 of this proxy's, which could be the server's as well."""
    async with (
        tinyproxy(tmp_path / "proxy", "BasicAuth me right") as proxy,
        api_at("http://api.example/v1", {"http_proxy": proxy.url}) as api,
    ):
        with pytest.raises(ProxyRefused, match="a proxy on the way wants a user name") as caught:
            await api.retrieve("file-1")
    assert not caught.value.retryable


async def test_what_a_proxy_forbids_is_told_in_its_name(tmp_path: Path) -> None:
    async with (
        tinyproxy(tmp_path / "proxy", "ConnectPort 1") as proxy,
        api_at("https://api.example/v1", {"HTTPS_PROXY": proxy.url}) as api,
    ):
        with pytest.raises(ProxyRefused, match="does not let this through") as caught:
            await api.retrieve("file-1")
    assert str(caught.value).startswith(f"the proxy {proxy.host} (HTTPS_PROXY) ")
    assert "403" in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_a_proxy_that_is_in_trouble_may_be_asked_again(status: int) -> None:
    async with (
        listening(answering(reply(b"", status))) as wire,
        api_at("https://api.example/v1", {"HTTPS_PROXY": wire.url}) as api,
    ):
        with pytest.raises(
            Unreachable, match=f"made no connection to the server: {status}"
        ) as caught:
            await api.retrieve("file-1")
    assert caught.value.retryable
    assert not caught.value.sent


async def test_a_server_that_a_proxy_cannot_reach_surely_heard_nothing(tmp_path: Path) -> None:
    with closed_port() as url:
        target = far(url).replace("http:", "https:")
        async with (
            tinyproxy(tmp_path / "proxy") as proxy,
            api_at(target, {"HTTPS_PROXY": proxy.url}) as api,
        ):
            with pytest.raises(Unreachable, match="made no connection to the server") as caught:
                await api.retrieve("file-1")
    assert caught.value.retryable
    assert not caught.value.sent


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_that_is_down_is_named_with_its_variable(scheme: str) -> None:
    with closed_port() as url:
        host = url.removeprefix("http://").removesuffix("/v1")
        environ = {f"{scheme}_proxy": f"http://{USER}:{PASSWORD}@{host}"}
        async with api_at(f"{scheme}://api.example/v1", environ) as api:
            with pytest.raises(Unreachable) as caught:
                await api.retrieve("file-1")
    assert str(caught.value).startswith(f"cannot reach the proxy {host} ({scheme}_proxy): ")
    assert "api.example" not in str(caught.value)
    assert not caught.value.sent
    assert PASSWORD not in everything(caught.value)
    assert ENCODED not in everything(caught.value)


async def test_a_proxy_without_a_name_service_is_named_too() -> None:
    """Such an error can't be had without asking one, so it is raised where aiohttp would."""
    proxy = Proxy("http://proxy.example:3128", "HTTPS_PROXY")
    key = ConnectionKey("proxy.example", 3128, False, True, None, None, None)  # noqa: FBT003  (a tuple of aiohttp's)
    with pytest.raises(Unreachable, match=r"cannot reach the proxy proxy\.example:3128") as caught:
        async with mapped("ask", proxy):
            raise aiohttp.ClientConnectorDNSError(key, OSError(-3, "Temporary failure"))
    assert caught.value.offline
    other = key._replace(host="api.example", port=443)
    with pytest.raises(Unreachable, match=r"cannot reach api\.example"):
        async with mapped("ask", proxy):
            raise aiohttp.ClientConnectorDNSError(other, OSError(-3, "Temporary failure"))
    with pytest.raises(Unreachable, match=r"no connection to the proxy proxy\.example:3128"):
        async with mapped("ask", proxy):
            raise aiohttp.ConnectionTimeoutError


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 407 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nthis is no TLS",
        b"",
    ],
    ids=["nonsense", "407", "redirect", "no-tls", "nothing"],
)
async def test_whatever_a_proxy_answers_is_an_error_of_ours_and_shows_no_secret(
    answer: bytes,
) -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(answer)

    async with listening(serve) as wire:
        environ = {"HTTPS_PROXY": wire.url.replace("//", f"//{USER}:{PASSWORD}@")}
        async with api_at("https://api.example/v1", environ) as api:
            with pytest.raises((Unreachable, ProxyRefused)) as caught:
                await api.retrieve("file-1")
    shown = everything(caught.value)
    for secret in (PASSWORD, ENCODED, KEY):
        assert secret not in shown
    assert "\x1b" not in str(caught.value)


async def test_an_answer_that_is_none_shows_no_key_either() -> None:
    """aiohttp's error holds the whole request."""
    async with (
        listening(answering(b"SSH-2.0-OpenSSH\r\n\r\n")) as wire,
        api_at(wire.url, {}) as api,
    ):
        with pytest.raises(Unreachable) as caught:
            await api.retrieve("file-1")
    assert KEY not in everything(caught.value)


async def test_a_certificate_in_a_tunnel_is_the_servers(tmp_path: Path, theirs: Pair) -> None:
    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    async with (
        listening_tls(serve, theirs.context()) as url,
        tinyproxy(tmp_path / "proxy") as proxy,
        api_at(far(url), {"HTTPS_PROXY": proxy.url}) as api,
    ):
        with pytest.raises(Untrusted, match="signed by Company Authority") as caught:
            await api.retrieve("file-1")
    assert str(caught.value).startswith(f"{FAR}:")


# --- the command line -----------------------------------------------------------------------


async def test_a_command_goes_through_it_and_shows_its_password_nowhere(
    shell: Shell, tmp_path: Path, company: Authority, theirs: Pair
) -> None:
    for name in VARIABLES:
        shell.environ.pop(name, None)
        shell.environ.pop(name.lower(), None)
    async with (
        tinyproxy(tmp_path / "proxy", BASIC) as proxy,
        nginx(tmp_path / "nginx", before(shell.house, theirs)) as [url],
    ):
        more = {"OPENAI_BASE_URL": far(url), "SSL_CERT_FILE": str(company.path)}
        more["HTTPS_PROXY"] = proxy.with_password(USER, PASSWORD)
        done = await shell.run("-vv", "upload", "a.bin", "-p", "user_data", **more)
        assert done.code == 0, done.err
        assert proxy.asked
        more["HTTPS_PROXY"] = proxy.with_password(USER, f"{PASSWORD}-not")
        shell.make("b.bin")
        refused = await shell.run("-vv", "upload", "b.bin", "-p", "user_data", **more)
        assert refused.code == 1
        assert "error[proxy-refused]: the proxy 127.0.0.1:" in refused.err
        assert "(HTTPS_PROXY) wants a user name and a password" in refused.err
        assert "hint: chunkup resume " in refused.err
        for secret in (PASSWORD, ENCODED):
            assert secret not in done.out + done.err + refused.out + refused.err
            assert secret.encode() not in shell.journal.read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTPS_PROXY", "socks5h://{}:1080", "names a proxy of the kind socks5h"),
        ("ALL_PROXY", "http://{}.example", "names a proxy for everything"),
    ],
)
async def test_what_cannot_be_honoured_is_exit_2_and_nothing_is_sent(
    shell: Shell, variable: str, value: str, said: str
) -> None:
    more = {variable: value.format(PASSWORD), "OPENAI_BASE_URL": "https://api.example/v1"}
    done = await shell.upload("a.bin", **more)
    assert done.code == 2
    assert done.err.startswith(f"error[bad-option]: {variable} {said}")
    assert "NO_PROXY" in done.err or variable == "ALL_PROXY"
    assert PASSWORD not in done.err
    assert not shell.journal.exists()
    # What is here needs none.
    done = await shell.upload("a.bin", **{variable: value.format(PASSWORD)})
    assert done.code == 0, done.err


def test_a_direct_way_is_offered() -> None:
    with pytest.raises(BadOption) as caught:
        resolve(
            base_url="https://api.example/v1", api_key="k", environ={"HTTPS_PROXY": "socks5://x"}
        )
    assert "NO_PROXY=api.example" in str(caught.value.hint)
