"""Every attempt at a part carries the whole part, whatever became of the attempts before it."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from house import KEY, make_source
from test_body import boundary_of, frame
from wire import Asked, Caller, Wire, listening, reply

from chunkup import AsyncUploader, Options
from chunkup.errors import EmptyFile, SourceChanged
from chunkup.models import MIB

PART = 1000
ALL = 1 << 60
COME_AGAIN = reply({"error": {"message": "later"}}, 503, {"Retry-After-Ms": "1"})


@dataclass
class Attempt:
    """One request with a part: its head, and what arrived of its body."""

    head: Asked
    body: bytes
    whole: bool

    @property
    def announced(self) -> int:
        return int(self.head.headers["content-length"])


@dataclass
class Bare:
    """An Uploads API that keeps the very bytes.

    ``spoil`` is asked before the body of each attempt, with the attempt's number from 0: after
    how many bytes of the body what happens instead of a success; None lets it be.
    """

    size: int
    spoil: Callable[[int], tuple[int, str] | None] = lambda number: None
    attempts: list[Attempt] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    completed: list[list[str]] = field(default_factory=list)

    async def __call__(self, caller: Caller) -> None:
        while True:
            head = await caller.head()
            if head.target.endswith("/parts"):
                if not await self._part(caller, head):
                    return
                continue
            asked = await caller.rest(head)
            made = {"id": "upload_1", "created_at": int(time.time()), "status": "pending"}
            if asked.target.endswith("/complete"):
                self.completed.append(asked.json["part_ids"])
                made["file"] = {"id": "file-1", "bytes": self.size}
            await caller.say(reply(made))

    async def _part(self, caller: Caller, head: Asked) -> bool:
        """Take a part; whether the connection is of use still."""
        number, attempt = len(self.attempts), Attempt(head, b"", whole=False)
        self.attempts.append(attempt)
        left, spoiled = attempt.announced, self.spoil(number)
        after, how = spoiled or (ALL, "take")
        early = min(left, after)
        attempt.body = await caller.reader.readexactly(early)
        if how == "reset":
            attempt.whole = early == left
            caller.reset()
            return False
        if how == "answer" and early < left:
            await caller.say(COME_AGAIN)
        attempt.body += await caller.reader.readexactly(left - early)
        attempt.whole = True
        if how == "answer" and early == left:
            await caller.say(COME_AGAIN)
        if how == "take":
            self.ids.append(f"part_{number}")
            await caller.say(reply({"id": self.ids[-1]}))
        return how == "take" or early == left


def uploading(
    wire: Wire, journal: Path, part_size: int, *, md5: bool = True, **more: Any
) -> AbstractAsyncContextManager[AsyncUploader]:
    options = Options(workers=1, retries=6, looks=(0.0,), patience=0.0)
    return AsyncUploader(
        base_url=wire.url,
        api_key=KEY,
        journal=journal,
        part_size=part_size,
        md5=md5,
        options=replace(options, **more),
    )


def check(bare: Bare, content: bytes, part_size: int) -> None:
    """All that holds for every attempt, taken or spoiled."""
    pieces = [content[at : at + part_size] for at in range(0, len(content), part_size)]
    taken: Counter[bytes] = Counter()
    for attempt in bare.attempts:
        boundary = boundary_of(attempt.head)
        bodies = {piece: frame(boundary, piece) for piece in pieces}
        fits = [piece for piece, body in bodies.items() if body.startswith(attempt.body)]
        assert fits, "bytes went out that are no part's beginning"
        assert attempt.announced in {len(bodies[piece]) for piece in fits}
        assert "transfer-encoding" not in attempt.head.headers
        if attempt.whole:
            (piece,) = fits
            assert len(attempt.body) == attempt.announced == len(bodies[piece])
            taken[piece] += 1
    assert set(taken) == set(pieces)
    boundaries = [boundary_of(attempt.head) for attempt in bare.attempts]
    assert len(set(boundaries)) == len(boundaries)


# Reads are at most 1 MiB with few workers, and 128 KiB with 32: larger than a part, the same as
# one, and neither a multiple nor a divisor of it.
SIZES = [
    (PART, 1, size) for size in (1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART - 1)
] + [
    (128 << 10, 32, (256 << 10) + 1),
    (300 << 10, 32, 900 << 10),
    (300 << 10, 32, (600 << 10) - 1),
    (MIB, 4, 2 * MIB + 1),
]


@pytest.mark.parametrize(("part_size", "workers", "size"), SIZES)
async def test_a_part_that_is_sent_again_is_whole_again(
    tmp_path: Path, journal: Path, part_size: int, workers: int, size: int
) -> None:
    """Each attempt but every third is answered "come again": at once, midway, or at its end."""
    path = tmp_path / "a.bin"
    make_source(path, size)
    moments = (0, 1, min(size, part_size) // 2, ALL)

    def spoil(number: int) -> tuple[int, str] | None:
        return None if number % 3 == 2 else (moments[number % len(moments)], "answer")

    bare = Bare(size, spoil)
    async with listening(bare) as wire, uploading(wire, journal, part_size, workers=workers) as up:
        file = await up.upload(path, purpose="user_data")
    assert file.id == "file-1"
    check(bare, path.read_bytes(), part_size)
    parts = -(-size // part_size)
    assert len(bare.ids) == parts
    assert [sorted(ids) for ids in bare.completed] == [sorted(bare.ids)]


@pytest.mark.parametrize("after", [0, 1, 400, PART, ALL])
async def test_a_broken_attempt_uses_up_nothing(tmp_path: Path, journal: Path, after: int) -> None:
    path = tmp_path / "a.bin"
    make_source(path, PART + 1)
    bare = Bare(PART + 1, lambda number: (after, "reset") if number == 0 else None)
    patience: dict[str, Any] = {"retries": 1, "stall_timeout": 5.0}
    async with listening(bare) as wire, uploading(wire, journal, PART, **patience) as uploader:
        await uploader.upload(path, purpose="user_data")
    check(bare, path.read_bytes(), PART)
    assert len(bare.attempts) == 3


async def test_without_md5_the_bodies_are_the_same(tmp_path: Path, journal: Path) -> None:
    path = tmp_path / "a.bin"
    make_source(path, 2 * PART + 7)
    bare = Bare(2 * PART + 7, lambda number: (300, "answer") if number < 2 else None)
    async with listening(bare) as wire, uploading(wire, journal, PART, md5=False) as uploader:
        await uploader.upload(path, purpose="user_data")
    check(bare, path.read_bytes(), PART)


@pytest.mark.parametrize("md5", [True, False])
async def test_a_source_that_shrinks_under_an_attempt_is_never_padded(
    tmp_path: Path, journal: Path, *, md5: bool
) -> None:
    path = tmp_path / "a.bin"
    make_source(path, 16 * MIB)
    content = path.read_bytes()
    attempts: list[Attempt] = []
    ended = asyncio.Event()

    async def serve(caller: Caller) -> None:
        head = await caller.head()
        if not head.target.endswith("/parts"):
            await caller.rest(head)
            await caller.say(reply({"id": "upload_1"}))
            return
        attempts.append(Attempt(head, await caller.reader.readexactly(1000), whole=False))
        os.truncate(path, 10 * MIB)
        with suppress(OSError):
            while found := await caller.reader.read(1 << 16):
                attempts[0].body += found
        ended.set()

    async with (
        listening(serve, window=64 << 10) as wire,
        uploading(wire, journal, 16 * MIB, md5=md5) as uploader,
    ):
        with pytest.raises(SourceChanged):
            await uploader.upload(path, purpose="user_data")
        assert not any(asked.target.endswith("/complete") for asked in wire.asked)
        await ended.wait()
    # It ended short, once, and nothing was made up for what was gone.
    (attempt,) = attempts
    assert len(attempt.body) < attempt.announced
    assert frame(boundary_of(attempt.head), content).startswith(attempt.body)


async def test_no_bytes_are_refused_before_any_connection(tmp_path: Path, journal: Path) -> None:
    path = tmp_path / "a.bin"
    path.touch()
    async with listening(Bare(0)) as wire, uploading(wire, journal, PART) as uploader:
        with pytest.raises(EmptyFile) as caught:
            await uploader.upload(path, purpose="user_data")
        assert wire.connections == 0
    assert caught.value.exit_code == 2
