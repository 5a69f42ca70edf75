"""TLS as it is met: servers that nobody knows, and servers that want to know us."""

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, make_source
from nginx import nginx, origin
from test_api import Call, every_call
from test_cli import Shell, shell
from tls import Authority, Pair, listening_tls
from wire import Caller, listening

from chunkup import AsyncUploader
from chunkup.api import Api
from chunkup.endpoint import resolve
from chunkup.errors import ChunkupError, Untrusted, WantsCertificate

__all__ = ["shell"]

HERE = "127.0.0.1"
CANARY = "canary-5up3r53cr37"
FLAGS = ("--cacert", "--client-cert", "--client-key")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("company"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Nobody In Particular")


@pytest.fixture(scope="module")
def ours(company: Authority) -> Pair:
    return company.pair("somebody")


@pytest.fixture(scope="module")
def theirs(company: Authority) -> Pair:
    return company.pair(HERE, "localhost")


def before(house: House, holder: Pair, *more: str) -> str:
    """A server block that speaks TLS before the house, and tells it what it saw of the client."""
    headers = "proxy_set_header X-Client $ssl_client_s_dn; proxy_set_header X-Tls $ssl_protocol;"
    onward = f"location / {{ proxy_pass {origin(house.url)}; {headers} }}"
    return " ".join([holder.nginx, *more, onward])


def wanting(company: Authority) -> str:
    return f"ssl_client_certificate {company.path}; ssl_verify_client on;"


def watch(house: House) -> list[dict[str, str]]:
    """The headers of all requests from now on."""
    seen: list[dict[str, str]] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return await handler(request)

    house.intercept = intercept
    return seen


@asynccontextmanager
async def uploading(url: str, journal: Path, **more: Any) -> AsyncIterator[AsyncUploader]:
    async with AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=1000, options=HASTY, **more
    ) as uploader:
        yield uploader


@asynccontextmanager
async def api_at(url: str, **more: Any) -> AsyncIterator[Api]:
    endpoint = resolve(base_url=url, api_key=KEY, **{"environ": {}, **more})
    api = Api(endpoint, stall_timeout=30, complete_timeout=30)
    api.open()
    try:
        yield api
    finally:
        await api.close()


# --- a certificate of ours ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_a_whole_upload_with_a_client_certificate(
    house: House,
    tmp_path: Path,
    journal: Path,
    company: Authority,
    ours: Pair,
    theirs: Pair,
    version: str,
) -> None:
    md5 = make_source(tmp_path / "a.bin", 5500)
    seen = watch(house)
    block = before(house, theirs, wanting(company), f"ssl_protocols {version};")
    async with nginx(tmp_path / "nginx", block) as [url]:
        known = {"client_cert": ours.certificate, "client_key": ours.key}
        async with uploading(url, journal, cacert=company.path, **known) as uploader:
            file = await uploader.upload(tmp_path / "a.bin", purpose="user_data")
    assert file.bytes == 5500
    assert hashlib.md5(house.content(file.id)).hexdigest() == md5
    assert len(seen) >= 8
    assert {headers["x-tls"] for headers in seen} == {version}
    assert all("trustme" in headers["x-client"] for headers in seen)


async def test_a_server_that_wants_a_certificate_is_one_sentence_and_the_job_goes_on_with_one(
    house: House,
    tmp_path: Path,
    journal: Path,
    company: Authority,
    stranger: Authority,
    ours: Pair,
    theirs: Pair,
) -> None:
    """Nginx ends the handshake, and then answers every request with a page of its own."""
    make_source(tmp_path / "a.bin", 5500)
    other = stranger.pair("somebody")
    known = {"client_cert": ours.certificate, "client_key": ours.key}
    block = before(house, theirs, wanting(company))
    async with nginx(tmp_path / "nginx", block) as [url]:
        async with uploading(url, journal, cacert=company.path, **known) as uploader:
            run = uploader.start(
                tmp_path / "a.bin",
                purpose="user_data",
                on_event=lambda event: (
                    run.stop() if type(event).__name__ == "PartAccepted" else None
                ),
            )
            await run.wait()
        [job] = [info.id for info in await jobs(url, journal, company)]
        house.calls.clear()
        for wrong in ({}, {"client_cert": other.certificate, "client_key": other.key}):
            async with uploading(url, journal, cacert=company.path, **wrong) as uploader:
                with pytest.raises(WantsCertificate) as caught:
                    await uploader.resume(job)
            assert "--client-cert" in str(caught.value)
            assert "SSL certificate" in str(caught.value)
            assert not caught.value.retryable
        assert house.calls == []
        async with uploading(url, journal, cacert=company.path, **known) as uploader:
            assert (await uploader.resume(job)).bytes == 5500


async def jobs(url: str, journal: Path, company: Authority) -> Any:
    async with uploading(url, journal, cacert=company.path) as uploader:
        return await uploader.jobs()


@contextmanager
def demanding(company: Authority, theirs: Pair, version: ssl.TLSVersion) -> Iterator[list[Any]]:
    """A server that ends a handshake without a certificate by an alert, as OpenSSL's and Go's do.

    asyncio's own would break the connection without one. Yields its address and all that was
    ever read of requests.
    """
    context = theirs.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(company.path)
    context.minimum_version = context.maximum_version = version
    listener = socket.create_server((HERE, 0))
    heard: list[Any] = [f"https://{HERE}:{listener.getsockname()[1]}/v1"]

    def run() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            ) as secured:
                try:
                    secured.do_handshake()
                    heard.append(secured.recv(1 << 16))
                except OSError:
                    # Whoever closes at once, with a request unread, resets the connection, and a
                    # reset takes the alert away again.
                    with suppress(OSError):
                        while socket.socket.recv(secured, 1 << 16):
                            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@every_call
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
async def test_an_alert_that_asks_for_a_certificate_is_understood_and_nothing_is_repeated(
    call: Call, version: ssl.TLSVersion, company: Authority, stranger: Authority, theirs: Pair
) -> None:
    """In TLS 1.3 it comes in answer to the first request, on a connection that seemed made."""
    strange, old = stranger.pair("somebody"), company.pair("somebody", expired=True)
    with demanding(company, theirs, version) as heard:
        for pair in (None, strange, old):
            known = {"client_cert": pair.certificate, "client_key": pair.key} if pair else {}
            async with api_at(heard[0], cacert=company.path, **known) as api:
                with pytest.raises(WantsCertificate, match="wants a client certificate") as caught:
                    await call(api)
            assert not caught.value.retryable
            assert "--client-cert" in str(caught.value.hint)
    assert heard[1:] == []


async def test_a_handshake_that_is_left_without_a_word_says_so(
    company: Authority, theirs: Pair
) -> None:
    """As asyncio's own servers do with whom they don't trust."""
    context = theirs.context()
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2

    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    async with (
        listening_tls(serve, context) as url,
        api_at(url, cacert=company.path) as api,
    ):
        with pytest.raises(ChunkupError, match="TLS handshake broke off") as caught:
            await api.retrieve("file-1")
    assert "None" not in str(caught.value)
    assert caught.value.retryable


# --- their certificate ----------------------------------------------------------------------

Making = Callable[[Authority, Authority], Pair]


@every_call
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda known, unknown: unknown.pair(HERE), "is of nobody in the trust store"),
        (lambda known, unknown: known.pair(HERE, expired=True), "has expired"),
        (lambda known, unknown: known.pair(HERE, early=True), "is not valid yet"),
        (lambda known, unknown: known.pair("other.example"), "is made out to another address"),
    ],
    ids=["unknown", "expired", "early", "elsewhere"],
)
async def test_who_is_not_trusted_hears_nothing_and_the_sentence_says_why(
    call: Call, make: Making, said: str, company: Authority, stranger: Authority
) -> None:
    heard: list[bytes] = []

    async def serve(caller: Caller) -> None:
        heard.append(await caller.reader.read(1))

    context = make(company, stranger).context()
    async with (
        listening_tls(serve, context) as url,
        api_at(url, cacert=company.path) as api,
    ):
        with pytest.raises(Untrusted) as caught:
            await call(api)
    where = url.removeprefix("https://").removesuffix("/v1")
    assert str(caught.value).startswith(f"{where} is not trusted, so nothing was sent: ")
    signer = "Nobody In Particular" if said.startswith("is of nobody") else "Company Authority"
    assert f", signed by {signer}" in str(caught.value)
    assert said in str(caught.value)
    assert ("--cacert" in str(caught.value)) is said.startswith("is of nobody")
    assert not caught.value.retryable
    assert not any(heard)


async def test_a_name_is_compared_as_well_as_an_address(company: Authority) -> None:
    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    context = company.pair("other.example").context()
    async with listening_tls(serve, context) as url:
        named = url.replace(HERE, "localhost")
        async with api_at(named, cacert=company.path) as api:
            with pytest.raises(Untrusted, match="is made out to another name; check the base URL"):
                await api.retrieve("file-1")


async def test_the_operating_systems_store_knows_no_company(
    company: Authority, theirs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)

    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    async with listening_tls(serve, theirs.context()) as url, api_at(url) as api:
        with pytest.raises(Untrusted, match="signed by Company Authority") as caught:
            await api.retrieve("file-1")
    assert "--cacert" in str(caught.value)


def rehashed(folder: Path, certificate: Path) -> Path:
    """A folder as OpenSSL reads it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to name files as it wants them")
    told = subprocess.run(
        [openssl, "x509", "-hash", "-noout", "-in", str(certificate)],
        check=True,
        capture_output=True,
        text=True,
    )
    folder.mkdir()
    (folder / f"{told.stdout.strip()}.0").symlink_to(certificate)
    return folder


async def test_what_is_named_takes_the_place_of_all_else(
    tmp_path: Path, company: Authority, stranger: Authority, theirs: Pair
) -> None:
    folder, other = rehashed(tmp_path / "a", company.path), rehashed(tmp_path / "b", stranger.path)
    right: list[dict[str, Any]] = [
        {"cacert": company.path},
        {"cacert": company.path, "environ": {"SSL_CERT_FILE": str(stranger.path)}},
        {"environ": {"SSL_CERT_FILE": str(company.path)}},
        {"environ": {"SSL_CERT_DIR": str(folder)}},
        {"environ": {"SSL_CERT_DIR": f"{other}:{folder}"}},
        {"environ": {"SSL_CERT_FILE": str(stranger.path), "SSL_CERT_DIR": str(folder)}},
        # Whoever is named is believed, also if somebody else has signed it.
        {"cacert": theirs.certificate},
    ]
    wrong: list[dict[str, Any]] = [
        {"cacert": stranger.path},
        {"cacert": stranger.path, "environ": {"SSL_CERT_FILE": str(company.path)}},
        {"cacert": stranger.path, "environ": {"SSL_CERT_DIR": str(folder)}},
        {"environ": {"SSL_CERT_FILE": str(stranger.path)}},
        {"environ": {"SSL_CERT_DIR": str(other)}},
    ]

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")

    async with listening_tls(serve, theirs.context()) as url:
        for number, said in enumerate([*right, *wrong]):
            async with api_at(url, **said) as api:
                with pytest.raises(ChunkupError) as caught:
                    await api.retrieve("file-1")
            assert caught.value.code == ("not-found" if number < len(right) else Untrusted.code)


# --- elsewhere ------------------------------------------------------------------------------


@every_call
async def test_no_redirect_takes_the_key_or_the_certificate_elsewhere(
    call: Call, tmp_path: Path, company: Authority, ours: Pair, theirs: Pair
) -> None:
    connections = 0

    async def serve(caller: Caller) -> None:
        nonlocal connections
        connections += 1
        await caller.for_ever()

    known = {"client_cert": ours.certificate, "client_key": ours.key}
    async with listening_tls(serve, theirs.context()) as secure, listening(serve) as plain:
        blocks = [
            f"{theirs.nginx} {wanting(company)} return {status} {origin(target)}$request_uri;"
            for target in (secure, plain.url)
            for status in (301, 302, 303, 307, 308)
        ]
        async with nginx(tmp_path / "nginx", *blocks) as urls:
            for url in urls:
                async with api_at(url, cacert=company.path, **known) as api:
                    with pytest.raises(ChunkupError, match="no redirect is followed"):
                        await call(api)
    assert connections == 0


# --- the command line -----------------------------------------------------------------------


def words(*paths: Path) -> dict[str, str]:
    return dict(zip(FLAGS, map(str, paths), strict=True))


async def test_flags_variables_and_a_profile_say_the_same(
    shell: Shell, tmp_path: Path, company: Authority, ours: Pair, theirs: Pair
) -> None:
    paths = words(company.path, ours.certificate, ours.key)
    seen = watch(shell.house)
    home = tmp_path / "home"
    home.mkdir()
    for flag, path in paths.items():
        (home / f"{flag.strip('-')}.pem").write_bytes(Path(path).read_bytes())
    async with nginx(tmp_path / "nginx", before(shell.house, theirs, wanting(company))) as [url]:
        keys = {flag.strip("-").replace("-", "_"): path for flag, path in paths.items()}
        homely = [f'{key} = "~/{key.replace("_", "-")}.pem"' for key in keys]
        more = f'base_url = "{url}"\napi_key = "env:OPENAI_API_KEY"'
        (shell.folder / "config.toml").write_text("\n".join(["[profiles.home]", more, *homely]))
        shell.environ |= {"OPENAI_BASE_URL": url, "CHUNKUP_CONFIG": "config.toml"}
        shell.environ |= {"HOME": str(home)}
        official = {
            "SSL_CERT_FILE": paths["--cacert"],
            "OPENAI_MTLS_CLIENT_CERT_FILE": paths["--client-cert"],
            "OPENAI_MTLS_CLIENT_KEY_FILE": paths["--client-key"],
        }
        own = {"CHUNKUP_" + key.upper(): path for key, path in keys.items()}
        ways: list[tuple[list[str], dict[str, str]]] = [
            ([word for pair in paths.items() for word in pair], {}),
            ([], official),
            (["--profile", "home"], {}),
            # The nearer word goes first.
            (["--cacert", paths["--cacert"]], {**own, "CHUNKUP_CACERT": paths["--client-cert"]}),
        ]
        for number, (flags, variables) in enumerate(ways):
            shell.make(f"{number}.bin", size=1500)
            done = await shell.upload(f"{number}.bin", *flags, **variables)
            assert done.code == 0, done.err
            assert done.out.startswith("file-")
    assert all("trustme" in headers["x-client"] for headers in seen)


async def test_what_fails_for_want_of_trust_tells_a_command_that_can_be_pasted(
    shell: Shell, tmp_path: Path, company: Authority, ours: Pair, theirs: Pair
) -> None:
    shell.environ |= dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR"), "")
    async with nginx(tmp_path / "nginx", before(shell.house, theirs, wanting(company))) as [url]:
        shell.environ["OPENAI_BASE_URL"] = url
        shell.environ.pop("CHUNKUP_BASE_URL", None)
        done = await shell.upload("a.bin")
        assert done.code == 1
        assert "error[untrusted-certificate]: 127.0.0.1:" in done.err
        assert "signed by Company Authority" in done.err
        done = await shell.upload("a.bin", "--cacert", str(company.path))
        assert done.code == 1
        assert "error[client-certificate]: " in done.err
        hint = done.err.rpartition("hint: ")[2].strip()
        assert f"--cacert {company.path}" in hint
        own = f" --client-cert {ours.certificate} --client-key {ours.key}"
        done = await shell.paste(hint + own)
        assert done.code == 0, done.err


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["", "dry"])
async def test_files_that_cannot_be_used_are_exit_2_and_nothing_is_written(
    shell: Shell, company: Authority, ours: Pair, flags: list[str]
) -> None:
    gone = str(shell.folder / "gone.pem")
    for more, said in (
        (["--cacert", gone], f"--cacert names {gone}, which does not exist"),
        (["--client-cert", str(ours.certificate)], "in which there is no private key"),
        (["--client-key", str(ours.key)], "--client-key names a private key, and there is no"),
    ):
        done = await shell.upload("a.bin", *more, *flags)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error[bad-option]: ")
        assert said in done.err
        assert "\n\nhint: " in done.err
    done = await shell.upload("a.bin", *flags, SSL_CERT_FILE=gone)
    assert (done.code, f"SSL_CERT_FILE names {gone}" in done.err) == (2, True)
    assert shell.house.calls == []
    assert not shell.journal.exists()


async def test_a_profile_names_whole_paths(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text('[profiles.gw]\ncacert = "ca.pem"\n')
    done = await shell.upload("a.bin", "--profile", "gw", CHUNKUP_CONFIG="config.toml")
    assert done.code == 2
    assert 'cacert is to be a whole path in quotes, such as "~/company-ca.pem"' in done.err


async def test_no_netrc_is_ever_read(shell: Shell, tmp_path: Path) -> None:
    """It would replace the key, or send a password of somebody else's beside it."""
    netrc = f"machine 127.0.0.1 login me password {CANARY}\ndefault login me password {CANARY}\n"
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text(netrc)
        (tmp_path / name).chmod(0o600)
    seen = watch(shell.house)
    places = {"HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc")}
    done = await shell.upload("a.bin", **places)
    assert done.code == 0, done.err
    assert {headers["authorization"] for headers in seen} == {f"Bearer {KEY}"}
    seen.clear()
    shell.make("b.bin")
    flags = ("--no-key", "-H", f"api-key: {KEY}")
    await shell.upload("b.bin", *flags, **places)
    assert seen
    assert not any("authorization" in headers for headers in seen)
    assert CANARY not in repr(seen)
