"""The programs of docs/recipes.md do what the page says, kills included.

They run as they stand on the page, in processes of their own, over Files of the embedded server
and later.py's imitation of what comes after.
"""

import asyncio
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from house import KEY, Handler, drop
from later import BATCH_FIELDS, Fate, Later
from openai.types import Batch, VectorStore
from openai.types.vector_stores import VectorStoreFile, VectorStoreFileBatch
from test_cli import Result, Shell, shell
from test_howtos import bash, page, prepare

from chunkup.server.rows import NewFile

__all__ = ["shell"]

TEXT = page("recipes.md")
URL = "/v1/chat/completions"
BATCHES = f"python -W error batches.py train.manifest results {URL}"
JOIN = "python -W error join.py train.manifest results"
ATTACH = "python -W error attach.py train.manifest handbook"


@dataclass
class Desk:
    """A shell with the page's programs in it, and what comes after an upload."""

    shell: Shell
    later: Later

    @property
    def folder(self) -> Path:
        return self.shell.folder

    async def start(self, command: str) -> asyncio.subprocess.Process:
        return await bash(self.shell, f"exec {command}")

    async def run(self, command: str, code: int = 0) -> Result:
        done = await self.shell.end(await self.start(command))
        assert done.code == code, done
        return done

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def arrive(self, content: bytes, cuts: list[int], purpose: str = "batch") -> list[str]:
        """Have a file arrive in so many lines each, and a manifest tell of it; the Files."""
        source = self.folder / "train.jsonl"
        source.write_bytes(content)
        lines = content.splitlines(keepends=True)
        entries, first, start = [], 0, 0
        for number, count in enumerate(cuts, 1):
            piece = b"".join(lines[first : first + count])
            name = f"train-{number:05}-of-{len(cuts):05}.jsonl"
            entry = self.entry(source, piece, name, purpose)
            entry |= {"start": start, "stop": start + len(piece)}
            entry |= {"first_line": first + 1, "lines": count}
            entries.append(entry)
            first, start = first + count, start + len(piece)
        assert first == len(lines)
        self.tell(entries)
        return [entry["file"] for entry in entries]

    def entry(self, source: Path, content: bytes, name: str, purpose: str) -> dict[str, Any]:
        store = self.shell.house.store
        incoming = store.receive()
        incoming.write([memoryview(content)])
        file = store.add_file(NewFile(filename=name, purpose=purpose), incoming)
        return {
            "v": 1,
            "source": str(source),
            "given": source.name,
            "start": 0,
            "stop": len(content),
            "first_line": None,
            "lines": None,
            "bytes": len(content),
            "md5": hashlib.md5(content).hexdigest(),
            "file": file.id,
            "filename": name,
            "purpose": purpose,
            "job": "k7f2m9",
            "reused": False,
        }

    def tell(self, entries: list[dict[str, Any]]) -> None:
        """Write the manifest."""
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        (self.folder / "train.manifest").write_text(text)

    def files(self) -> list[dict[str, Any]]:
        return self.rows("train.manifest")


@pytest.fixture
async def desk(shell: Shell) -> AsyncIterator[Desk]:
    prepare(shell, TEXT)
    shell.environ |= {"PAUSE": "0.02"}
    later = Later(shell.house, KEY)
    shell.house.intercept = later
    yield Desk(shell, later)
    later.hold = None


def request_line(custom_id: str, number: int, **other: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": f"ü{number}"}]}
    line = {"custom_id": custom_id, "method": "POST", "url": URL, "body": body, **other}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def dataset(count: int) -> bytes:
    """Requests whose ids say nothing of their order."""
    ids = [f"id-{number:04}" for number in range(count)]
    random.Random(3).shuffle(ids)
    return b"".join(request_line(custom_id, number) for number, custom_id in enumerate(ids))


def ids_of(content: bytes) -> list[str]:
    return [json.loads(line)["custom_id"] for line in content.splitlines()]


def by_id(custom_id: str) -> Fate:
    """One in ten each: refused, too late, or without any word."""
    fates: dict[str, Fate] = {"1": "refused", "2": "expired", "3": "silent"}
    return fates.get(custom_id[-1], "good")


async def test_the_page_from_its_first_line_to_its_last(desk: Desk) -> None:
    """Its commands in their order, as they stand, with the manifests that chunkup writes."""
    lines = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    upload, batches, join, once_more, handbook, attach = (line.strip() for line in lines)
    content = dataset(100)
    (desk.folder / "train.jsonl").write_bytes(content)
    (desk.folder / "handbook" / "deep").mkdir(parents=True)
    for name in ("a.md", "deep/b.md"):
        (desk.folder / "handbook" / name).write_text(f"of {name}\n")
    desk.shell.environ["CHUNKUP_SPLIT_LINES"] = "30"
    desk.later.fate = by_id
    await desk.run(upload)
    assert [entry["lines"] for entry in desk.files()] == [30, 30, 30, 10]
    await desk.run(batches)
    assert len(desk.later.created) == 4
    done = await desk.run(join, code=1)
    assert "70 answered, 30 not" in done.err
    rows = desk.rows("results/results.jsonl")
    assert [row["custom_id"] for row in rows] == ids_of(content)
    assert [row["line"] for row in rows] == list(range(1, 101))
    del desk.shell.environ["CHUNKUP_SPLIT_LINES"]
    await desk.run(once_more)
    (entry,) = desk.rows("again.manifest")
    assert desk.shell.house.content(entry["file"]).count(b"\n") == 30
    await desk.run(handbook)
    await desk.run(attach)
    (store,) = desk.later.attached.values()
    assert sorted(file["attributes"]["path"] for file in store.values()) == [
        *("handbook/a.md", "handbook/deep/b.md")
    ]


async def test_results_come_in_the_order_of_the_requests(desk: Desk) -> None:
    content = dataset(300)
    files = desk.arrive(content, [120, 1, 179])
    desk.later.looks = 2
    await desk.run(BATCHES)
    assert desk.later.created == files
    done = await desk.run(JOIN)
    assert "300 answered, 0 not" in done.err
    rows = desk.rows("results/results.jsonl")
    assert [row["custom_id"] for row in rows] == ids_of(content)
    assert [row["line"] for row in rows] == list(range(1, 301))
    for row in rows:
        assert row["error"] is None
        said = row["body"]["choices"][0]["message"]["content"]
        assert said == f"answer to {row['custom_id']}"
    assert (desk.folder / "results/again.jsonl").read_bytes() == b""


async def test_what_failed_or_is_missing_is_listed_and_ready_to_be_sent_again(desk: Desk) -> None:
    content = dataset(200)
    desk.arrive(content, [90, 110])
    desk.later.fate = by_id
    await desk.run(BATCHES)
    assert [note["status"] for note in desk.rows("results/batches.jsonl")] == ["expired"] * 2
    done = await desk.run(JOIN, code=1)
    assert "140 answered, 60 not" in done.err
    bad = [(n, i) for n, i in enumerate(ids_of(content), 1) if by_id(i) != "good"]
    listed = re.findall(r"^'.*train.jsonl', line (\d+), '(id-\d+)': ", done.out, re.MULTILINE)
    assert [(int(number), custom_id) for number, custom_id in listed] == bad
    again = (desk.folder / "results/again.jsonl").read_bytes()
    lines = content.splitlines(keepends=True)
    assert again == b"".join(lines[number - 1] for number, _ in bad)
    rows = {row["custom_id"]: row for row in desk.rows("results/results.jsonl")}
    assert len(rows) == 200
    codes = {"1": "context_length_exceeded", "2": "batch_expired", "3": "no_answer"}
    for _, custom_id in bad:
        error = rows[custom_id]["error"]
        assert error.get("error", error)["code"] == codes[custom_id[-1]]
        assert rows[custom_id]["body"] is None


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
async def test_killed_around_a_create_there_is_one_batch_for_each_file(
    desk: Desk, moment: str, nth: int
) -> None:
    content = dataset(30)
    files = desk.arrive(content, [10, 10, 10])
    reached, count = asyncio.Event(), 0

    async def hold(now: str) -> None:
        nonlocal count
        count += now == moment
        if now == moment and count == nth:
            reached.set()
            await asyncio.Event().wait()

    desk.later.hold = hold
    running = await desk.start(BATCHES)
    await reached.wait()
    running.kill()
    await running.communicate()
    desk.later.hold = None
    await desk.run(BATCHES)
    assert sorted(desk.later.created) == sorted(files)
    await desk.run(JOIN)
    assert [row["custom_id"] for row in desk.rows("results/results.jsonl")] == ids_of(content)


@pytest.mark.parametrize("fault", ["dropped", "502"])
async def test_a_lost_answer_to_a_create_makes_no_second_batch(desk: Desk, fault: str) -> None:
    files = desk.arrive(dataset(20), [10, 10])
    lost = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal lost
        answer = await desk.later(request, handler)
        if (request.method, request.path) == ("POST", "/v1/batches") and lost < 2:
            lost += 1
            return drop(request) if fault == "dropped" else web.Response(status=502)
        return answer

    desk.shell.house.intercept = intercept
    done = await desk.run(BATCHES)
    assert lost == 2
    assert "goes on in" in done.err
    assert sorted(desk.later.created) == sorted(files)


async def test_a_batch_is_found_behind_many_others(desk: Desk) -> None:
    """The list of batches has more than one page."""
    content = dataset(4)
    (file,) = desk.arrive(content, [4])
    lost = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal lost
        answer = await desk.later(request, handler)
        if (request.method, request.path) == ("POST", "/v1/batches") and not lost:
            lost = True
            for number in range(150):  # those of others, made meanwhile
                other = {**next(iter(desk.later.batches.values())), "id": f"other-{number}"}
                desk.later.batches[other["id"]] = {**other, "metadata": {"asked": "theirs"}}
            return drop(request)
        return answer

    desk.shell.house.intercept = intercept
    await desk.run(BATCHES)
    assert desk.later.created == [file]


async def test_no_more_than_so_many_are_under_way(desk: Desk) -> None:
    files = desk.arrive(dataset(12), [2] * 6)
    desk.shell.environ["AT_ONCE"] = "2"
    await desk.run(BATCHES)
    assert desk.later.most_under_way == 2
    assert sorted(desk.later.created) == sorted(files)


async def test_what_failed_for_want_of_room_is_asked_for_anew_by_the_next_run(desk: Desk) -> None:
    content = dataset(12)
    files = desk.arrive(content, [4, 4, 4])
    desk.later.at_most = 2
    done = await desk.run(BATCHES, code=1)
    assert "token_limit_exceeded" in done.out
    join = await desk.run(JOIN, code=1)
    assert "8 answered, 4 not" in join.err
    await desk.run(BATCHES)
    assert sorted(desk.later.created) == sorted([*files, files[2]])
    await desk.run(JOIN)
    before = list(desk.later.created)
    await desk.run(BATCHES)
    assert desk.later.created == before


async def test_a_refused_batch_names_lines_of_the_whole_file(desk: Desk) -> None:
    lines = dataset(9).splitlines(keepends=True)
    lines[4] = b'{"custom_id": "no end\n'
    lines[7] = request_line("x", 7, url="/v1/embeddings")
    desk.arrive(b"".join(lines), [3, 3, 3])
    done = await desk.run(BATCHES, code=1)
    assert "train.jsonl', line 5: invalid_json_line: 'This line" in done.out
    assert "train.jsonl', line 8: url_mismatch: \"The URL" in done.out
    assert [note["status"] for note in desk.rows("results/batches.jsonl")] == [
        *("completed", "failed", "failed")
    ]


async def test_an_interrupted_download_goes_on(desk: Desk) -> None:
    content = dataset(40)
    desk.arrive(content, [40])
    cuts = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal cuts
        if not request.path.endswith("/content") or cuts == 2:
            return await desk.later(request, handler)
        cuts += 1
        if cuts == 1:  # longer than a download waits
            return web.Response(status=503, headers={"Retry-After": "7200"})
        answer = web.StreamResponse()
        answer.content_length = desk.shell.house.store.file(request.path.split("/")[-2]).bytes
        await answer.prepare(request)
        await answer.write(b"{")
        return drop(request)

    desk.shell.house.intercept = intercept
    done = await desk.run(BATCHES)
    assert cuts == 2
    assert "goes on in" in done.err
    await desk.run(JOIN)
    assert {path.suffix for path in (desk.folder / "results").iterdir()} <= {".jsonl", ""}


async def test_a_second_one_at_once_is_refused(desk: Desk) -> None:
    desk.arrive(dataset(2), [2])
    reached, go = asyncio.Event(), asyncio.Event()

    async def hold(now: str) -> None:
        reached.set()
        await go.wait()

    desk.later.hold = hold
    running = await desk.start(BATCHES)
    await reached.wait()
    second = await desk.start(BATCHES)
    _, error = await second.communicate()
    assert second.returncode == 1
    assert b"BlockingIOError" in error
    go.set()
    assert (await desk.shell.end(running)).code == 0
    assert len(desk.later.created) == 1


async def test_results_are_not_joined_while_batches_are_under_way(desk: Desk) -> None:
    """Else what only takes long would be sent, and paid, again."""
    desk.arrive(dataset(4), [2, 2])
    desk.later.looks = 1 << 30
    running = await desk.start(BATCHES)
    while len(desk.later.created) < 2:
        assert running.stdout is not None
        await running.stdout.readline()
    running.terminate()
    await running.communicate()
    done = await desk.run(JOIN, code=1)
    assert "not over yet" in done.err
    assert not (desk.folder / "results/again.jsonl").exists()


async def test_results_are_not_joined_to_another_file(desk: Desk) -> None:
    content = dataset(4)
    desk.arrive(content, [2, 2])
    await desk.run(BATCHES)
    (desk.folder / "train.jsonl").write_bytes(content.replace("ü3".encode(), "ü9".encode()))
    done = await desk.run(JOIN, code=1)
    assert "is not what was uploaded any more" in done.err
    desk.tell([{**entry, "md5": None} for entry in desk.files()])
    (desk.folder / "train.jsonl").write_bytes(content[:-30])
    done = await desk.run(JOIN, code=1)
    assert "is not what was uploaded any more" in done.err


async def test_files_go_into_a_vector_store_once(desk: Desk) -> None:
    entries = []
    for number in range(150):
        source = desk.folder / f"page-{number}.md"
        source.write_text(f"page {number}\n" * 3)
        entries.append(desk.entry(source, source.read_bytes(), source.name, "user_data"))
    desk.tell([*entries, desk.entry(desk.folder / "b.jsonl", b"{}\n", "b.jsonl", "batch")])
    program = desk.folder / "attach.py"
    program.write_text(program.read_text().replace("LOT = 500", "LOT = 60"))
    second, killed = asyncio.Event(), False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await desk.later(request, handler)
        if not killed and len(desk.later.lots) == 2:
            second.set()
            await asyncio.Event().wait()
        return answer

    desk.shell.house.intercept = intercept
    running = await desk.start(ATTACH)
    await second.wait()
    running.kill()
    await running.communicate()
    killed = True
    desk.later.unsupported = {"page-140.md"}
    done = await desk.run(ATTACH, code=1)
    assert "page-140.md': LastError(code='unsupported_file'" in done.out
    assert "holds 149 of 150 Files" in done.err
    assert desk.later.lots == [60, 60, 30]
    (store,) = desk.later.attached.values()
    assert {file["attributes"]["path"] for file in store.values()} == {
        entry["given"] for entry in entries
    }
    desk.later.unsupported = set()
    done = await desk.run(ATTACH)
    assert "holds 150 of 150 Files" in done.err
    assert desk.later.lots == [60, 60, 30, 1]


def _shapes(later: Later) -> Iterator[tuple[Any, dict[str, Any]]]:
    for batch in later.batches.values():
        yield Batch, batch
    for store in later.stores.values():
        yield VectorStore, store
    for files in later.attached.values():
        for file in files.values():
            yield VectorStoreFile, file


async def test_the_imitation_answers_as_the_types_of_the_sdk_have_it(desk: Desk) -> None:
    content = dataset(6)
    files = desk.arrive(content, [3, 3])
    headers = {"Authorization": f"Bearer {KEY}"}
    url = desk.shell.house.url
    async with ClientSession(headers=headers) as session:

        async def ask(path: str, **body: Any) -> dict[str, Any]:
            async with session.post(url + path, json=body) as answer:
                return dict(await answer.json())

        window = {"completion_window": "24h", "metadata": {"asked": "x"}}
        for file, where in zip(files, (URL, "/v1/embeddings"), strict=True):
            made = await ask("/batches", input_file_id=file, endpoint=where, **window)
            for _ in range(3):
                async with session.get(f"{url}/batches/{made['id']}") as answer:
                    Batch.model_validate(await answer.json(), strict=True)
        store = await ask("/vector_stores", name="s")
        lot = await ask(f"/vector_stores/{store['id']}/file_batches", file_ids=files)
        VectorStoreFileBatch.model_validate(lot, strict=True)
        refused = await ask("/batches", input_file_id=files[0], endpoint=URL, windows="24h")
        assert refused["error"]["message"] == "Unknown parameter: 'windows'."
    statuses = {batch["status"] for batch in desk.later.batches.values()}
    assert statuses == {"completed", "failed"}
    for kind, thing in _shapes(desk.later):
        kind.model_validate(thing, strict=True)
        assert set(thing) <= set(kind.model_fields), kind
    assert set(Batch.model_fields) >= BATCH_FIELDS
