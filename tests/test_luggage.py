"""What only an SDK client's own connections can do is refused by name, and nothing else is."""

import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from house import KEY
from tls import listening_tls, make_certificate
from wire import Caller, everything, reply

from chunkup.errors import BadOption
from chunkup.sdk import signer_of
from chunkup.uploader import AsyncUploader

# The SDK was made of httpx until its 3.0, and of httpx2 since.
httpx: Any = sys.modules.get("httpx2") or sys.modules["httpx"]
Sync: Any = openai.DefaultHttpxClient
Async: Any = openai.DefaultAsyncHttpxClient
Aiohttp: Any = getattr(openai, "DefaultAioHttpClient", object)
PLACE = "https://gateway.example/v1"
PROXY = "http://proxy.example:3128"
has_aiohttp = "aiohttp" in repr(Aiohttp.__mro__)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def client_of(http: Any, base_url: str = PLACE) -> Any:
    kind = openai.AsyncOpenAI if isinstance(http, httpx.AsyncClient) else openai.OpenAI
    return kind(api_key=KEY, base_url=base_url, http_client=http)


def passes(http: Any, base_url: str = PLACE, **how: bool) -> None:
    assert signer_of(client_of(http, base_url), **how).base_url == base_url


def refusal(http: Any, base_url: str = PLACE, **how: bool) -> BadOption:
    with pytest.raises(BadOption, match=r"^the client's http_client has ") as refused:
        signer_of(client_of(http, base_url), **how)
    assert refused.value.hint
    assert KEY not in everything(refused.value)
    return refused.value


def unverified() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Sending(httpx.Client):  # type: ignore[misc]
    def send(self, *args: Any, **kwargs: Any) -> Any:
        return super().send(*args, **kwargs)


class Told(httpx.Auth):  # type: ignore[misc]
    requires_response_body = True


class Sealing(httpx.Auth):  # type: ignore[misc]
    requires_request_body = True


# --- what passes ----------------------------------------------------------------------------

PLAIN: dict[str, Callable[[], Any]] = {
    "the SDK's own": Sync,
    "the SDK's own, async": Async,
    "limits and time-outs": lambda: Sync(
        timeout=3, limits=httpx.Limits(max_connections=3), follow_redirects=False
    ),
    "httpx's own": httpx.Client,
    "httpx's own, async": lambda: httpx.AsyncClient(timeout=None),
    "attempts": lambda: Sync(transport=httpx.HTTPTransport(retries=2)),
    "a context as it would be": lambda: Sync(verify=httpx.create_ssl_context()),
    "a subclass": type("Own", (httpx.Client,), {}),
    "no hooks": lambda: Sync(event_hooks={"request": [], "response": []}),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in PLAIN.items()])
def test_a_client_as_the_sdk_makes_it_passes(make: Callable[[], Any]) -> None:
    passes(make())


@pytest.mark.skipif(not has_aiohttp, reason="this SDK has no client made of aiohttp")
def test_one_made_of_aiohttp_passes_and_is_looked_at_too() -> None:
    passes(Aiohttp(timeout=3))
    assert "verify=False" in refusal(Aiohttp(verify=unverified())).message
    assert "a proxy of its own" in refusal(Aiohttp(proxy=PROXY)).message


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
def test_the_hook_that_azures_clients_bring_passes(kind: type[Any]) -> None:
    client = kind(azure_endpoint="https://res.openai.azure.com", api_version="1", api_key=KEY)
    assert signer_of(client).base_url == "https://res.openai.azure.com/openai"


# --- what does not --------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "transport": (
        lambda: Sync(transport=httpx.MockTransport(lambda _: None)),
        r"transport \(MockTransport\)",
        "without http_client",
    ),
    "async transport": (
        lambda: Async(transport=httpx.ASGITransport(lambda: None)),
        r"transport \(ASGITransport\)",
        "without http_client",
    ),
    "mounts": (
        lambda: Sync(mounts={"all://gateway.example": httpx.MockTransport(lambda _: None)}),
        r"mounts \(MockTransport\)",
        "without http_client",
    ),
    "uds": (
        lambda: Sync(transport=httpx.HTTPTransport(uds="/run/gateway")),
        "local_address or uds",
        "without http_client",
    ),
    "local_address": (
        lambda: Sync(transport=httpx.HTTPTransport(local_address="127.0.0.2")),
        "local_address or uds",
        "without http_client",
    ),
    "proxy": (lambda: Sync(proxy=PROXY), "a proxy of its own", "HTTPS_PROXY="),
    "async proxy": (lambda: Async(proxy=PROXY), "a proxy of its own", "HTTPS_PROXY="),
    "proxy in a mount": (
        lambda: Sync(mounts={"https://": httpx.HTTPTransport(proxy=PROXY)}),
        "a proxy of its own",
        "HTTPS_PROXY=",
    ),
    "verify=False": (lambda: Sync(verify=False), "verify=False", "cacert="),
    "a context of its own": (
        lambda: Async(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        "verify,",
        "cacert=",
    ),
    "hooks": (
        lambda: Sync(event_hooks={"request": [lambda _: None]}),
        "event_hooks",
        "trace_configs=",
    ),
    "hooks on answers": (
        lambda: Sync(event_hooks={"response": [print]}),
        "event_hooks",
        "trace_configs=",
    ),
    "send": (Sending, r"a send\(\) of its own \(Sending\)", "without http_client"),
    "digest": (
        lambda: Sync(auth=httpx.DigestAuth("user", "password")),
        r"an auth that needs a body or an answer first \(DigestAuth\)",
        "default_headers",
    ),
    "auth by answers": (lambda: Async(auth=Told()), r"\(Told\)", "default_headers"),
    "auth of bodies": (lambda: Sync(auth=Sealing()), r"\(Sealing\)", "default_headers"),
}


@pytest.mark.parametrize(
    ("make", "words", "hint"), [pytest.param(*row, id=name) for name, row in REFUSED.items()]
)
def test_it_is_named_with_what_to_set_instead(
    make: Callable[[], Any], words: str, hint: str
) -> None:
    with pytest.raises(BadOption, match=words):
        raise (found := refusal(make()))
    assert hint in (found.hint or "")


def test_what_is_for_other_places_does_not_matter() -> None:
    elsewhere = httpx.MockTransport(lambda _: None)
    passes(Sync(mounts={"all://elsewhere.example": elsewhere}))
    passes(Sync(verify=False), "http://127.0.0.1:1/v1")  # there is nothing to trust


def test_an_auth_of_the_client_itself_is_looked_at_when_it_is_asked() -> None:
    client = openai.OpenAI(api_key=KEY)
    signer = signer_of(client)
    client._client.auth = httpx.DigestAuth("user", "password")
    with pytest.raises(BadOption, match="DigestAuth"):
        signer._made("GET", "/files")


# --- proxies --------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_the_proxy_that_variables_name_passes_however_it_was_said(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://user:word@proxy.example:3128/")
    passes(Sync())
    passes(Async())
    passes(Sync(proxy=PROXY))
    assert "a proxy of its own" in refusal(Sync(proxy="http://other.example:3128")).message
    assert "a proxy of its own" in refusal(Sync(proxy="http://proxy.example:3129")).message


def test_none_where_variables_name_one_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:sk-canary@proxy.example:3128")
    found = refusal(Sync(trust_env=False))
    assert "no proxy where the proxy proxy.example:3128 (HTTPS_PROXY) is named" in found.message
    assert found.hint == "export NO_PROXY=gateway.example"
    assert "canary" not in everything(found)
    monkeypatch.setenv("NO_PROXY", "gateway.example")
    passes(Sync(trust_env=False))


def test_this_machine_is_never_behind_a_proxy_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "http://127.0.0.1:1/v1"
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    passes(Sync(), here)
    assert "a proxy of its own" in refusal(Sync(proxy="http://other.example:1"), here).message
    assert "a proxy of its own" in refusal(Sync(proxy=PROXY)).message  # it is not for https


# --- whom to trust --------------------------------------------------------------------------


def test_authorities_of_its_own_are_to_be_named_once_more(tmp_path: Path) -> None:
    path = make_certificate(tmp_path).path
    alone = ssl.create_default_context(cafile=str(path))
    added = httpx.create_ssl_context()
    added.load_verify_locations(cafile=path)
    for context in (alone, added):
        assert "has verify," in refusal(Sync(verify=context)).message
        passes(Sync(verify=context), own_trust=True)
        settings: Any = {"cacert": str(path), "journal": tmp_path / "journal.db"}
        AsyncUploader.from_openai(client_of(Sync(verify=context)), **settings)


def folder_of(certificate: Path, folder: Path) -> Path:
    """A folder as OpenSSL looks into it."""
    openssl = shutil.which("openssl")
    assert openssl
    command = [openssl, "x509", "-hash", "-noout", "-in", str(certificate)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    folder.mkdir()
    (folder / f"{done.stdout.strip()}.0").write_bytes(certificate.read_bytes())
    return folder


async def test_a_client_that_was_used_has_no_authorities_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A context takes from its folder what it needs as it goes, and shows it from then on.
    certificate = make_certificate(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder_of(certificate.path, tmp_path / "trusted")))

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(reply({"object": "list", "data": []}))

    async with listening_tls(serve, certificate) as url, Async() as http:
        assert (await http.get(url + "/files")).status_code == 200
        assert http._transport._pool._ssl_context.get_ca_certs()
        passes(http, url)
