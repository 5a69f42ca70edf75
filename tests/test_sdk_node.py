"""The official SDK for Node on the embedded server, alone and beside chunkup."""

import asyncio
import base64
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from counterparts import installed
from house import KEY, Handler, House, call_of, drop, make_source

from chunkup.models import RemoteFile

SDK: Final = {"openai": "6.49.0"}
DRIVER: Final = Path(__file__).parent / "data" / "node" / "sdk.mjs"
HOSTILE: Final = 'a "quoted" né 你好.jsonl'
LIMIT: Final = 1 << 24


class SdkError(Exception):
    """What the SDK threw: its class in ``kind``, and its fields."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said["message"])
        self.kind = said["class"]
        self.said = said


@dataclass
class Sdk:
    """A process of Node that holds a client of the SDK."""

    process: asyncio.subprocess.Process

    async def ask(self, call: str, *given: Any) -> Any:
        """What the client's method of this name gives; all items of a list that it pages.

        Raises:
            SdkError: It threw.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"call": call, "given": given}).encode() + b"\n")
        line = await self.process.stdout.readline()
        assert line, "the process of Node ended"
        said = json.loads(line)
        if "error" in said:
            raise SdkError(said["error"])
        return said["result"]

    async def content(self, file_id: str) -> bytes:
        return base64.b64decode(await self.ask("files.content", file_id))


def as_bytes(content: bytes, name: str) -> dict[str, str]:
    """How the driver is told of a file in memory."""
    return {"bytes64": base64.b64encode(content).decode(), "name": name}


def named(name: str, size: int) -> dict[str, Any]:
    """What an Upload is asked for with."""
    return {"bytes": size, "filename": name, "mime_type": "text/jsonl", "purpose": "user_data"}


@pytest.fixture(scope="session")
def package() -> Path:
    return installed("openai", SDK)


@asynccontextmanager
async def opened(
    package: Path, url: str, *, key: str = KEY, retries: int = 0
) -> AsyncIterator[Sdk]:
    process = await asyncio.create_subprocess_exec(
        *("node", str(DRIVER), str(package), str(retries)),
        env={"PATH": os.environ["PATH"], "OPENAI_API_KEY": key, "OPENAI_BASE_URL": url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LIMIT,
    )
    try:
        yield Sdk(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@pytest.fixture
async def sdk(package: Path, house: House) -> AsyncIterator[Sdk]:
    async with opened(package, house.url) as made:
        yield made


def content_of(size: int) -> bytes:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed).randbytes(size)


async def test_a_file_goes_and_comes_back_streamed_or_from_memory(
    house: House, sdk: Sdk, tmp_path: Path
) -> None:
    content = content_of(700_000)
    (tmp_path / HOSTILE).write_bytes(content)
    # A stream goes out without a length, and before the purpose.
    expiry = {"anchor": "created_at", "seconds": 3600}
    streamed = await sdk.ask(
        "files.create",
        {
            "file": {"stream": str(tmp_path / HOSTILE)},
            "purpose": "user_data",
            "expires_after": expiry,
        },
    )
    held = await sdk.ask("files.create", {"file": as_bytes(content, HOSTILE), "purpose": "evals"})
    for made, purpose in ((streamed, "user_data"), (held, "evals")):
        assert house.content(made["id"]) == content
        assert (made["filename"], made["bytes"]) == (HOSTILE, len(content))
        assert (made["purpose"], made["status"], made["object"]) == (purpose, "processed", "file")
        assert await sdk.ask("files.retrieve", made["id"]) == made
        assert await sdk.content(made["id"]) == content
        gone = await sdk.ask("files.delete", made["id"])
        assert gone == {"id": made["id"], "object": "file", "deleted": True}
    assert streamed["expires_at"] == streamed["created_at"] + 3600
    assert house.files == []


async def test_a_list_pages_by_itself(sdk: Sdk) -> None:
    made = [
        await sdk.ask("files.create", {"file": as_bytes(b"x", f"{number}"), "purpose": purpose})
        for number, purpose in enumerate(["assistants", "user_data"] * 3)
    ]
    assert await sdk.ask("files.list", {"limit": 2}) == made[::-1]
    found = await sdk.ask("files.list", {"limit": 1, "order": "asc", "purpose": "user_data"})
    assert found == made[1::2]
    assert await sdk.ask("files.list", {"after": made[4]["id"], "order": "asc"}) == made[5:]
    assert await sdk.ask("files.list", {"purpose": "vision"}) == []


async def test_an_upload_becomes_a_file_in_the_order_of_its_list(house: House, sdk: Sdk) -> None:
    content = content_of(300_000)
    upload = await sdk.ask("uploads.create", named(HOSTILE, len(content)))
    assert upload["expires_at"] - upload["created_at"] == 3600
    late, _, early = [
        await sdk.ask("uploads.parts.create", upload["id"], {"data": as_bytes(piece, "data")})
        for piece in (content[200_000:], b"never listed", content[:200_000])
    ]
    md5 = hashlib.md5(content).hexdigest()
    ids = [early["id"], late["id"]]
    wrong_md5 = {"part_ids": ids, "md5": md5[::-1]}
    with pytest.raises(SdkError) as wrong:
        await sdk.ask("uploads.complete", upload["id"], wrong_md5)
    assert (wrong.value.kind, wrong.value.said["param"]) == ("BadRequestError", "md5")
    done = await sdk.ask("uploads.complete", upload["id"], {"part_ids": ids, "md5": md5})
    assert (done["status"], done["file"]["filename"]) == ("completed", HOSTILE)
    assert done["file"]["created_at"] == upload["created_at"]
    assert house.content(done["file"]["id"]) == content


async def test_a_cancelled_upload_takes_no_part(house: House, sdk: Sdk) -> None:
    upload = await sdk.ask("uploads.create", named("a.jsonl", 3))
    cancelled = await sdk.ask("uploads.cancel", upload["id"])
    assert (cancelled["status"], "file" in cancelled) == ("cancelled", False)
    data = {"data": as_bytes(b"abc", "data")}
    with pytest.raises(SdkError, match="not pending: it is cancelled") as refused:
        await sdk.ask("uploads.parts.create", upload["id"], data)
    assert refused.value.kind == "BadRequestError"
    assert house.files == []


async def test_refusals_are_errors_of_the_sdks_own_classes(
    package: Path, house: House, sdk: Sdk
) -> None:
    asks: list[tuple[str, list[Any], str, str | None]] = [
        ("files.retrieve", ["file-x"], "NotFoundError", "id"),
        ("files.delete", ["file-x"], "NotFoundError", "id"),
        ("files.content", ["file-x"], "NotFoundError", "id"),
        ("uploads.cancel", ["upload_x"], "NotFoundError", "id"),
        ("uploads.create", [{**named("a", 1), "purpose": "no"}], "BadRequestError", "purpose"),
        ("uploads.create", [named("a", 0)], "BadRequestError", "bytes"),
        ("files.list", [{"limit": 0}], "BadRequestError", "limit"),
    ]
    for call, given, kind, param in asks:
        with pytest.raises(SdkError) as refused:
            await sdk.ask(call, *given)
        assert (refused.value.kind, refused.value.said["param"]) == (kind, param), call
        assert refused.value.said["type"] == "invalid_request_error"
        assert refused.value.said["requestID"].startswith("req_")
    async with opened(package, house.url, key="sk-of-a-stranger", retries=2) as stranger:
        house.calls.clear()
        with pytest.raises(SdkError) as refused:
            await stranger.ask("files.list")
    assert (refused.value.kind, house.calls) == ("AuthenticationError", ["list"])
    assert "sk-of-a-stranger" not in str(refused.value)


async def test_a_part_whose_answer_was_lost_is_sent_again_and_does_no_harm(
    package: Path, house: House
) -> None:
    async def lose_the_first(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        first = call_of(request) == "part" and house.calls.count("part") == 1
        return drop(request) if first else answer

    house.intercept = lose_the_first
    async with opened(package, house.url, retries=2) as sdk:
        upload = await sdk.ask("uploads.create", named("a.jsonl", 6))
        data = {"data": as_bytes(b"a part", "data")}
        part = await sdk.ask("uploads.parts.create", upload["id"], data)
        done = await sdk.ask("uploads.complete", upload["id"], {"part_ids": [part["id"]]})
    assert house.calls.count("part") == 2
    assert house.content(done["file"]["id"]) == b"a part"


async def test_beside_chunkup_each_sees_the_files_of_the_other(
    house: House, sdk: Sdk, journal: Path, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs.jsonl", tmp_path / "ours.jsonl"
    make_source(theirs, 40_000, seed=1)
    make_source(ours, 40_500, seed=2)

    async def by_the_sdk() -> dict[str, Any]:
        await sdk.ask("files.create", {"file": {"stream": str(theirs)}, "purpose": "user_data"})
        content = theirs.read_bytes()
        upload = await sdk.ask("uploads.create", named(theirs.name, len(content)))
        parts = [
            await sdk.ask(
                "uploads.parts.create",
                upload["id"],
                {"data": as_bytes(content[at : at + 10_000], "data")},
            )
            for at in range(0, len(content), 10_000)
        ]
        ids = {"part_ids": [part["id"] for part in parts]}
        file: dict[str, Any] = (await sdk.ask("uploads.complete", upload["id"], ids))["file"]
        return file

    async with house.uploader(journal) as uploader:
        made, sent = await asyncio.gather(by_the_sdk(), uploader.upload(ours, purpose="user_data"))
        listed: list[RemoteFile] = [file async for file in uploader.files.list(purpose="user_data")]
    found = await sdk.ask("files.list", {"limit": 2})
    assert [file["id"] for file in found] == [file.id for file in listed]
    assert {made["id"], sent.id} <= {file.id for file in listed}
    assert len(listed) == 3
    assert await sdk.content(sent.id) == ours.read_bytes()
    assert house.content(made["id"]) == theirs.read_bytes()
