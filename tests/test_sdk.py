"""Clients of the official SDK sign our requests: the judge is what they send themselves."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from elsewhere import in_a_thread
from front import Front, Seen, open_front
from house import HASTY, KEY, make_source
from wire import answering, everything, listening, reply

from chunkup import sdk
from chunkup.api import Api
from chunkup.blocking import Uploader
from chunkup.endpoint import resolve
from chunkup.errors import BadOption, ChunkupError, Failed, PlainHttp, Unreachable
from chunkup.sdk import signer_of
from chunkup.uploader import AsyncUploader

SIZE = 2500
ENTRA = "eyJ0eXAiOiJKV1Qi.eyJvaWQiOiIxMjM0In0.c2lnbmF0dXJl"
AZURE = "https://res.openai.azure.com"
VERSION = "2024-10-21"
Client = openai.OpenAI | openai.AsyncOpenAI
Make = Callable[[str], Client]

# What the oldest releases do not have.
no_callables = not hasattr(openai.OpenAI(api_key=KEY), "_api_key_provider")
no_workloads = not hasattr(openai, "auth")
callables = pytest.mark.skipif(no_callables, reason="this SDK takes no callable for a key")
workloads = pytest.mark.skipif(no_workloads, reason="this SDK knows no workload identities")


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(tmp_path / "server") as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    make_source(path, SIZE)
    return path


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS", "ADMIN_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


async def token() -> str:
    return ENTRA


class Stamped(openai.OpenAI):
    """A subclass with ways of its own."""

    @property
    def auth_headers(self) -> dict[str, str]:
        return {}

    def _prepare_request(self, request: Any) -> None:
        request.headers["X-Stamp"] = request.method


# --- every client there is ------------------------------------------------------------------

# Each with the credential and the query that arrive, and the path before /files and /uploads.
CLIENTS: dict[str, tuple[Make, str, str, str]] = {
    "OpenAI": (
        lambda url: openai.OpenAI(base_url=url + "/v1", api_key=KEY),
        *(f"Bearer {KEY}", "", "/v1"),
    ),
    "AsyncOpenAI": (
        lambda url: openai.AsyncOpenAI(base_url=url + "/v1/", api_key=KEY),
        *(f"Bearer {KEY}", "", "/v1"),
    ),
    "AzureOpenAI": (
        lambda url: openai.AzureOpenAI(azure_endpoint=url, api_version=VERSION, api_key=KEY),
        *(f"api-key {KEY}", f"api-version={VERSION}", "/openai"),
    ),
    "AsyncAzureOpenAI": (
        lambda url: openai.AsyncAzureOpenAI(azure_endpoint=url, api_version=VERSION, api_key=KEY),
        *(f"api-key {KEY}", f"api-version={VERSION}", "/openai"),
    ),
    "a deployment": (
        lambda url: openai.AzureOpenAI(
            azure_endpoint=url, azure_deployment="gpt", api_version=VERSION, api_key=KEY
        ),
        *(f"api-key {KEY}", f"api-version={VERSION}", "/openai"),
    ),
    "a token": (
        lambda url: openai.AzureOpenAI(
            azure_endpoint=url, api_version=VERSION, azure_ad_token=ENTRA
        ),
        *(f"Bearer {ENTRA}", f"api-version={VERSION}", "/openai"),
    ),
    "a provider of tokens": (
        lambda url: openai.AzureOpenAI(
            azure_endpoint=url, api_version=VERSION, azure_ad_token_provider=lambda: ENTRA
        ),
        *(f"Bearer {ENTRA}", f"api-version={VERSION}", "/openai"),
    ),
    "an async provider of tokens": (
        lambda url: openai.AsyncAzureOpenAI(
            azure_endpoint=url,
            azure_deployment="gpt",
            api_version=VERSION,
            azure_ad_token_provider=token,
        ),
        *(f"Bearer {ENTRA}", f"api-version={VERSION}", "/openai"),
    ),
    "Azure's v1": (
        lambda url: openai.OpenAI(
            base_url=url + "/openai/v1", api_key=KEY, default_query={"api-version": "preview"}
        ),
        *(f"Bearer {KEY}", "api-version=preview", "/openai/v1"),
    ),
}
NEWER: dict[str, tuple[Make, str, str, str]] = {
    "a callable": (
        lambda url: openai.OpenAI(base_url=url + "/v1", api_key=lambda: KEY),
        *(f"Bearer {KEY}", "", "/v1"),
    ),
    "an async callable": (
        lambda url: openai.AsyncOpenAI(base_url=url + "/openai/v1", api_key=token),
        *(f"Bearer {ENTRA}", "", "/openai/v1"),
    ),
}
every_client = pytest.mark.parametrize(
    ("make", "credential", "query", "base"),
    [pytest.param(*row, id=name) for name, row in CLIENTS.items()]
    + [pytest.param(*row, id=name, marks=callables) for name, row in NEWER.items()],
)


@every_client
async def test_a_file_goes_up_in_parts_as_the_client_would_send_them(
    front: Front, tmp_path: Path, source: Path, make: Make, credential: str, query: str, base: str
) -> None:
    front.accepted |= {ENTRA}
    client = make(front.url)
    async with AsyncUploader.from_openai(
        client, journal=tmp_path / "journal.db", part_size=1000, options=HASTY
    ) as uploader:
        file = await uploader.upload(source, purpose="user_data")

    assert front.house.content(file.id) == source.read_bytes()
    assert sorted(front.house.calls) == ["complete", "create", "part", "part", "part"]
    assert {(one.base, one.query) for one in front.seen} == {(base, query)}
    # Before 2.0 the SDK said a key of Azure's twice.
    assert {one.credential.split(" and ")[0] for one in front.seen} == {credential}
    for one in front.seen:
        assert not [name for name in one.headers if name.lower().startswith("x-stainless")]
        assert one.headers["User-Agent"].startswith("chunkup/")


# Whatever a client adds to its requests, in whatever way.
ADDED: dict[str, Make] = {
    "names": lambda url: openai.OpenAI(
        base_url=url + "/v1", api_key=KEY, organization="org-1", project="proj_1"
    ),
    "headers": lambda url: openai.AsyncOpenAI(
        base_url=url + "/v1",
        api_key=KEY,
        default_headers={"X-Team": "vision", "User-Agent": "acme/2", "OpenAI-Organization": "org"},
    ),
    "query": lambda url: openai.OpenAI(
        base_url=url + "/v1", api_key=KEY, default_query={"a": "b c", "d": ["e", "f"]}
    ),
    "a subclass": lambda url: Stamped(base_url=url + "/v1", api_key=KEY),
    "a cookie": lambda url: openai.OpenAI(
        base_url=url + "/v1",
        api_key=KEY,
        http_client=openai.DefaultHttpxClient(
            cookies={"crumb": "of a gateway"}, headers={"X-Http": "1"}, params={"p": "q"}
        ),
    ),
    "an auth": lambda url: openai.OpenAI(
        base_url=url + "/v1",
        api_key=KEY,
        http_client=openai.DefaultHttpxClient(auth=("user", "password")),
    ),
    "an async auth": lambda url: openai.AsyncOpenAI(
        base_url=url + "/v1",
        api_key=KEY,
        http_client=openai.DefaultAsyncHttpxClient(auth=("user", "password")),
    ),
    "an Azure key that is omitted": lambda url: openai.AzureOpenAI(
        azure_endpoint=url,
        api_version=VERSION,
        azure_ad_token="short",
        default_headers={"Ocp-Apim-Subscription-Key": "gateway"},
    ),
}
ALL = {**{name: row[0] for name, row in CLIENTS.items()}, **ADDED}
# The body, the answer, the connection, the attempt: each sender says these for itself.
OF_THE_SENDING = ("accept", "accept-encoding", "connection", "content-type", "host")


def said(seen: Seen, client: Client) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in seen.headers.items()
        if name.lower() not in OF_THE_SENDING
        and not name.lower().startswith("x-stainless-")
        and (name.lower(), value) != ("user-agent", client.user_agent)
        and not value.startswith("chunkup/")
    }


async def list_by_itself(client: Client) -> None:
    """As the client lists Files, and is done then; its answer does not matter."""
    try:
        if isinstance(client, openai.AsyncOpenAI):
            async with client:
                await client.files.list()
        else:
            with client:
                await asyncio.to_thread(client.files.list)
    except openai.APIStatusError:
        pass


async def ask(client: Client, *, file_id: str = "file-unknown") -> None:
    """One GET as the engine sends it, whatever its answer is."""
    api = Api(resolve(signer=signer_of(client)), stall_timeout=9, complete_timeout=9)
    api.open()
    try:
        await api.retrieve(file_id)
    except Failed:
        pass
    finally:
        await api.close()


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in ALL.items()])
async def test_what_arrives_is_what_the_client_itself_sends(front: Front, make: Make) -> None:
    client = make(front.url)
    client.max_retries = 0
    await list_by_itself(client)
    await ask(client)
    theirs, ours = front.seen[0], front.of("GET", "/files/file-unknown")[0]
    assert said(ours, client) == said(theirs, client)
    assert (ours.base, ours.query) == (theirs.base, theirs.query)


async def test_a_deployment_in_the_address_is_not_where_files_are(front: Front) -> None:
    # As the oldest releases have it of themselves, and each that was given it by hand.
    client = openai.AsyncAzureOpenAI(
        base_url=front.url + "/openai/deployments/gpt", api_version=VERSION, api_key=KEY
    )
    assert signer_of(client).base_url == front.url + "/openai"
    await ask(client)
    (seen,) = front.seen
    assert (seen.base, seen.path) == ("/openai", "/files/file-unknown")


async def test_a_deployment_is_taken_away_from_azure_only(front: Front) -> None:
    client = openai.AsyncOpenAI(base_url=front.url + "/deployments/gpt", api_key=KEY)
    await ask(client)
    assert front.seen[0].path == "/deployments/gpt/files/file-unknown"


async def test_an_id_that_a_server_thought_up_stays_one_word_of_the_path(front: Front) -> None:
    await ask(openai.OpenAI(base_url=front.url + "/v1", api_key=KEY), file_id="../x?y#z%2e")
    assert front.seen[0].path == "/files/..%2Fx%3Fy%23z%252e"


# --- keys that change -----------------------------------------------------------------------


@callables
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
async def test_a_key_that_the_server_refuses_is_asked_for_once_more(
    front: Front, tmp_path: Path, source: Path, kind: type[Any]
) -> None:
    front.accepted = {"sk-second"}
    given = ["sk-first"]

    def key() -> str:
        if front.refused:
            given.append("sk-second")
        return given[-1]

    async def async_key() -> str:
        return key()

    callable_key = async_key if kind is openai.AsyncOpenAI else key
    client = kind(base_url=front.url + "/v1", api_key=callable_key)
    async with AsyncUploader.from_openai(
        client, journal=tmp_path / "journal.db", part_size=1000, options=HASTY
    ) as uploader:
        before = await uploader.account()
        file = await uploader.upload(source, purpose="user_data")
        assert await uploader.account() == before
    assert file.bytes == SIZE
    assert front.refused == 1


@callables
async def test_an_asynchronous_client_is_asked_on_the_loop_of_the_upload(front: Front) -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    async def key() -> str:
        seen.append(asyncio.get_running_loop())
        return KEY

    await ask(openai.AsyncOpenAI(base_url=front.url + "/v1", api_key=key))
    assert set(seen) == {asyncio.get_running_loop()}


async def test_a_blocking_source_of_tokens_holds_up_nobody(front: Front) -> None:
    loop, free = asyncio.get_running_loop(), threading.Event()
    front.accepted = {ENTRA}

    def provide() -> str:
        loop.call_soon_threadsafe(free.set)
        assert free.wait(30), "the loop is held up"
        return ENTRA

    await ask(
        openai.AzureOpenAI(
            azure_endpoint=front.url, api_version=VERSION, azure_ad_token_provider=provide
        )
    )
    assert front.refused == 0


async def test_what_a_source_raises_is_a_stop_that_shows_only_its_kind() -> None:
    def provide() -> str:
        raise LookupError("sk-canary")

    signer = signer_of(
        openai.AzureOpenAI(
            azure_endpoint=AZURE, api_version=VERSION, azure_ad_token_provider=provide
        )
    )
    with pytest.raises(Unreachable, match=r"\(LookupError\), so nothing was sent") as failed:
        await signer.sign("GET", "/files")
    assert not failed.value.sent
    assert "canary" not in failed.value.message


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
async def test_a_source_that_hangs_is_waited_for_within_bounds(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    monkeypatch.setattr(sdk, "_PATIENCE", 0.05)
    free = threading.Event()

    async def hang() -> str:
        await asyncio.Event().wait()
        return ENTRA

    provide = hang if kind is openai.AsyncAzureOpenAI else lambda: str(free.wait(30))
    client = kind(azure_endpoint=AZURE, api_version=VERSION, azure_ad_token_provider=provide)
    with pytest.raises(Unreachable, match="TimeoutError"):
        await signer_of(client).sign("GET", "/files")
    free.set()


@pytest.mark.parametrize("key", ["sk-canary\r\nX-Evil: 1", "sk-canary\u2026", "sk canary\x00"])
async def test_what_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    client = openai.AzureOpenAI(azure_endpoint=AZURE, api_version=VERSION, azure_ad_token=key)
    with pytest.raises(BadOption, match="characters that no header can carry") as refused:
        await signer_of(client).sign("GET", "/files")
    assert "canary" not in everything(refused.value)


async def test_an_empty_header_is_sent_as_it_is() -> None:
    client = openai.OpenAI(api_key=KEY, default_headers={"Authorization": "", "X-Empty": ""})
    _, headers = await signer_of(client).sign("GET", "/files")
    assert (headers["authorization"], headers["x-empty"]) == ("", "")
    assert await signer_of(client).secret() is None


@workloads
async def test_the_key_of_an_administrator_is_never_sent() -> None:
    keys: Any = {"api_key": KEY, "admin_api_key": "sk-admin-canary"}
    signer = signer_of(openai.OpenAI(**keys))
    assert (await signer.sign("GET", "/files"))[1] == {"authorization": f"Bearer {KEY}"}
    with pytest.raises(Unreachable, match="could not make the request") as failed:
        await signer_of(openai.OpenAI(admin_api_key="sk-admin-canary")).sign("GET", "/files")
    assert "canary" not in everything(failed.value)


@workloads
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
async def test_a_workload_has_its_token_exchanged_by_the_client(
    front: Front, kind: type[Any]
) -> None:
    front.accepted = {"at-1"}
    client = kind(
        base_url=front.url + "/v1",
        workload_identity={
            "identity_provider_id": "idp",
            "service_account_id": "account",
            "provider": {"token_type": "jwt", "get_token": lambda: "subject"},
        },
    )
    token = reply({"access_token": "at-1", "expires_in": 3600})
    async with listening(answering(token)) as exchange:
        client._workload_identity_auth.token_exchange_url = exchange.url
        await ask(client)
        assert await signer_of(client).secret() is None
    assert front.seen[0].credential == "Bearer at-1"


# --- whose jobs -----------------------------------------------------------------------------


async def account_of(client: Client, journal: Path, **settings: Any) -> Any:
    async with AsyncUploader.from_openai(client, journal=journal, **settings) as uploader:
        return await uploader.account()


async def test_an_account_is_the_same_with_a_client_and_without(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    client = openai.OpenAI(api_key=KEY, organization="org-1", project="proj_1")
    async with AsyncUploader(
        api_key=KEY, organization="org-1", project="proj_1", journal=journal
    ) as plain:
        assert await account_of(client, journal) == await plain.account()
        other = client.with_options(api_key="sk-other")
        assert await account_of(other, journal) != await plain.account()
        assert (
            await account_of(client.with_options(project="proj_2"), journal)
        ).project == "proj_2"


async def test_a_key_of_azures_names_somebody(tmp_path: Path) -> None:
    async def named(key: str) -> str | None:
        client = openai.AzureOpenAI(azure_endpoint=AZURE, api_version=VERSION, api_key=key)
        found: str | None = (await account_of(client, tmp_path / "journal.db")).key_hash
        return found

    assert await named("first")
    assert await named("first") == await named("first") != await named("second")


async def test_who_is_named_in_a_header_is_whose_account_it_is(tmp_path: Path) -> None:
    client = openai.OpenAI(
        api_key=KEY, organization="org-1", default_headers={"OpenAI-Organization": "org-2"}
    )
    assert (await account_of(client, tmp_path / "journal.db")).organization == "org-2"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda token: openai.AzureOpenAI(
                azure_endpoint=AZURE, api_version=VERSION, azure_ad_token=token
            ),
            id="Azure",
        ),
        pytest.param(
            lambda token: openai.OpenAI(base_url=AZURE + "/openai/v1", api_key=token), id="v1"
        ),
    ],
)
async def test_a_token_of_an_hour_names_nobody(
    tmp_path: Path, make: Callable[[str], Client]
) -> None:
    journal = tmp_path / "journal.db"
    first, second = ENTRA, ENTRA.replace("c2ln", "bmV3")
    before = await account_of(make(first), journal)
    assert before.key_hash is None
    assert await account_of(make(second), journal) == before


async def test_a_key_that_is_replaced_makes_nobody_somebody_else() -> None:
    client = openai.OpenAI(api_key="sk-first")
    signer = signer_of(client)
    await signer.sign("GET", "/files")
    client.api_key = "sk-second"
    assert (await signer.sign("GET", "/files"))[1]["authorization"] == "Bearer sk-second"
    assert await signer.secret() == "sk-first"


async def test_what_stopped_goes_on_with_another_client_of_the_account(
    front: Front, tmp_path: Path, source: Path
) -> None:
    async def stop(request: web.Request, handler: Any) -> web.StreamResponse:
        if "complete" in request.path:
            return web.json_response({"error": {"message": "not now"}}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    settings: dict[str, Any] = {
        "journal": tmp_path / "journal.db",
        "part_size": 1000,
        "options": HASTY,
    }
    front.house.intercept = stop
    url = front.url + "/v1"
    async with AsyncUploader.from_openai(
        openai.OpenAI(base_url=url, api_key=KEY), **settings
    ) as uploader:
        with pytest.raises(ChunkupError) as stopped:
            await uploader.upload(source, purpose="user_data")
    front.house.intercept = None
    assert stopped.value.job_id is not None

    front.accepted.add("sk-stranger")
    stranger = openai.AsyncOpenAI(base_url=url, api_key="sk-stranger")
    async with AsyncUploader.from_openai(stranger, **settings) as uploader:
        assert [result async for result in uploader.resume_all()] == []
    async with AsyncUploader.from_openai(
        openai.AsyncOpenAI(base_url=url, api_key=KEY), **settings
    ) as uploader:
        file = await uploader.resume(stopped.value.job_id)
    assert front.house.calls.count("part") == 3
    assert front.house.content(file.id) == source.read_bytes()


async def test_no_key_stays_anywhere(
    front: Front, tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "sk-canary-7f3a9c"
    front.accepted = {canary}
    caplog.set_level(logging.DEBUG)
    client = openai.OpenAI(
        base_url=front.url + "/v1", api_key=canary, default_headers={"X-Secret": canary}
    )
    events: list[object] = []
    async with AsyncUploader.from_openai(
        client, journal=tmp_path / "journal.db", part_size=1000, options=HASTY
    ) as uploader:
        await uploader.upload(source, purpose="user_data", on_event=events.append)
        assert canary not in repr(uploader._engine.endpoint) + repr(vars(uploader))
    front.accepted = set()
    async with AsyncUploader.from_openai(
        client, journal=tmp_path / "journal.db", options=HASTY
    ) as uploader:
        with pytest.raises(ChunkupError) as refused:
            await uploader.upload(source, purpose="user_data")
    assert canary not in everything(refused.value) + repr(events) + caplog.text
    for path in tmp_path.glob("journal.db*"):
        assert path.is_dir() or canary.encode() not in path.read_bytes()


# --- where requests go ----------------------------------------------------------------------


async def test_a_request_that_leads_elsewhere_is_not_sent(front: Front) -> None:
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY)
    api = Api(resolve(signer=signer_of(client)), stall_timeout=9, complete_timeout=9)
    for elsewhere in (
        "https://elsewhere.example/v1",
        front.url + "/v2",
        front.url.replace("http", "https") + "/v1",
        front.url + "0/v1",
    ):
        client.base_url = elsewhere
        api.open()
        with pytest.raises(BadOption, match="leads away from the base_url that it had"):
            await api.retrieve("file-x")
        await api.close()
    assert not front.seen


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
async def test_an_auth_that_would_go_elsewhere_first_is_not_followed(kind: type[Any]) -> None:
    client = kind(api_key=KEY)
    request = type(client._client.build_request("GET", AZURE))
    base = next(each for each in type(client._client).__mro__ if each.__name__.endswith("Client"))
    family = sys.modules[
        next(c for c in base.__mro__ if c.__module__.partition(".")[0] != "openai").__module__
    ]

    class Elsewhere(family.Auth):  # type: ignore[name-defined, misc]
        def auth_flow(self, _request: Any) -> Any:
            yield request("POST", "https://login.example/token")

    client._client.auth = Elsewhere()
    with pytest.raises(BadOption, match="leads away"):
        await signer_of(client).sign("GET", "/files")


def test_a_key_does_not_cross_a_network_in_the_open(tmp_path: Path) -> None:
    client = openai.OpenAI(base_url="http://gateway.example/v1", api_key=KEY)
    with pytest.raises(PlainHttp):
        AsyncUploader.from_openai(client, journal=tmp_path / "journal.db")
    AsyncUploader.from_openai(client, journal=tmp_path / "journal.db", allow_http=True)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:password@gateway.example/v1",
        "https://gateway.example/v1?team=vision",
        "https://gateway.example/v1?team=vision/",
        "https://gateway.example/v1#top",
    ],
)
def test_an_address_is_an_address_and_nothing_more(base_url: str) -> None:
    with pytest.raises(BadOption, match="the client's base_url") as refused:
        signer_of(openai.OpenAI(base_url=base_url, api_key=KEY))
    assert "password@" not in everything(refused.value)
    assert "default_query=" in (refused.value.hint or "")


# --- what is no client ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(lambda: openai, "the module openai", id="module"),
        pytest.param(lambda: None, "class NoneType", id="None"),
        pytest.param(lambda: "sk-canary", "class str", id="a key"),
        pytest.param(lambda: openai.OpenAI, "class type", id="a class"),
        pytest.param(
            lambda: openai.OpenAI(api_key=KEY).with_raw_response,
            "class OpenAIWithRawResponse",
            id="raw",
        ),
        pytest.param(
            lambda: openai.AsyncOpenAI(api_key=KEY).with_streaming_response,
            "class AsyncOpenAIWithStreamedResponse",
            id="streaming",
        ),
        pytest.param(lambda: openai.OpenAI(api_key=KEY).files, "class Files", id="files"),
    ],
)
def test_what_is_no_client_is_named(given: Callable[[], Any], words: str) -> None:
    with pytest.raises(BadOption, match=words) as refused:
        AsyncUploader.from_openai(given())
    assert "canary" not in everything(refused.value)
    assert "from_openai(openai.OpenAI())" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "https://elsewhere.example/v1"),
        ("api_key", "sk-other"),
        ("organization", "org-other"),
        ("project", "proj_other"),
        ("no_key", True),
        ("query", {"a": "b"}),
    ],
)
def test_what_the_client_answers_for_is_not_said_twice(name: str, value: object) -> None:
    settings: Any = {name: value}
    with pytest.raises(BadOption, match=f"{name} is the client's own affair"):
        Uploader.from_openai(openai.OpenAI(api_key=KEY), **settings)


async def test_headers_may_be_added(front: Front, tmp_path: Path, source: Path) -> None:
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, default_headers={"X-A": "1"})
    async with AsyncUploader.from_openai(
        client, journal=tmp_path / "journal.db", options=HASTY, headers={"x-a": "2", "X-B": "3"}
    ) as uploader:
        await uploader.upload(source, purpose="user_data")
    assert {(one.headers["X-A"], one.headers["X-B"]) for one in front.seen} == {("2", "3")}


@pytest.mark.parametrize("step", ["_prepare_options", "_build_request", "_prepare_request"])
def test_a_release_that_goes_other_ways_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    client = openai.OpenAI(api_key=KEY)
    for kind in type(client).__mro__:
        if step in vars(kind):
            monkeypatch.delattr(kind, step)
    with pytest.raises(BadOption, match=f"how openai {openai.__version__} makes requests"):
        signer_of(client)


@workloads
def test_what_signs_bodies_is_refused_by_name() -> None:
    client = openai.OpenAI(api_key=KEY)
    client._provider_runtime = object()  # type: ignore[assignment]
    with pytest.raises(BadOption, match="the client's provider signs requests together with"):
        signer_of(client)


@workloads
def test_an_identity_that_is_a_certificate_is_refused_by_name() -> None:
    if not hasattr(openai.auth, "x509_workload_identity"):
        pytest.skip("this SDK knows no certificates")
    identity = openai.auth.x509_workload_identity(identity_provider_id="a", service_account_id="b")
    client = openai.OpenAI(workload_identity=identity)
    with pytest.raises(BadOption, match="workload_identity is a certificate") as refused:
        signer_of(client)
    assert "client_cert=" in (refused.value.hint or "")


# --- programs without a loop ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["OpenAI", "AsyncOpenAI", "AsyncAzureOpenAI"])
def test_blocking_calls_are_signed_by_either_kind_of_client(
    tmp_path: Path, source: Path, name: str
) -> None:
    make, credential, _, _ = CLIENTS[name]
    with in_a_thread(lambda: open_front(tmp_path / "server")) as front:
        client = make(front.url)
        with Uploader.from_openai(
            client, journal=tmp_path / "journal.db", options=HASTY
        ) as uploader:
            file = uploader.upload(source, purpose="user_data")
        assert {one.credential.split(" and ")[0] for one in front.seen} == {credential}
        assert file.bytes == SIZE


async def test_blocking_calls_work_where_a_loop_runs(
    front: Front, tmp_path: Path, source: Path
) -> None:
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY)

    def upload() -> int | None:
        async def inside() -> int | None:
            with Uploader.from_openai(
                client, journal=tmp_path / "journal.db", options=HASTY
            ) as uploader:
                return uploader.upload(source, purpose="user_data").bytes

        return asyncio.run(inside())

    assert await asyncio.to_thread(upload) == SIZE


def test_nothing_loads_the_sdk_but_its_user() -> None:
    code = "import sys, chunkup.uploader, chunkup.sdk; print('openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_making_one_asks_nothing(tmp_path: Path) -> None:
    def provide() -> str:
        raise AssertionError("it was asked")

    client = openai.AzureOpenAI(
        azure_endpoint=AZURE, api_version=VERSION, azure_ad_token_provider=provide
    )
    AsyncUploader.from_openai(client, journal=tmp_path / "journal.db")
