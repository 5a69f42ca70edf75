"""Whether what the server holds is what the file is: within a run and between runs."""

import asyncio
import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plain_job, tilings
from xxhash import xxh3_128

from chunkup.errors import SourceChanged, SourceGone
from chunkup.machine import Accepted, Created, State, fold
from chunkup.models import Job, Receipt, Span, Upload
from chunkup.planner import cut
from chunkup.pool import SlotPool
from chunkup.proof import Proof
from chunkup.slots import Slots
from chunkup.source import inspect

SIZE = 40_500
PART = 1000
CONTENT = random.Random(5).randbytes(SIZE)
MD5 = hashlib.md5(CONTENT).hexdigest()
SPANS = tuple(cut([Span(0, SIZE)], (), PART))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


def job_of(path: Path, *, md5: bool = True, part_size: int = PART) -> Job:
    real, found = inspect(path)
    job = plain_job(real, found.size)
    return replace(job, fingerprint=found, md5=md5, part_size=part_size)


def state_of(spans: Iterable[Span], content: bytes = CONTENT) -> State:
    """A job of which ``spans`` of ``content`` were sent."""
    facts = [Created(Upload("upload_1", 1, None))]
    receipts = (
        Receipt(span, f"part_{span.start}", xxh3_128(content[span.start : span.stop]).hexdigest())
        for span in spans
    )
    return fold(Span(0, SIZE), [*facts, *(Accepted("upload_1", receipt) for receipt in receipts)])


NOTHING = state_of([])
HALF = state_of(SPANS[:20])
ALL = state_of(SPANS)


@asynccontextmanager
async def proving(job: Job, state: State, slots: int = 2) -> AsyncIterator[Proof]:
    proof = Proof(job, SlotPool(Slots(slots)))
    await proof.open(state)
    try:
        yield proof
    finally:
        await proof.close()
        assert not any(thread.name == "chunkup-md5" for thread in threading.enumerate())


def edit(path: Path, at: int, *, keep_time: bool) -> bytes:
    """Change one byte and nothing else; the new content."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([CONTENT[at] ^ 1]))
    moment = before.st_mtime_ns if keep_time else before.st_mtime_ns + 10**9
    os.utime(path, ns=(before.st_atime_ns, moment))
    return path.read_bytes()


def move_to_another_inode(path: Path) -> None:
    """What a restored backup or another mount does: all the same but the inode."""
    before = path.stat()
    other = path.with_name("other")
    shutil.copyfile(path, other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_ino != before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


# --- within one run -------------------------------------------------------------------------


async def test_a_file_that_keeps_still_is_proven_and_its_md5_known(path: Path) -> None:
    async with proving(job_of(path), NOTHING) as proof:
        await proof.settle_suspicion(NOTHING)
        for sent in range(0, len(SPANS), 7):
            proof.advance(state_of(SPANS[:sent]))
        proof.advance(ALL)
        assert await proof.complete(ALL) == MD5


@settings(deadline=None, max_examples=40)
@given(tilings(Span(0, SIZE)), st.integers(0, 10), st.integers(1, 50_000))
def test_parts_cut_in_any_way_still_give_the_md5_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, spans: tuple[Span, ...], before: int, part_size: int
) -> None:
    """Some were sent by an earlier run, the rest by this one, all cut differently."""
    path = tmp_path_factory.mktemp("cut") / "a.bin"
    path.write_bytes(CONTENT)

    async def prove() -> str | None:
        async with proving(
            job_of(path, part_size=max(part_size, 500)), state_of(spans[:before])
        ) as proof:
            proof.advance(state_of(spans[:before]))
            return await proof.complete(state_of(spans))

    assert asyncio.run(prove()) == MD5


async def test_the_md5_is_that_of_the_jobs_stretch_and_not_of_the_file(path: Path) -> None:
    span = Span(500, 3500)
    job = replace(job_of(path), span=span)
    digest = xxh3_128(CONTENT[500:3500]).hexdigest()
    facts = Created(Upload("u", 1, None)), Accepted("u", Receipt(span, "p", digest))
    async with proving(job, State(span)) as proof:
        md5 = await proof.complete(fold(span, facts))
    assert md5 == hashlib.md5(CONTENT[500:3500]).hexdigest()


# Without MD5 the fingerprint is all there is within a run: an edit that hides its time passes.
@pytest.mark.parametrize(("md5", "keep_time"), [(True, True), (True, False), (False, False)])
async def test_a_file_edited_while_it_is_sent_is_never_completed(
    path: Path, *, md5: bool, keep_time: bool
) -> None:
    """All parts went out before the edit, and the pass had not come there yet."""
    async with proving(job_of(path, md5=md5), NOTHING) as proof:
        proof.advance(NOTHING)
        edit(path, SIZE - 10, keep_time=keep_time)
        with pytest.raises(SourceChanged) as caught:
            await proof.complete(ALL)
    assert not caught.value.between_runs


async def test_an_edit_that_some_parts_saw_and_some_did_not_is_never_completed(path: Path) -> None:
    async with proving(job_of(path), NOTHING) as proof:
        assert proof._pass is not None
        await proof._pass.reach(1)  # and it waits there, while the file is edited
        edited = edit(path, SIZE - 10, keep_time=True)
        mixed = CONTENT[: SIZE - 500] + edited[SIZE - 500 :]
        assert await proof.complete(state_of(SPANS, mixed)) == hashlib.md5(mixed).hexdigest()
        with pytest.raises(SourceChanged):
            await proof.complete(state_of(SPANS, CONTENT[:500] + edited[500:-1] + b"?"))


async def test_the_sending_stops_as_soon_as_the_pass_meets_a_change(path: Path) -> None:
    async with proving(job_of(path), NOTHING) as proof:
        edited = edit(path, 10, keep_time=True)
        assert edited != CONTENT
        state = state_of(SPANS[:1])
        proof.advance(NOTHING)
        assert proof._pass is not None
        await proof._pass.reach(1)
        with pytest.raises(SourceChanged) as caught:
            proof.advance(state)
    assert not caught.value.between_runs


async def test_parts_cut_otherwise_than_expected_are_compared_all_the_same(path: Path) -> None:
    async with proving(job_of(path, part_size=700), NOTHING) as proof:
        proof.advance(NOTHING)
        edit(path, SIZE - 10, keep_time=True)
        with pytest.raises(SourceChanged):
            await proof.complete(ALL)


async def test_another_file_under_the_same_name_is_noticed_at_the_end(path: Path) -> None:
    for md5 in (True, False):
        async with proving(job_of(path, md5=md5), NOTHING) as proof:
            proof.advance(ALL)
            if proof._pass is not None:
                await proof._pass.reach(SIZE)
            move_to_another_inode(path)
            with pytest.raises(SourceChanged):
                await proof.complete(ALL)


async def test_a_file_that_vanished_while_it_was_sent_is_not_completed(path: Path) -> None:
    async with proving(job_of(path), NOTHING) as proof:
        path.unlink()
        with pytest.raises(SourceGone):
            await proof.complete(ALL)


async def test_the_pass_stays_near_the_sending_and_runs_free_over_receipts(path: Path) -> None:
    async with proving(job_of(path), NOTHING, slots=2) as proof:
        assert proof._pass is not None
        proof.advance(NOTHING)
        await proof._pass.reach(4 * PART)
    assert proof._pass.reached == 4 * PART
    async with proving(job_of(path), HALF, slots=2) as proof:
        assert proof._pass is not None
        proof.advance(HALF)
        await proof._pass.reach(24 * PART)
    assert proof._pass.reached == 24 * PART


async def test_the_time_that_the_pass_needs_still_is_known_once_it_has_read_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """An MD5 for which a megabyte is much."""

        def update(self, _: bytes) -> None:
            time.sleep(0.06)

    async with proving(job_of(path, md5=False), HALF) as proof:
        assert proof.behind == 0.0  # there is hardly anything to read
    monkeypatch.setattr("chunkup.reading.hashlib.md5", lambda **_: Slow())
    async with proving(job_of(path), HALF) as proof:
        assert proof._pass is not None
        await proof._pass.reach(2 * PART)
        assert proof.behind == 0.0
        await proof._pass.reach(20 * PART)
        left = 1 - 20 * PART / SIZE
        assert proof._pass.busy > 1
        assert proof.behind == pytest.approx(proof._pass.busy * left / (1 - left), rel=0.2)
        waiting = proof.behind
        await asyncio.sleep(0.3)  # it waits for the sending, which is no slowness of its own
        assert proof.behind == pytest.approx(waiting, rel=0.1)


# --- being open -----------------------------------------------------------------------------


async def test_before_it_is_open_there_is_no_source_and_nothing_to_do(path: Path) -> None:
    proof = Proof(job_of(path), SlotPool(Slots(2)))
    assert not proof.is_open
    with pytest.raises(RuntimeError, match="not open"):
        _ = proof.source
    proof.advance(NOTHING)
    await proof.settle_suspicion(NOTHING)
    await proof.close()


async def test_the_source_is_as_it_was_when_this_run_began(path: Path) -> None:
    job = job_of(path)
    os.utime(path, ns=(1, 1))
    async with proving(job, HALF) as proof:
        assert proof.source.fingerprint == inspect(path)[1] != job.fingerprint
        assert proof.source.span == job.span
