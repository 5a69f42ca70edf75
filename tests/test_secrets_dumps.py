"""Canaries go through whole uploads that fail in every way, and nobody sees any of them."""

import asyncio
import base64
import logging
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import Handler, make_source, open_house
from leaks import everything, leaks, pickled, shown, written
from rich.pretty import pretty_repr
from test_cli import Shell, shell
from tls import Authority, listening_tls
from wire import Caller, Serve, answering, listening, reply

import chunkup.body
import chunkup.transport
import chunkup.worker
from chunkup import AsyncUploader, ChunkupError, Options
from chunkup.endpoint import resolve
from chunkup.veil import Veiled

__all__ = ["shell"]

KEY = "sk-Zq7vXw93LkPd0sTuHj5"
HEADER = "Hq8nVb52YtRm1cGeXo4"
PASSWORD = "Pw6jKz40WxUo3fDaVi9"
SECRETS = (KEY, HEADER, PASSWORD)
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
FRUGAL = Options(
    workers=2, retries=1, stall_timeout=0.5, offline_wait=0.0, looks=(0.0,), patience=0.0
)


@dataclass
class Watch:
    """All that was said while something failed."""

    folder: Path
    caplog: pytest.LogCaptureFixture
    said: list[str] = field(default_factory=list)

    def hear(self, thing: object) -> None:
        self.said.append(everything(thing) + pickled(thing))

    async def fails(self, url: str, *kinds: type[BaseException], retries: int = 1) -> None:
        """An upload does not get through, in one of these ways."""
        source = self.folder / "a.bin"
        make_source(source, 3000)
        async with AsyncUploader(
            base_url=url,
            headers={"X-Team": HEADER},
            journal=self.folder / "state" / "journal.db",
            part_size=1000,
            options=replace(FRUGAL, retries=retries),
        ) as uploader:
            with pytest.raises(kinds or ChunkupError) as caught:
                await uploader.upload(source, purpose="user_data", on_event=self.hear)
            self.said.append(shown(caught.value))
            book = await uploader.journal()
            for thing in (uploader, uploader.files, uploader.uploads, uploader._engine.endpoint):
                self.hear(thing)
            for line in await book.lines():
                self.hear(line)
                self.said.append(repr(await book.runs(line.job.id)))
        self.nothing_leaked()

    def nothing_leaked(self) -> None:
        records = [everything(record) for record in self.caplog.records]
        text = "\n".join([*self.said, *records, self.caplog.text, written(self.folder / "state")])
        assert not leaks(text, SECRETS)
        assert BASIC not in text


@pytest.fixture
async def watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Watch]:
    """Everything listens as closely as it can, asyncio's debug mode included."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login me password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # each callback is told, with its repr
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield (watch := Watch(tmp_path, caplog))
        watch.said.extend(str(one.message) for one in warned)
    loop.set_debug(False)
    watch.nothing_leaked()


def echo(status: int, *, html: bool = False, wait: str | None = None) -> Serve:
    """A server that repeats what it was sent, as gateways in debug mode do."""

    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            said = ", ".join(f"{name}: {value}" for name, value in asked.headers.items())
            body: object = {"error": {"message": said, "code": said, "type": said}}
            raw = f"<html><title>{said}</title>{said}".encode() if html else body
            await caller.say(reply(raw, status, {} if wait is None else {"Retry-After": wait}))

    return serve


async def reset(caller: Caller) -> None:
    await caller.head()
    caller.reset()


async def garbage(caller: Caller) -> None:
    """What it was sent, word for word, in the place of an answer."""
    raw = await caller.reader.readuntil(b"\r\n\r\n")
    await caller.say(raw)


async def silence(caller: Caller) -> None:
    """An Upload is opened, and nothing more is heard."""
    asked = await caller.request()
    if asked.target.endswith("/uploads"):
        upload = {
            "id": "upload_1",
            "object": "upload",
            "status": "pending",
            **asked.json,
            "created_at": 1,
            "expires_at": None,
        }
        await caller.say(reply(upload))
        await caller.request()
    await caller.for_ever()


WIRES: dict[str, Serve] = {
    "401": echo(401),
    "400": echo(400),
    "403 html": echo(403, html=True),
    "500": echo(500),
    "429": echo(429, wait="99999"),
    "redirect": answering(reply(None, 307, {"Location": "http://127.0.0.1:1/elsewhere"})),
    "success that is none": answering(reply([])),
    "reset": reset,
    "garbage": garbage,
    "silence": silence,
}


@pytest.mark.parametrize("name", WIRES)
async def test_no_answer_brings_a_secret_out(watch: Watch, name: str) -> None:
    async with listening(WIRES[name]) as wire:
        await watch.fails(wire.url, retries=0 if name == "silence" else 1)
    assert wire.connections


async def test_no_server_that_is_not_trusted_brings_a_secret_out(watch: Watch) -> None:
    pair = Authority(watch.folder / "authority").pair("127.0.0.1")
    async with listening_tls(reset, pair.context()) as url:
        await watch.fails(url)


@pytest.mark.parametrize("status", [407, 403, 502])
async def test_no_proxy_brings_a_secret_out(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    async with listening(echo(status)) as wire:
        monkeypatch.setenv("HTTPS_PROXY", wire.url.replace("//", f"//me:{PASSWORD}@"))
        await watch.fails("https://api.example/v1")
    assert wire.asked[0].headers["proxy-authorization"] == f"Basic {BASIC}"


async def test_no_unreachable_place_brings_a_secret_out(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch.fails("http://127.0.0.1:1/v1")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:1")
    await watch.fails("https://api.example/v1")


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": f"https://me:{PASSWORD}@api.example/v1"},
        {"base_url": f"https://api.example/v1?key={PASSWORD}"},
        {"base_url": f"//{PASSWORD} "},
        {"base_url": "http://api.example/v1"},
        {"api_key": KEY + "\n" + KEY},
        {"headers": {"X-Team": HEADER + "\r\nX: y"}},
        {"headers": {f"X {HEADER}": "y"}},
        {"headers": {"Authorization": f"Bearer {HEADER}"}},
        {"organization": f"{PASSWORD}\n"},
        {"preset": "nowhere"},
        {"client_key": "/nowhere"},
    ],
    ids=lambda given: f"{next(iter(given))} {len(str(given))}",
)
def test_what_cannot_be_is_refused_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Other: {HEADER}")
    given = {"base_url": "https://api.example/v1", **settings}
    with pytest.raises(ChunkupError) as caught:
        AsyncUploader(**given)
    # What was given stands in the caller's frame as well; what was not must not come in.
    theirs = [secret for secret in SECRETS if secret not in str(settings)]
    assert not leaks(shown(caught.value), theirs)
    own = "".join(map(str, [caught.value, caught.value.hint, *caught.value.args]))
    assert not leaks(own, [secret for secret in SECRETS if f"X {secret}" not in str(settings)])


@pytest.mark.parametrize("given", [KEY + "\n" + KEY, KEY.encode()], ids=["two lines", "bytes"])
async def test_a_source_of_keys_that_gives_nonsense_is_not_quoted(given: Any) -> None:
    endpoint = resolve(base_url="https://api.example/v1", api_key=lambda: given, environ={})
    with pytest.raises(ChunkupError) as caught:
        await endpoint.target("GET", "/files")
    assert not leaks(shown(caught.value), SECRETS)


CRASHES = [
    (chunkup.transport, "http_date"),
    (chunkup.transport, "read"),
    (chunkup.transport, "interpret"),
    (chunkup.transport, "URL"),
    (chunkup.worker, "FormBody"),
    (chunkup.body, "xxh3_128"),
]


@pytest.mark.parametrize(("module", "name"), CRASHES, ids=[name for _, name in CRASHES])
async def test_no_bug_of_ours_brings_a_secret_out(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """A traceback with all locals, as some programs print it."""

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=400)

    async with open_house(watch.folder / "server", key=KEY) as house:
        if name == "interpret":
            house.intercept = refuse
        monkeypatch.setattr(module, name, crash)
        await watch.fails(house.url, ZeroDivisionError, ExceptionGroup, ChunkupError)


def test_headers_show_their_names_alone() -> None:
    headers = Veiled({"Authorization": f"Bearer {KEY}", "X-Team": HEADER})
    for text in (repr(headers), str([headers]), pretty_repr({"of": headers}), f"{headers}"):
        assert "Authorization" in text
        assert not leaks(text, SECRETS)
    assert dict(headers) == {"Authorization": f"Bearer {KEY}", "X-Team": HEADER}


@pytest.mark.parametrize(
    ("headers", "text", "shown"),
    [
        ({"Authorization": f"Bearer {KEY}"}, f"key {KEY}.", "key [hidden]."),
        ({"Authorization": f"Bearer {KEY}"}, f'"Bearer {KEY}"', '"[hidden]"'),
        ({"X-Team": "vision"}, "the vision model", "the vision model"),
        ({"OpenAI-Organization": "org-0123456789"}, "no org-0123456789", "no org-0123456789"),
        ({"api-key": KEY, "X-Team": KEY + HEADER}, KEY + HEADER + KEY, "[hidden][hidden]"),
    ],
    ids=["key", "scheme", "word", "organization", "one in another"],
)
def test_what_a_server_repeats_is_hidden(headers: dict[str, str], text: str, shown: str) -> None:
    assert Veiled(headers).hide(text) == shown


async def test_no_command_shows_a_secret(shell: Shell) -> None:
    """A profile's values, the environment's and a proxy's, with every log there is."""
    config = shell.folder / "config.toml"
    config.write_text(
        f'[profiles.lab]\nbase_url = "{shell.house.url}"\napi_key = "env:LAB_KEY"\n'
        f'[profiles.lab.headers]\nX-Team = "{HEADER}"\n'
    )
    more = {
        "CHUNKUP_CONFIG": str(config),
        "LAB_KEY": KEY,
        "OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_API_KEY": PASSWORD,
        "AZURE_OPENAI_AD_TOKEN": PASSWORD,
        "OPENAI_CUSTOM_HEADERS": f"X-Other: {HEADER}",
        "PYTHONASYNCIODEBUG": "1",
        "HTTPS_PROXY": f"http://me:{PASSWORD}@127.0.0.1:1",
        "PYTHONWARNINGS": "default",
    }
    processes: list[bytes] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        for process in shell.started:
            if process.returncode is None:
                place = Path(f"/proc/{process.pid}")
                if place.is_dir():
                    processes.extend((place / name).read_bytes() for name in ("cmdline", "comm"))
        said = str(dict(request.headers))
        return web.json_response({"error": {"message": said}}, status=403)

    shell.house.intercept = intercept
    said = ""
    for words in (
        ("-vv", "upload", "a.bin", "-p", "user_data", "--profile", "lab", "--json"),
        ("-vv", "files", "list", "--profile", "lab"),
        ("doctor", "--profile", "lab", "--json"),
        ("profiles",),
        ("jobs", "--json"),
        ("-vv", "upload", "a.bin", "-p", "user_data", "--base-url", "https://api.example/v1"),
        ("-vv", "upload", "a.bin", "-p", "user_data", "--profile", "azure"),
        ("completion", "bash"),
    ):
        done = await shell.run(*words, **more)
        said += done.out + done.err
    assert "403" in said
    assert not leaks(said, SECRETS)
    assert BASIC not in said
    assert not leaks(written(shell.journal.parent), SECRETS)
    assert not leaks(b"\n".join(processes).decode(), SECRETS)
