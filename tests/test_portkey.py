"""Through Portkey's own gateway, by parts: its npm package, with versions that work together.

It buffers every request about Uploads, writes forms anew under its own boundaries, and says 500
for whatever goes wrong behind it.
"""

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from counterparts import Counterpart, installed, started
from gateway import gateway
from house import HASTY, KEY, Handler, House, make_source
from test_cli import Shell, shell
from test_serve import serving

from chunkup import AsyncUploader

__all__ = ["shell"]

PACKAGE: Final = {"@portkey-ai/gateway": "1.15.2"}
# What the package asks for loosely, as it worked: later ones break it, see test_portkey_later.py.
WORKING: Final = {"@hono/node-server": "1.13.5", "hono": "4.9.7", "@hono/node-ws": "1.2.0"}
PROGRAM: Final = (
    *("node", "node_modules/@portkey-ai/gateway/build/start-server.js", "--headless"),
)
CANARY: Final = "pk-canary-5up3r53cr37"


@contextmanager
def running(name: str, overrides: Mapping[str, str]) -> Iterator[Counterpart]:
    with started(PROGRAM, folder=installed(name, PACKAGE, overrides)) as counterpart:
        yield counterpart


@pytest.fixture(scope="module")
def shared_portkey() -> Iterator[Counterpart]:
    with running("portkey", WORKING) as counterpart:
        yield counterpart


@pytest.fixture
def portkey(shared_portkey: Counterpart) -> Iterator[Counterpart]:
    """The gateway; what it says meanwhile is shown beside a test that fails."""
    yield shared_portkey
    print(shared_portkey.news())
    assert shared_portkey.process.poll() is None, "the gateway did not survive this test"


def to(url: str, **more: str) -> dict[str, str]:
    """The headers that let the gateway ask the server at this base URL."""
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": url, **more}


def through(portkey: Counterpart, house: House, journal: Path, **changes: Any) -> AsyncUploader:
    """An uploader of this process whose every request takes that way."""
    usual = {"base_url": portkey.url + "/v1", "headers": to(house.url), "options": HASTY}
    return AsyncUploader(api_key=KEY, journal=journal, part_size=1000, **{**usual, **changes})


def behind(shell: Shell, portkey: Counterpart, headers: Mapping[str, str] | None = None) -> Shell:
    """The shell as somebody has it who goes through the gateway."""
    lines = "\n".join(
        f"{name}: {value}" for name, value in (headers or to(shell.house.url)).items()
    )
    return replace(
        shell,
        environ={
            **shell.environ,
            "OPENAI_BASE_URL": portkey.url + "/v1",
            "CHUNKUP_HEADERS": lines,
        },
    )


def retrying(url: str) -> dict[str, str]:
    """The headers that let the gateway repeat what failed behind it, by itself."""
    config = {"custom_host": url, "retry": {"attempts": 2, "on_status_codes": [500, 503]}}
    return {"x-portkey-provider": "openai", "x-portkey-config": json.dumps(config)}


# --- what goes through ------------------------------------------------------------------------


async def test_a_file_goes_through_by_parts_and_arrives_whole(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / 'train ü".jsonl'
    make_source(source, 20_500)
    async with through(portkey, house, journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", expires_after=7200)
    (row,) = house.files
    assert (row.id, row.filename, row.purpose) == (file.id, source.name, "user_data")
    assert house.content(file.id) == source.read_bytes()
    assert house.calls == ["create", *["part"] * 21, "complete"]


async def test_every_command_works_behind_it(portkey: Counterpart, shell: Shell) -> None:
    here = behind(shell, portkey)
    done = await here.upload("a.bin")
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()
    again = await here.run("resume")
    assert (again.code, again.out) == (0, ""), again.err


async def test_its_own_keys_come_from_a_profile_and_stay_in_its_headers(
    portkey: Counterpart, shell: Shell
) -> None:
    (shell.folder / "config.toml").write_text(
        "[profiles.portkey.headers]\n"
        'x-portkey-provider = "openai"\n'
        f'x-portkey-custom-host = "{shell.house.url}"\n'
        'x-portkey-api-key = "env:PORTKEY_API_KEY"\n'
    )
    sent: list[Mapping[str, str]] = []
    reached: list[Mapping[str, str]] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        reached.append(request.headers)
        return await handler(request)

    shell.house.intercept = intercept
    async with gateway(portkey.url) as hop:
        hop.onward = lambda passing: sent.append(passing.headers)
        done = await shell.upload(
            *("a.bin", "--profile", "portkey", "-H", "x-portkey-virtual-key: env:VIRTUAL"),
            CHUNKUP_CONFIG="config.toml",
            OPENAI_BASE_URL=hop.url,
            PORTKEY_API_KEY=CANARY + "-1",
            VIRTUAL=CANARY + "-2",
        )
    assert done.code == 0, done.err
    assert len(sent) == len(reached) == 23
    for headers in sent:
        assert headers["x-portkey-api-key"] == CANARY + "-1"
        assert headers["x-portkey-virtual-key"] == CANARY + "-2"
        assert headers["Authorization"] == f"Bearer {KEY}"
    for headers in reached:
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert CANARY not in str(headers)
    assert CANARY not in done.out + done.err
    for path in shell.journal.parent.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


async def test_content_with_every_usual_boundary_in_it_arrives(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    known = [
        "BBB",
        "boundary",
        "----formdata-undici-012345678901",
        "----WebKitFormBoundary7MA4",
        "-",
    ]
    source = tmp_path / "a.bin"
    source.write_bytes("\r\n".join(f"--{each}\r\n\r\n--{each}--" for each in known).encode() * 50)
    # It looks for the boundary anywhere in the content, even without the line and the hyphens.
    head = b'--BBB\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n'
    bare = head + b".BBB.\r\n--BBB--"
    kind = {"Content-Type": "multipart/form-data; boundary=BBB"}
    async with (
        aiohttp.ClientSession(headers=to(house.url)) as session,
        session.post(f"{portkey.url}/v1/uploads/u/parts", data=bare, headers=kind) as answer,
    ):
        assert answer.status == 500
        assert "Failed to parse body as FormData" in await answer.text()
    async with through(portkey, house, journal) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert house.content(file.id) == source.read_bytes()
    assert house.calls.count("part") == len(house.arrivals) == -(-source.stat().st_size // 1000)


async def test_an_upload_is_cancelled_through_it(portkey: Counterpart, shell: Shell) -> None:
    here = behind(shell, portkey)
    job = await here.half_sent(base_url=portkey.url + "/v1", headers=to(shell.house.url))
    cancelled = await here.run("cancel", job)
    assert cancelled.code == 0, cancelled.err
    assert shell.house.calls == ["cancel"]
    (upload,) = shell.house.store.uploads()
    assert upload.status == "cancelled"


# --- 300 MB, killed in the middle -----------------------------------------------------------

BIG: Final = 300 * 10**6


def write_big(path: Path) -> str:
    """Write 300 MB, no two megabytes alike; their MD5."""
    digest = hashlib.md5()
    with path.open("wb") as out:
        for number in range(BIG // 10**6):
            block = random.Random(number).randbytes(10**6)
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


async def killed_after(shell: Shell, parts: int, *arguments: str) -> str:
    """Run an upload, and kill it as soon as so many parts have receipts; the job."""
    process = await shell.start("upload", *arguments, "--json")
    assert process.stdout is not None
    accepted = 0
    async for line in process.stdout:
        event = json.loads(line)
        accepted += event["event"] == "part_accepted"
        if accepted == parts:
            break
    process.kill()
    await process.communicate()
    assert process.returncode == -9
    return str(event["job"])


async def test_300_mb_arrive_whole_though_the_client_is_killed_in_the_middle(
    portkey: Counterpart, shell: Shell, tmp_path: Path
) -> None:
    md5 = await asyncio.to_thread(write_big, shell.folder / "big.bin")
    with serving("--dir", str(tmp_path / "kept")) as (url, _):
        here = behind(shell, portkey, to(url))
        sizes = ("--part-size", "16MB", "--workers", "4")
        job = await killed_after(here, 5, "big.bin", "-p", "user_data", *sizes)
        stopped = (await here.jobs())[job]
        assert stopped.done >= 5 * 16 * 10**6
        done = await here.run("resume", job, "--json", *sizes[2:])
        assert done.code == 0, done.err
        told = [json.loads(line) for line in done.out.splitlines()]
        parts = [line for line in told if line["event"] == "part_accepted"]
        assert sum(part["stop"] - part["start"] for part in parts) == BIG - stopped.done
        (file_id,) = [line["file"]["id"] for line in told if line["event"] == "completed"]
        arrived = hashlib.md5()
        headers = {**to(url), "Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{portkey.url}/v1/files/{file_id}/content") as content,
        ):
            async for block in content.content.iter_any():
                arrived.update(block)
        assert arrived.hexdigest() == md5
        async with session_to(url) as session, session.get(f"{url}/files") as answer:
            assert [each["id"] for each in (await answer.json())["data"]] == [file_id]


def session_to(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})
