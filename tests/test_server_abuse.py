"""The embedded server under abuse: it refuses, stays up, and loses nothing that it acknowledged."""

import asyncio
import json
import logging
import os
import random
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rawhttp import (
    CHUNKED,
    FORM,
    JSON,
    LATER,
    Line,
    Served,
    Target,
    complete,
    form,
    head,
    part_form,
    post_json,
    post_part,
    request,
    served,
    target,
)

NEW = {"filename": "a", "bytes": 3, "mime_type": "text/plain", "purpose": "batch"}


@pytest.fixture
async def house(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Target]:
    """A server in a folder between other people's files, none of which may ever be touched."""
    caplog.set_level(logging.WARNING)
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "files").mkdir()
    async with target(tmp_path / "files" / "server") as house:
        yield house
        await house.is_well()
    assert (tmp_path / "canary").read_text() == "alive"
    assert {path.name for path in tmp_path.iterdir()} == {"canary", "files"}
    assert {path.name for path in house.folder.parent.iterdir()} == {"server"}
    known = {"content", "incoming", "lock", "server.db", "server.db-journal"}
    assert {path.name for path in house.folder.iterdir()} <= known
    assert [*caplog.get_records("call"), *caplog.records] == []


# --- many at once


async def test_of_completes_with_other_ids_one_wins_and_is_whole(house: Target) -> None:
    upload = house.upload()
    contents = [b"abc", b"def", b"ghi"]
    ids = [(await house.ask(post_part(upload, content))).json["id"] for content in contents]
    said = await asyncio.gather(
        *(house.ask(complete(upload, [ids[turn % 3]])) for turn in range(12))
    )
    (won,) = (answer for answer in said if answer.status == 200)
    for answer in said:
        if answer is not won:
            assert "not pending" in answer.error["message"]
    (file,) = house.store.files()
    assert won.json["file"]["id"] == file.id
    chosen = ids[said.index(won) % 3]
    assert b"".join(house.store.read_file(file.id)) == contents[ids.index(chosen)]
    assert house.on_disk() == {chosen}


async def test_complete_parts_and_cancel_may_race(house: Target) -> None:
    ends = set()
    for turn in range(30):
        upload = house.upload()
        first = (await house.ask(post_part(upload, b"abc"))).json["id"]
        asked = [
            complete(upload, [first]),
            request("POST", f"/v1/uploads/{upload.id}/cancel"),
            *[post_part(upload, b"late")] * 3,
        ]
        # Whoever is sent first wins more often; so take turns.
        random.Random(turn).shuffle(asked)
        said = await asyncio.gather(*(house.ask(data) for data in asked))
        ended = house.store.upload(upload.id)
        ends.add(ended.status)
        won = [answer for answer in said if answer.status == 200 and "status" in answer.json]
        assert [answer.json["status"] for answer in won] == [ended.status]
        parts = {answer.json["id"] for answer in said if "upload_id" in answer.json}
        # What was acknowledged has its row, whatever became of its bytes.
        assert {part.id for part in house.store.parts(upload.id)} == parts | {first}
        kept = house.on_disk() & (parts | {first})
        assert kept == ({first} if ended.status == "completed" else set())
    assert ends == {"completed", "cancelled"}
    assert len(house.on_disk()) == len(house.store.files())


async def test_two_clients_on_one_part_get_an_id_each(house: Target) -> None:
    for turn in range(2):
        upload = house.upload(6)
        both = await asyncio.gather(*(house.ask(post_part(upload, b"abc")) for _ in range(2)))
        ids = [said.json["id"] for said in both]
        assert len(set(ids)) == 2
        assert {part.id for part in house.store.parts(upload.id)} == set(ids)
        rest = (await house.ask(post_part(upload, b"def"))).json["id"]
        assert (await house.ask(complete(upload, [ids[turn], rest]))).status == 200


# --- paths and names

TRICKS = [
    "..",
    "%2e%2e",
    "..%2f..%2fcanary",
    "..%2flock",
    "%2e%2e%5c%2e%2e%5ccanary",
    "%2fetc%2fpasswd",
    "%00",
    "upload_x%00",
    "%c0%ae%c0%ae%c0%afcanary",
    "%ed%a0%80",
    "%ff",
    "..%252f..%252fcanary",
    "%",
    "%zz",
    "*",
    "'%20OR%201=1%20--",
    "a" * 5000,
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick[:30])
async def test_an_id_never_becomes_a_path(house: Target, trick: str) -> None:
    upload = house.upload()
    (await house.ask(post_part(upload, b"abc"))).json["id"]
    before = house.on_disk()
    for data in (
        post_part(upload, b"abc").replace(upload.id.encode(), trick.encode()),
        complete(upload, []).replace(upload.id.encode(), trick.encode()),
        request("POST", f"/v1/uploads/{trick}/cancel"),
        head("GET", f"/v1/files/{trick}"),
        head("GET", f"/v1/files/{trick}/content"),
        head("DELETE", f"/v1/files/{trick}"),
        head("GET", f"/v1/files?after={trick}"),
        complete(upload, [trick]),
        complete(upload, ["../../canary"]),
    ):
        said = await house.ask(data)
        assert said.status in {400, 404}
        assert len(said.error["message"]) < 500
    said = await house.ask(head("GET", f"/v1/files?purpose={trick}"))
    assert said.json["data"] == []
    assert house.on_disk() == before
    assert house.store.upload(upload.id).status == "pending"


async def test_stray_content_of_the_folder_is_no_file(house: Target) -> None:
    upload = house.upload()
    part = (await house.ask(post_part(upload, b"abc"))).json["id"]
    for name in (part, "server.db", "lock", f"..%2fcontent%2f{part}"):
        assert (await house.ask(head("GET", f"/v1/files/{name}/content"))).status == 404


NAMES = [
    "../../canary",
    "/etc/passwd",
    "..",
    'a"b\r\nX-Evil: 1\r\n\r\n<script>',
    "a\\b\\..\\c",
    "\x1b[2J\x07",
    "\u202etxt.exe",
    "a\0b",
    "\N{PILE OF POO}" * 256,
    " ",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_filename_is_only_data(house: Target, name: str) -> None:
    said = await house.ask(post_json("/v1/uploads", NEW | {"filename": name}))
    assert said.json["filename"] == name
    upload = house.store.upload(said.json["id"])
    part = (await house.ask(post_part(upload, b"abc"))).json["id"]
    file = (await house.ask(complete(upload, [part]))).json["file"]
    assert file["filename"] == name
    # All headers together have to stay below what clients take.
    content = await house.ask(head("GET", f"/v1/files/{file['id']}/content"))
    assert content.body == b"abc"
    assert "x-evil" not in content.headers
    assert len(content.headers["content-disposition"]) < 8000
    assert (await house.ask(head("GET", "/v1/files"))).json["data"][0]["filename"] == name


@pytest.mark.parametrize(
    "field",
    [
        'name="file"; filename="' + "a" * 1025 + '"',
        'name="file"; filename="' + "é" * 600 + '"',
        'name="file"; filename="' + "a" * 1_000_000 + '"',
        "name=\"file\"; filename*=UTF-8''" + "%41" * 1025,
        'name="file"; filename="\udcc0\udcae"',
        'name="file"; filename="a\0b"',
        "name=\"file\"; filename*=UTF-8''%c0%ae%c0%ae",
        'name="file"; ' + "x=y; " * 10_000,
        'name="' + "a" * 10_000 + '"; filename="a"',
        'name="file"; filename="a"; filename="b"',
        'name="file"; filename="a"\r\nContent-Disposition: form-data; name="file"',
        'name="file"; filename="a"\r\n folded: b',
        'name="file"; filename="a"' + "\r\nX: y" * 5000,
    ],
    ids=lambda field: ascii(field[:40]),
)
async def test_a_field_that_is_too_much_is_refused(house: Target, field: str) -> None:
    data = form((field, b"abc"), ('name="purpose"', b"batch"))
    said = await house.ask(request("POST", "/v1/files", data, FORM))
    assert said.status == 400
    assert len(said.error["message"]) < 500
    assert len(said.error["param"] or "") < 500
    assert house.on_disk() == set()


@pytest.mark.parametrize(
    "fields",
    [
        [('name="file"; filename="a"', b"abc"), ('name="purpose"', b"x" * 1_000_000)],
        [(f'name="f{n}"', b"") for n in range(1000)],
        [('name="purpose"', b"batch")] * 1000,
        [('name="file"; filename="a"', b"abc"), ('name="extra"', b"x" * 1_000_000)],
    ],
    ids=["text", "fields", "one field", "unknown"],
)
async def test_too_many_or_too_large_fields_are_refused(
    house: Target, fields: list[tuple[str, bytes]]
) -> None:
    said = await house.ask(request("POST", "/v1/files", form(*fields), FORM))
    assert said.status == 400
    assert said.error["message"]
    assert house.on_disk() == set()


# --- JSON


def raw(**values: str) -> bytes:
    """The body that creates an Upload, with these values as they are written."""
    written = {name: json.dumps(value) for name, value in NEW.items()} | values
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in written.items()) + "}").encode()


DEEP = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "body",
    [
        raw(bytes=DEEP),
        raw(extra='{"a":' * 10_000 + "1" + "}" * 10_000),
        raw(bytes="1" + "0" * 100_000),
        raw(bytes="1e999999"),
        raw(bytes="-1e999999"),
        raw(bytes="NaN"),
        raw(bytes="Infinity"),
        raw(expires_after='{"anchor": "created_at", "seconds": 3600, "x": NaN}'),
        raw(expires_after='{"anchor": "created_at", "seconds": 3600, "seconds": 3600}'),
        raw(filename='"' + "a" * 1_000_000 + '"'),
        raw(filename='"' + "\\u00e9" * 600 + '"'),
        raw(mime_type='"' + "a" * 1_000_000 + '"'),
        raw(purpose='"' + "a" * 1_000_000 + '"'),
        raw(purpose='"batch", "purpose": "vision"'),
        raw(**{"x" * 1_000_000: "1"}),
        raw(filename='"\\ud800"'),
        raw(filename='"a\nb"'),
        raw() + b"{}",
        raw() + b"\0",
        b"\xef\xbb\xbf" + raw(),
        raw().decode().encode("utf-16"),
        raw().replace(b'"', b"'"),
        raw()[:-1] + b",}",
        b'{"filename": "\xc0\xae"}',
    ],
    ids=lambda body: ascii(body[-40:]),
)
async def test_json_that_is_too_much_or_says_two_things_is_refused(
    house: Target, body: bytes
) -> None:
    said = await house.ask(post_json("/v1/uploads", body))
    assert said.status == 400
    assert len(said.error["message"]) < 500
    assert len(said.error["param"] or "") < 500
    assert house.store.uploads() == []


async def test_a_complete_of_what_there_is_not_is_refused_quickly(house: Target) -> None:
    upload = house.upload()
    part = (await house.ask(post_part(upload, b"abc"))).json["id"]
    for ids in (["x"] * 500_000, [part] * 90_000, [part, "../lock"], ["\ud800"], [""]):
        said = await house.ask(complete(upload, ids))
        assert (said.status, said.error["param"]) == (400, "part_ids")
    for md5 in ("0" * 31, "g" * 32, "\u0660" * 32, "0" * 1_000_000, "0" * 32 + "\n"):
        assert (await house.ask(complete(upload, [part], md5))).error["param"] == "md5"
    assert (await house.ask(complete(upload, [part]))).status == 200


# --- a server process of its own


async def flood(server: Served) -> None:
    """Everything that costs a server memory, many times over, none of it taken back."""
    lines = [await server.line() for _ in range(30)]
    upload = "/v1/uploads/upload_x"
    mebibytes = 4 << 20
    kinds = [
        # JSON that grows when it is read, and JSON that never ends.
        post_json("/v1/uploads", b"[" + b"[]," * (mebibytes // 3 - 1) + b"0]"),
        head("POST", "/v1/uploads", JSON, f"Content-Length: {mebibytes}") + b" " * (mebibytes - 1),
        head("POST", "/v1/uploads", JSON, CHUNKED) + b"1;" + b"x" * mebibytes,
        head("GET", "/v1/files", *(f"X{n}: {'y' * 8000}" for n in range(120)))[:-2],
        # Questions whose answers nobody reads.
        head("GET", "/v1/files") * 20_000,
        request("POST", f"{upload}/parts", part_form(bytes(mebibytes)), FORM) * 2,
    ]

    async def send(line: Line, data: bytes) -> None:
        line.writer.write(data)
        await line.writer.drain()

    sending = [
        asyncio.create_task(send(line, kinds[turn % len(kinds)])) for turn, line in enumerate(lines)
    ]
    await asyncio.wait(sending, timeout=1)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    for line in lines:
        await line.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_flood_costs_little_memory(tmp_path: Path) -> None:
    async with served(tmp_path / "server") as server:
        await server.is_well()
        before = server.peak()
        await flood(server)
        await server.is_well()
        assert server.peak() - before < 250
        assert server.complaints() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
async def test_a_server_out_of_handles_recovers(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.is_well()
        before = server.handles()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        lines = [await server.line() for _ in range(70)]
        await asyncio.gather(
            *(line.send(head("GET", "/v1/files")) for line in lines), return_exceptions=True
        )
        assert (await lines[0].answer()).status in {200, 500}
        for line in lines:
            await line.close()
        # It lets in those who still wait at the door, sees them gone, and has its handles back.
        async with asyncio.timeout(LATER):
            while server.handles() > before:  # noqa: ASYNC110  (another process tells nobody)
                await asyncio.sleep(0.01)
        await server.is_well()


@pytest.mark.parametrize("acknowledged", [1, 7])
async def test_what_was_acknowledged_outlives_a_kill_in_the_same_moment(
    tmp_path: Path, acknowledged: int
) -> None:
    contents = [os.urandom(200_000) for _ in range(12)]
    size = sum(len(content) for content in contents)
    answered: dict[int, str] = {}
    async with served(tmp_path) as server:
        new = post_json("/v1/uploads", NEW | {"bytes": size})
        path = f"/v1/uploads/{(await server.ask(new)).json['id']}"

        async def send(number: int) -> None:
            data = request("POST", f"{path}/parts", part_form(contents[number]), FORM)
            said = await server.ask(data)
            assert said.status == 200
            answered[number] = said.json["id"]
            if len(answered) == acknowledged:
                await server.kill()

        await asyncio.gather(*(send(number) for number in range(12)), return_exceptions=True)
        assert len(answered) >= acknowledged
    async with served(tmp_path) as server:
        for number in set(range(12)) - set(answered):
            data = request("POST", f"{path}/parts", part_form(contents[number]), FORM)
            answered[number] = (await server.ask(data)).json["id"]
        ids = [answered[number] for number in range(12)]
        done = await server.ask(post_json(f"{path}/complete", {"part_ids": ids}))
        await server.kill()
        file_id = done.json["file"]["id"]
    async with served(tmp_path) as server:
        content = await server.ask(head("GET", f"/v1/files/{file_id}/content"))
        assert content.body == b"".join(contents)
        listed = (await server.ask(head("GET", "/v1/files"))).json["data"]
        assert [file["id"] for file in listed] == [file_id]
