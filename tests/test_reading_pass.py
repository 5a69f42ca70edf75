"""The pass: one ordered reading, as far as it is allowed, that can be stopped at any time."""

import asyncio
import hashlib
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import scattered, tilings
from xxhash import xxh3_128

from chunkup.errors import SourceChanged, SourceGone
from chunkup.models import GIB, MIB, Source, Span
from chunkup.planner import cut
from chunkup.reading import Pass
from chunkup.source import inspect

CONTENT = random.Random(3).randbytes(4000)
WHOLE = Span(0, len(CONTENT))
SPANS = tuple(cut([WHOLE], (), 1000))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return Source(str(path), WHOLE, inspect(path)[1])


@asynccontextmanager
async def started(source: Source, *spans: Span, md5: bool = True) -> AsyncIterator[Pass]:
    proof = Pass(source, spans or SPANS, md5=md5)
    proof.start()
    try:
        yield proof
    finally:
        async with asyncio.timeout(20):
            await proof.close()
        assert not proof._thread.is_alive()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  (the thread tells nobody before a stretch is through)
        await asyncio.sleep(0)


def digest(span: Span) -> str:
    return xxh3_128(CONTENT[span.start : span.stop]).hexdigest()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A file that nobody changes."""
    path = tmp_path_factory.mktemp("kept") / "a.bin"
    path.write_bytes(CONTENT)
    return Source(str(path), WHOLE, inspect(path)[1])


@given(tilings(Span(0, 400)))
def test_every_stretch_gets_its_digest_and_the_whole_its_md5(
    kept: Source, spans: tuple[Span, ...]
) -> None:
    async def read() -> tuple[dict[Span, str], str | None]:
        async with started(kept, *spans) as proof:
            await proof.reach(400)
            return proof.digests, proof.md5()

    digests, md5 = asyncio.run(read())
    assert digests == {span: digest(span) for span in spans}
    assert md5 == hashlib.md5(CONTENT[:400]).hexdigest()


@given(scattered(WHOLE), st.integers(0, 5000))
def test_it_reads_no_further_than_it_is_allowed(
    kept: Source, spans: tuple[Span, ...], offset: int
) -> None:
    async def read() -> Pass:
        async with started(kept, *spans or SPANS, md5=False) as proof:
            await proof.reach(offset)
            return proof

    proof = asyncio.run(read())
    permitted = [span for span in proof.spans if span.start < offset]
    assert set(proof.digests) == set(permitted)
    assert proof.reached == sum(span.size for span in permitted)
    assert proof.md5() is None


async def test_a_permit_never_shrinks(source: Source) -> None:
    async with started(source) as proof:
        proof.allow(2500)
        proof.allow(10)
        await proof.reach(20)
        proof.allow(0)
        await until(lambda: proof.reached >= 3000)
        assert proof.reached == 3000


async def test_a_pass_without_stretches_is_through_at_once(source: Source) -> None:
    proof = Pass(source, (), md5=True)
    proof.start()
    await proof.reach(4000)
    await proof.close()
    assert proof.reached == 0


# --- stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("md5", [True, False])
async def test_it_stops_within_a_read_though_the_stretch_is_huge(
    tmp_path: Path, *, md5: bool
) -> None:
    path = tmp_path / "huge.bin"
    path.touch()
    os.truncate(path, 64 * GIB)  # no block of it is on the disk
    span = Span(0, 64 * GIB)
    proof = Pass(Source(str(path), span, inspect(path)[1]), [span], md5=md5)
    proof.start()
    proof.allow(span.stop)
    await until(lambda: proof.reached > 0)
    before = proof.reached
    await proof.close()
    assert not proof._thread.is_alive()
    # How far it gets between these lines is up to the scheduler, but it is not 64 GiB.
    assert proof.reached - before < 512 * MIB
    assert proof.reached % MIB == 0
    assert not proof.digests


@pytest.mark.parametrize("offset", [0, 1500])
async def test_it_stops_while_it_waits_for_a_permit(source: Source, offset: int) -> None:
    async with started(source) as proof:
        await proof.reach(offset)
    assert proof.reached == (0 if offset == 0 else 2000)


async def test_closing_twice_or_before_the_start_is_no_harm(source: Source) -> None:
    await Pass(source, SPANS, md5=True).close()
    async with started(source) as proof:
        await proof.close()


async def test_a_pipe_that_took_the_files_name_does_not_hang_it(source: Source) -> None:
    Path(source.path).unlink()
    os.mkfifo(source.path)
    proof = Pass(source, SPANS, md5=True)
    proof.start()
    closing = asyncio.ensure_future(proof.close())
    done, _ = await asyncio.wait([closing], timeout=2)
    if not done:
        # Nobody else would ever let it go on.
        os.close(os.open(source.path, os.O_WRONLY | os.O_NONBLOCK))
    await closing
    assert done, "the pass hung until somebody opened the other end"


async def test_no_thread_and_no_open_file_is_left_however_it_ends(source: Source) -> None:
    threads, files = threading.active_count(), len(os.listdir("/dev/fd"))  # noqa: PTH208  (descriptors)
    async with started(source) as proof:
        await proof.reach(4000)
    async with started(source):
        pass
    async with started(source) as proof:
        await proof.reach(1)
        os.truncate(source.path, 10)
        with pytest.raises(SourceChanged):
            await proof.reach(4000)
    assert threading.active_count() == threads
    assert len(os.listdir("/dev/fd")) == files  # noqa: PTH208  (descriptors)


# --- a source that does not keep still ------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, 3500)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    stat, other = path.stat(), path.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (truncate, SourceChanged),
        (touch, SourceChanged),
        (replace, SourceChanged),
        (vanish, SourceGone),
        (become_a_folder, SourceGone),
    ],
)
async def test_what_was_wrong_from_the_start_reaches_whoever_waits_or_asks(
    source: Source, change: Callable[[Path], None], expected: type[Exception]
) -> None:
    change(Path(source.path))
    async with started(source) as proof:
        for _ in range(2):
            with pytest.raises(expected):
                await proof.reach(4000)
            with pytest.raises(expected):
                proof.check()
    assert not proof.digests
    assert proof.reached == 0, "what is not ours is not read"


@pytest.mark.parametrize("change", [truncate, touch])
async def test_a_change_under_the_pass_is_noticed_and_no_digest_after_it_is_given(
    source: Source, change: Callable[[Path], None]
) -> None:
    async with started(source) as proof:
        await proof.reach(1500)
        proof.check()
        change(Path(source.path))
        with pytest.raises(SourceChanged):
            await proof.reach(4000)
        with pytest.raises(SourceChanged):
            proof.check()
    assert set(proof.digests) == set(SPANS[:2])


async def test_a_stretch_beyond_the_end_gets_no_digest(source: Source) -> None:
    async with started(source, Span(0, 3000), Span(3000, 4001)) as proof:
        with pytest.raises(SourceChanged):
            await proof.reach(4001)
    assert set(proof.digests) == {Span(0, 3000)}


async def test_all_who_wait_hear_of_an_error(source: Source) -> None:
    async with started(source) as proof:
        await proof.reach(1)
        waiting = [asyncio.ensure_future(proof.reach(offset)) for offset in (1500, 2500, 4000)]
        os.truncate(source.path, 1000)
        heard = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(heard[-1], SourceChanged)
    assert all(isinstance(one, SourceChanged) for one in heard)
