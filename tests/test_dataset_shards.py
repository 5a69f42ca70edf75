"""Files cut into pieces, as the command sends them: killed, resumed, changed, spoilt."""

import asyncio
import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, call_of
from test_cli import Result, Shell, shell

from chunkup.manifest import read

__all__ = ["shell"]

PIECE, PART, WORKERS = 4000, 1500, 3
SPLIT = (
    *("-p", "batch", "--split-size", str(PIECE)),
    *("--part-size", str(PART), "--workers", str(WORKERS)),
)


def write(path: Path, count: int, seed: int, *, newline: bool = True) -> bytes:
    """A batch of so many records, no two alike."""
    chance = random.Random(seed)
    lines = [
        json.dumps(
            {
                "custom_id": f"{path.stem}-{number}",
                "method": "POST",
                "url": "/v1/responses",
                "body": {"model": "m", "input": "ä" * chance.randrange(200)},
            },
            ensure_ascii=False,
        )
        for number in range(count)
    ]
    content = "\n".join(lines).encode() + b"\n" * newline
    path.write_bytes(content)
    return content


def pieces(said: str) -> list[tuple[str, str]]:
    """The ids and names that a command printed."""
    found = [tuple(line.split("\t")) for line in said.splitlines()]
    assert all(len(pair) == 2 for pair in found), said
    return [(pair[0], pair[1]) for pair in found]


def holds(house: House, printed: list[tuple[str, str]], stem: str, content: bytes) -> None:
    """Every byte is in one File, in the order of the names; each ends where a record does."""
    named = [(file_id, name) for file_id, name in printed if name.startswith(stem)]
    count = len(named)
    assert [name for _, name in named] == [
        f"{stem}-{number:05}-of-{count:05}.jsonl" for number in range(1, count + 1)
    ]
    rows = {row.id: row for row in house.files}
    sent = [house.content(file_id) for file_id, _ in named]
    assert b"".join(sent) == content
    assert all(piece.endswith(b"\n") for piece in sent[:-1])
    assert all(len(piece) <= PIECE for piece in sent)
    # The cut is not made of crumbs: no two neighbours would have fitted into one.
    assert all(len(one) + len(two) > PIECE for one, two in pairwise(sent))
    for (file_id, name), piece in zip(named, sent, strict=True):
        assert (rows[file_id].filename, rows[file_id].purpose) == (name, "batch")
        assert house.store.md5_of(file_id) == hashlib.md5(piece).hexdigest()


async def killed_after(shell: Shell, requests: int, *command: str) -> Result | None:
    """Run a command and kill it once so many requests arrived; its end if it lived to it."""
    house, due = shell.house, asyncio.Event()
    house.calls.clear()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(house.calls) >= requests:
            due.set()
        return await handler(request)

    house.intercept = intercept
    process = await shell.start(*command)
    ended = asyncio.create_task(shell.end(process))
    killing = asyncio.create_task(due.wait())
    await asyncio.wait({ended, killing}, return_when=asyncio.FIRST_COMPLETED)
    killing.cancel()
    if process.returncode is None:
        process.kill()
    result = await ended
    # What the dead had put on the wire still arrives, and is nobody's doing.
    await house.idle()
    house.intercept = None
    return None if result.code == -9 else result


@pytest.mark.parametrize("how", ["the same command", "resume"])
async def test_pieces_that_are_killed_anywhere_become_one_file_each(
    shell: Shell, house: House, how: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    content = write(shell.folder / "big.jsonl", 60, seed, newline=chance.random() < 0.5)
    upload = ("upload", "big.jsonl", *SPLIT, "--manifest", "big.manifest", "-q")
    command: tuple[str, ...] = upload
    ended, missing = None, len(content)
    for _ in range(3):
        before = house.whole_bytes
        ended = await killed_after(shell, chance.randrange(1, 20), *command)
        # No run sends what has a receipt: a kill costs what has none yet, and no more.
        assert house.whole_bytes - before <= missing
        if ended is not None:
            break
        lines = (await shell.jobs()).values()
        missing = len(content) - sum(line.done for line in lines)
        # Killed before its jobs were made, there is nothing that could be resumed.
        if how == "resume" and lines:
            command = ("resume", "-q")
    if ended is None:
        before = house.whole_bytes
        ended = await shell.run(*command)
    assert ended.code == 0, ended.err
    assert house.whole_bytes - before == missing
    printed = pieces(ended.out)
    holds(house, printed, "big", content)
    assert {row.id for row in house.files} == {file_id for file_id, _ in printed}
    entries = read(shell.folder / "big.manifest")
    assert [(entry.file, entry.filename) for entry in entries] == printed
    at, line = 0, 1
    for entry in entries:
        piece = content[entry.start : entry.stop]
        count = len(piece.splitlines())
        assert (entry.start, entry.first_line, entry.lines) == (at, line, count)
        assert entry.md5 == hashlib.md5(piece).hexdigest()
        at, line = entry.stop, line + count
    calls = len(house.calls)
    nothing = await shell.run("resume", "-q")
    assert (nothing.code, nothing.out) == (0, "")
    assert house.calls[calls:] == []


async def stopped_after(shell: Shell, files: int, *paths: str) -> None:
    """Let a command make so many Files, and then meet a server that knows no key any more."""
    house = shell.house
    house.calls.clear()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if house.calls.count("complete") > files:
            return web.json_response({"error": {"message": "who are you?"}}, status=401)
        return await handler(request)

    house.intercept = intercept
    result = await shell.run("upload", *paths, *SPLIT, "-q")
    assert result.code == 1, result.err
    house.intercept = None
    house.calls.clear()


@pytest.mark.parametrize("how", ["appended", "changed in front", "changed behind", "shortened"])
async def test_a_file_that_changed_between_two_runs_is_sent_as_it_is_now_and_never_mixed(
    shell: Shell, house: House, how: str
) -> None:
    path = shell.folder / "big.jsonl"
    old = write(path, 60, 1)
    await stopped_after(shell, 3, "big.jsonl")
    before = {row.id for row in house.files}
    assert before
    if how == "appended":
        new = old + write(shell.folder / "more.jsonl", 20, 2)
    elif how.startswith("changed"):
        # Of the same size and cut alike: only content can tell that a File is there of this piece.
        at = old.index(b'"big-1"' if how == "changed in front" else b'"big-59"') + 1
        new = old[:at] + b"BIG" + old[at + 3 :]
    else:
        new = b"".join(old.splitlines(keepends=True)[:25])
    path.write_bytes(new)
    refused = await shell.run("resume", "-q")
    assert refused.code == 1, refused.err
    assert "source-changed" in refused.err
    done = await shell.run("upload", "big.jsonl", *SPLIT, "-q")
    assert done.code == 0, done.err
    holds(house, pieces(done.out), "big", new)
    again = await shell.run("resume", "-q")
    assert (again.code, again.out) == (0, "")


async def test_two_files_in_pieces_are_one_set(shell: Shell, house: House) -> None:
    one = write(shell.folder / "one.jsonl", 30, 1)
    two = write(shell.folder / "two.jsonl", 40, 2)
    await stopped_after(shell, 4, "one.jsonl", "two.jsonl")
    made = {row.id for row in house.files}
    assert made
    done = await shell.run("resume", "-q")
    assert done.code == 0, done.err
    printed = pieces(done.out)
    holds(house, printed, "one", one)
    holds(house, printed, "two", two)
    assert [name[:3] for _, name in printed] == sorted(name[:3] for _, name in printed)
    assert {row.id for row in house.files} == {file_id for file_id, _ in printed} > made


async def test_a_bad_file_is_kept_back_and_alone_is_sent_once_it_is_mended(
    shell: Shell, house: House
) -> None:
    good = write(shell.folder / "good.jsonl", 30, 1)
    mended = write(shell.folder / "bad.jsonl", 30, 2)
    (shell.folder / "bad.jsonl").write_bytes(mended.replace(b'"POST"', b'"PUT"', 1))
    first = await shell.run("upload", "bad.jsonl", "good.jsonl", *SPLIT)
    assert first.code == 1, first.err
    assert "invalid_method" in first.err
    printed = pieces(first.out)
    holds(house, printed, "good", good)
    assert {row.id for row in house.files} == {file_id for file_id, _ in printed}
    # As it is, it is kept back again, and nothing is sent for it.
    house.calls.clear()
    second = await shell.run("upload", "bad.jsonl", "good.jsonl", *SPLIT, "-q")
    assert (second.code, pieces(second.out)) == (1, printed)
    assert house.calls == ["list"]  # what time it is there: batch files expire
    (shell.folder / "bad.jsonl").write_bytes(mended)
    third = await shell.run("upload", "bad.jsonl", "good.jsonl", *SPLIT, "-q")
    assert third.code == 0, third.err
    both = pieces(third.out)
    holds(house, both, "bad", mended)
    assert both[-len(printed) :] == printed
    assert house.calls.count("complete") == len(both) - len(printed)


async def test_with_fail_fast_the_first_that_fails_stops_the_others(
    shell: Shell, house: House
) -> None:
    content = write(shell.folder / "big.jsonl", 60, 1)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and house.calls.count("create") == 4:
            return web.json_response({"error": {"message": "not that one"}}, status=400)
        return await handler(request)

    house.intercept = intercept
    first = await shell.run("upload", "big.jsonl", *SPLIT, "--fail-fast", "-q")
    assert first.code == 1, first.err
    assert "not that one" in first.err
    begun = house.calls.count("create")
    assert len(house.files) < begun
    house.intercept = None
    done = await shell.run("upload", "big.jsonl", *SPLIT, "-q")
    assert done.code == 0, done.err
    printed = pieces(done.out)
    assert begun < len(printed)
    holds(house, printed, "big", content)
    assert {row.id for row in house.files} == {file_id for file_id, _ in printed}


async def test_what_is_there_already_is_printed_and_not_sent(shell: Shell, house: House) -> None:
    content = write(shell.folder / "big.jsonl", 30, 1)
    first = await shell.run("upload", "big.jsonl", *SPLIT, "--manifest", "m", "-q")
    assert first.code == 0, first.err
    printed = pieces(first.out)
    house.store.delete_file(printed[1][0])
    house.calls.clear()
    # Under another name, so that its pieces have other names as well.
    (shell.folder / "big.jsonl").rename(shell.folder / "new.jsonl")
    second = await shell.run(
        "upload", "new.jsonl", *SPLIT, "--skip-existing", "--manifest", "m", "-q"
    )
    assert second.code == 0, second.err
    now = pieces(second.out)
    assert house.calls.count("create") == house.calls.count("complete") == 1
    assert house.calls.count("retrieve") == len(printed)
    same = [id_ == before for (id_, _), (before, _) in zip(now, printed, strict=True)]
    assert same == [number != 1 for number in range(len(printed))]
    assert b"".join(house.content(file_id) for file_id, _ in now) == content
    entries = {entry.filename: entry for entry in read(shell.folder / "m")}
    assert [entries[name].reused for _, name in now] == same
    assert all(entries[name].md5 for _, name in now)
    # A journal that knows nothing of it takes the manifest's word for the content.
    house.calls.clear()
    third = await shell.run(
        *("upload", "new.jsonl", *SPLIT, "--skip-existing", "--manifest", "m", "-q"),
        CHUNKUP_JOURNAL=str(shell.folder / "fresh" / "journal.db"),
    )
    assert (third.code, third.out) == (0, second.out)
    assert set(house.calls) == {"retrieve"}
