"""Between runs the size decides at once, and everything else is settled by content."""

import hashlib
import os
from pathlib import Path

import pytest
from test_proof import (
    ALL,
    CONTENT,
    HALF,
    MD5,
    NOTHING,
    PART,
    SIZE,
    SPANS,
    edit,
    job_of,
    move_to_another_inode,
    proving,
    state_of,
)

from chunkup.errors import SourceChanged, SourceGone
from chunkup.pool import SlotPool
from chunkup.proof import Proof
from chunkup.slots import Slots


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


# --- between runs ---------------------------------------------------------------------------


async def test_an_untouched_file_goes_on_where_it_stood(path: Path) -> None:
    async with proving(job_of(path), HALF) as proof:
        await proof.settle_suspicion(HALF)
        proof.advance(HALF)
        assert await proof.complete(ALL) == MD5


@pytest.mark.parametrize("md5", [True, False])
async def test_another_size_is_another_content(path: Path, *, md5: bool) -> None:
    job = job_of(path, md5=md5)
    with path.open("ab") as file:
        file.write(b"x")
    proof = Proof(job, SlotPool(Slots(2)))
    with pytest.raises(SourceChanged) as caught:
        await proof.open(HALF)
    assert caught.value.between_runs
    assert not proof.is_open


async def test_a_file_that_is_gone_stops_it(path: Path) -> None:
    job = job_of(path)
    path.unlink()
    with pytest.raises(SourceGone):
        await Proof(job, SlotPool(Slots(2))).open(HALF)


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("at", [0, 10_000, 19_999])
async def test_an_edit_of_the_same_size_and_time_is_noticed_by_content(
    path: Path, at: int, *, md5: bool
) -> None:
    job = job_of(path, md5=md5)
    edited = edit(path, at, keep_time=True)
    rest = state_of(SPANS, CONTENT[:20_000] + edited[20_000:])
    async with proving(job, HALF) as proof:
        await proof.settle_suspicion(HALF)
        with pytest.raises(SourceChanged) as caught:
            await proof.complete(rest)
    assert caught.value.between_runs


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("at", [0, 19_999])
async def test_an_edit_with_its_time_is_noticed_before_anything_is_sent(
    path: Path, at: int, *, md5: bool
) -> None:
    job = job_of(path, md5=md5)
    edit(path, at, keep_time=False)
    async with proving(job, HALF) as proof:
        with pytest.raises(SourceChanged) as caught:
            await proof.settle_suspicion(HALF)
    assert caught.value.between_runs


@pytest.mark.parametrize("md5", [True, False])
async def test_an_edit_beyond_what_was_sent_harms_nobody(path: Path, *, md5: bool) -> None:
    job = job_of(path, md5=md5)
    edited = edit(path, SIZE - 1, keep_time=False)
    async with proving(job, HALF) as proof:
        await proof.settle_suspicion(HALF)
        proof.advance(HALF)
        found = await proof.complete(state_of(SPANS, edited))
    assert found == (hashlib.md5(edited).hexdigest() if md5 else None)


@pytest.mark.parametrize("md5", [True, False])
async def test_a_touched_file_of_the_same_content_goes_on(path: Path, *, md5: bool) -> None:
    job = job_of(path, md5=md5)
    os.utime(path, ns=(1, 1))
    async with proving(job, HALF) as proof:
        await proof.settle_suspicion(HALF)
        assert await proof.complete(ALL) == (MD5 if md5 else None)


async def test_a_file_on_another_inode_goes_on_without_being_read_first(path: Path) -> None:
    job = job_of(path)
    move_to_another_inode(path)
    async with proving(job, HALF) as proof:
        await proof.settle_suspicion(HALF)
        assert proof._pass is not None
        assert proof._pass.reached == 0
        assert await proof.complete(ALL) == MD5


async def test_another_content_on_another_inode_is_noticed_all_the_same(path: Path) -> None:
    job = job_of(path)
    move_to_another_inode(path)
    edit(path, 5, keep_time=True)
    async with proving(job, HALF) as proof:
        await proof.settle_suspicion(HALF)
        with pytest.raises(SourceChanged) as caught:
            await proof.complete(ALL)
    assert caught.value.between_runs


async def test_without_md5_only_what_earlier_runs_sent_is_read(path: Path) -> None:
    async with proving(job_of(path, md5=False), HALF) as proof:
        proof.advance(HALF)
        assert await proof.complete(ALL) is None
        assert proof._pass is not None
        assert proof._pass.spans == SPANS[:20]
        assert proof._pass.reached == 20 * PART


async def test_a_job_without_receipts_has_nothing_to_suspect(path: Path) -> None:
    job = job_of(path)
    os.utime(path, ns=(1, 1))
    async with proving(job, NOTHING) as proof:
        await proof.settle_suspicion(NOTHING)
        assert await proof.complete(ALL) == MD5
