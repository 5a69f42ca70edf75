"""Started runs in a loop of one's own: watched, stopped, cancelled, forgotten, closed."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source
from test_leftovers import count

import chunkup
from chunkup import events
from chunkup.errors import NoSuchFile, Rejected
from chunkup.handles import Feed

SIZE = 10_500


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sources(tmp_path, 1)[0]


def sources(folder: Path, amount: int, size: int = SIZE) -> list[Path]:
    paths = [folder / f"{number}.bin" for number in range(amount)]
    for number, path in enumerate(paths):
        make_source(path, size, seed=number)
    return paths


class Watch:
    """A listener that tells when it has heard of so many events of a kind."""

    def __init__(self, count: int, kind: type[events.Event] = events.PartAccepted) -> None:
        self.enough = asyncio.Event()
        self.seen: list[events.Event] = []
        self._count, self._kind = count, kind

    def __call__(self, event: events.Event) -> None:
        self.seen.append(event)
        if sum(isinstance(one, self._kind) for one in self.seen) >= self._count:
            self.enough.set()


def hold(house: House, after: int) -> asyncio.Event:
    """Let so many parts of every Upload through, and hold the others until this is set."""
    go = asyncio.Event()
    seen: dict[str, int] = {}

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            seen[request.path] = seen.get(request.path, 0) + 1
            if seen[request.path] > after:
                await go.wait()
        return await handler(request)

    house.intercept = intercept
    return go


async def let_go(house: House, go: asyncio.Event) -> None:
    """What was held arrives now, if its sender still wants that, before anything else does."""
    go.set()
    await house.idle()
    house.intercept = None
    house.arrivals.clear()


async def test_a_run_is_watched_and_awaited(house: House, journal: Path, source: Path) -> None:
    go = hold(house, 3)
    watch = Watch(3)
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="user_data", on_event=watch)
        assert (run.path, run.job_id, run.progress, run.done) == (str(source), None, None, False)
        job_id = await run.ready()
        assert job_id == run.job_id == watch.seen[-1].job
        await watch.enough.wait()
        assert run.progress is not None
        assert (run.progress.done, run.progress.size) == (3000, SIZE)
        go.set()
        file = await run
        assert house.content(file.id) == source.read_bytes()
        assert await run == file
        assert run.progress.done == SIZE
        await run.wait()


async def test_a_run_may_have_many_waiters_and_lose_all_of_them(
    house: House, journal: Path, source: Path
) -> None:
    go = hold(house, 3)
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="user_data")
        waiters = [asyncio.create_task(run.wait()) for _ in range(3)]
        await run.ready()
        for waiter in waiters:
            waiter.cancel()
        assert not run.done
        go.set()
        results = await asyncio.gather(run, run)
    assert results[0] == results[1]


async def test_a_stopped_run_raises_stopped_and_the_same_call_goes_on(
    house: House, journal: Path, source: Path
) -> None:
    go = hold(house, 4)
    watch = Watch(4)
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="user_data", on_event=watch)
        await watch.enough.wait()
        run.stop()
        run.stop()
        with pytest.raises(chunkup.Stopped) as caught:
            await run
        assert (caught.value.job_id, caught.value.hint) == (
            run.job_id,
            f"chunkup resume {run.job_id}",
        )
        assert isinstance(watch.seen[-1], events.Stopped)
        (job,) = await uploader.jobs()
        assert (job.state, job.done) == ("stopped", 4000)
        await let_go(house, go)
        again = uploader.start(source, purpose="user_data")
        assert await again.ready() == run.job_id
        assert again.progress is not None
        assert again.progress.done == 4000
        file = await again
    assert house.content(file.id) == source.read_bytes()
    assert house.whole_bytes == SIZE - 4000
    assert house.calls.count("create") == 1


async def test_a_run_that_is_stopped_before_it_began_is_stopped_and_not_cancelled(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="user_data")
        run.stop()
        assert await run.ready() is None
        with pytest.raises(chunkup.Stopped):
            await run
        assert await uploader.jobs() == []
    assert house.calls == []


async def test_to_stop_what_is_over_changes_nothing(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="user_data")
        file = await run
        run.stop()
        assert await run == file


async def test_a_second_stop_does_not_disturb_the_tidying_up_after_the_first() -> None:
    begun, stopping, tidied = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(_: Callable[[events.Event], None]) -> chunkup.RemoteFile:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await asyncio.to_thread(int)
            tidied.set()
        raise AssertionError

    run = chunkup.AsyncRun("a", work, None)
    await begun.wait()
    run.stop()
    await stopping.wait()
    run.stop()
    with pytest.raises(chunkup.Stopped):
        await run
    assert tidied.is_set()


@pytest.mark.parametrize("started", [True, False])
async def test_cancelling_the_task_that_awaits_is_a_stop(
    house: House, journal: Path, source: Path, *, started: bool
) -> None:
    go = hold(house, 4)
    watch = Watch(4)

    async with house.uploader(journal) as uploader:

        async def work() -> chunkup.RemoteFile:
            if started:
                return await uploader.start(source, purpose="user_data", on_event=watch)
            return await uploader.upload(source, purpose="user_data", on_event=watch)

        task = asyncio.create_task(work())
        await watch.enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (job,) = await uploader.jobs()
        assert (job.state, job.done) == ("stopped", 4000)
        await let_go(house, go)
        await uploader.resume(job.id)
    assert house.whole_bytes == SIZE - 4000


async def test_a_timeout_around_it_is_a_stop_too(house: House, journal: Path, source: Path) -> None:
    go = hold(house, 4)
    watch = Watch(4)
    async with house.uploader(journal) as uploader:

        async def work() -> None:
            async with asyncio.timeout(None) as limit:
                run = uploader.start(source, purpose="user_data", on_event=watch)
                await watch.enough.wait()
                limit.reschedule(0)
                await run

        with pytest.raises(TimeoutError):
            await work()
        assert [job.state for job in await uploader.jobs()] == ["stopped"]
    await let_go(house, go)


async def test_one_that_fails_unheard_is_logged_and_complained_of_nowhere(
    house: House, journal: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    with caplog.at_level(logging.INFO, logger="chunkup"):
        async with house.uploader(journal) as uploader:
            run = uploader.start(source, purpose="no such purpose")
            lost = uploader.start("nowhere", purpose="user_data")
        assert run.done
        assert lost.done
        del run, lost
        gc.collect()
    assert complaints == []
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert any("nowhere" in text for text in said)
    assert any("no such purpose" in text for text in said)


async def test_one_that_fails_raises_whenever_it_is_awaited(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        run = uploader.start(source, purpose="no such purpose")
        lost = uploader.start("nowhere", purpose="user_data")
        await run.wait()
        for _ in range(2):
            with pytest.raises(Rejected):
                await run
        with pytest.raises(NoSuchFile):
            await lost


# --- many -------------------------------------------------------------------------------------


async def test_results_come_in_order_while_the_reader_is_busy_elsewhere(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 12, size=1500)
    all_done = Watch(12, events.Completed)
    async with house.uploader(journal) as uploader:
        given = uploader.upload_all(paths, purpose="user_data", on_event=all_done)
        results = [await anext(given)]
        # More than eight: the later ones begin without the reader asking for anything.
        await all_done.enough.wait()
        results += [result async for result in given]
    assert [result.path for result in results] == [str(path) for path in paths]
    for path, result in zip(paths, results, strict=True):
        assert result.file is not None
        assert house.content(result.file.id) == path.read_bytes()


async def test_leaving_the_loop_and_the_uploader_stops_the_rest_and_keeps_receipts(
    house: House, journal: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.bin"
    make_source(short, 500)
    names = [short, *sources(tmp_path, 2)]
    go = hold(house, 3)
    async with house.uploader(journal) as uploader:
        async for result in uploader.upload_all(names, purpose="user_data"):
            first = result
            break
    async with house.uploader(journal) as again:
        assert [job.state for job in await again.jobs()] == ["completed", "stopped", "stopped"]
        await let_go(house, go)
        results = [result async for result in again.upload_all(names, purpose="user_data")]
    assert results[0].file == first.file
    assert [result.reused for result in results] == [True, False, False]
    assert [result.error for result in results] == [None] * 3


async def test_a_reader_of_what_was_closed_hears_that_it_stopped(
    house: House, journal: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.bin"
    make_source(short, 500)
    hold(house, 3)
    uploader = house.uploader(journal)
    given = uploader.upload_all([short, *sources(tmp_path, 2)], purpose="user_data")
    assert (await anext(given)).file is not None
    await uploader.aclose()
    with pytest.raises(chunkup.Stopped, match="goes on"):
        await anext(given)


async def test_a_feed_gives_what_there_was_and_then_the_error() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError

    feed = Feed(items())
    await feed.wait()
    assert await anext(feed) == 1
    with pytest.raises(ZeroDivisionError):
        await anext(feed)


async def test_a_feed_that_fails_when_its_reader_is_gone_is_complained_of_nowhere() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError

    feed = Feed(items())
    await feed.wait()
    del feed
    gc.collect()
    assert complaints == []


async def test_a_refusal_of_one_reaches_the_reader_of_all(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        with pytest.raises(NoSuchFile):
            await anext(uploader.upload_all([source, "nowhere"], purpose="user_data"))
    assert house.calls == []


# --- endings ----------------------------------------------------------------------------------


async def test_leaving_normally_waits_for_what_was_started_and_what_that_starts(
    house: House, journal: Path, tmp_path: Path
) -> None:
    one, two, three = sources(tmp_path, 3)
    runs: list[chunkup.AsyncRun] = []
    async with house.uploader(journal) as uploader:

        def chain(event: events.Event) -> None:
            if isinstance(event, events.Completed):
                runs.append(uploader.start(two, purpose="user_data"))

        runs.append(uploader.start(one, purpose="user_data", on_event=chain))
        runs.append(uploader.with_options(workers=1).start(three, purpose="user_data"))
    assert [(await run).bytes for run in runs] == [SIZE] * 3


async def test_leaving_by_an_exception_stops(house: House, journal: Path, source: Path) -> None:
    go = hold(house, 2)
    watch = Watch(2)
    runs: list[chunkup.AsyncRun] = []

    async def leave() -> None:
        async with house.uploader(journal) as uploader:
            runs.append(uploader.start(source, purpose="user_data", on_event=watch))
            await watch.enough.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    assert runs[0].done
    with pytest.raises(chunkup.Stopped):
        await runs[0]
    await let_go(house, go)


async def test_cancellation_while_leaving_stops(house: House, journal: Path, source: Path) -> None:
    go = hold(house, 2)
    watch = Watch(2)
    runs: list[chunkup.AsyncRun] = []
    leaving = asyncio.Event()

    async def work() -> None:
        async with house.uploader(journal) as uploader:
            runs.append(uploader.start(source, purpose="user_data", on_event=watch))
            await watch.enough.wait()
            leaving.set()

    task = asyncio.create_task(work())
    await leaving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(chunkup.Stopped):
        await runs[0]
    await let_go(house, go)


async def test_aclose_stops_every_kind_of_work_whoever_waits_for_it(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 5)
    go = hold(house, 0)
    begun = Watch(1, events.UploadCreated)
    uploader = house.uploader(journal)
    first = uploader.start(paths[0], purpose="user_data", on_event=begun)
    await begun.enough.wait()
    assert first.job_id is not None
    first.stop()
    await first.wait()
    begun = Watch(3, events.UploadCreated)  # of the two in one call, one fills the slots
    started = Watch(1, events.JobStarted)
    works: list[asyncio.Future[object]] = [
        asyncio.ensure_future(work)
        for work in (
            uploader.upload(paths[1], purpose="user_data", on_event=begun),
            uploader.resume(first.job_id, on_event=started),
            uploader.with_options(workers=2).upload(paths[2], purpose="user_data", on_event=begun),
            _all(uploader, paths[3:], begun),
        )
    ]
    # The resumed one has its Upload already.
    await started.enough.wait()
    await begun.enough.wait()
    await uploader.aclose(grace=30)
    for work in works:
        with pytest.raises(chunkup.Stopped):
            await work
    assert {job.state for job in await uploader.jobs()} == {"stopped"}
    await uploader.aclose()
    await let_go(house, go)


async def _all(
    uploader: chunkup.AsyncUploader, paths: list[Path], watch: Watch
) -> list[chunkup.Result]:
    return [one async for one in uploader.upload_all(paths, purpose="user_data", on_event=watch)]


async def test_closing_what_with_options_made_leaves_the_other_one_alone(
    house: House, journal: Path, tmp_path: Path
) -> None:
    one, two = sources(tmp_path, 2)
    go = hold(house, 2)
    watch = Watch(2)
    async with house.uploader(journal) as uploader:
        run = uploader.start(one, purpose="user_data", on_event=watch)
        await watch.enough.wait()
        other = uploader.with_options(workers=1)
        theirs = other.start(two, purpose="user_data")
        await theirs.ready()
        await other.aclose()
        with pytest.raises(chunkup.Stopped):
            await theirs
        assert not run.done
        go.set()
        assert (await run).bytes == SIZE


async def test_aclose_has_the_patience_that_it_was_given(
    house: House, journal: Path, source: Path
) -> None:
    deaf = asyncio.Event()

    async def work(_: Callable[[events.Event], None]) -> chunkup.RemoteFile:
        while not deaf.is_set():
            try:
                await deaf.wait()
            except asyncio.CancelledError:
                continue
        raise AssertionError

    uploader = house.uploader(journal)
    run = uploader._watched("deaf", work, None)
    await asyncio.sleep(0)
    await uploader.aclose(grace=0.01)
    assert not run.done
    deaf.set()
    await run.wait()


# --- leftovers --------------------------------------------------------------------------------


async def forget(uploader: chunkup.AsyncUploader, paths: list[Path]) -> None:
    uploader.start(paths[0], purpose="user_data")
    uploader.with_options(workers=1).start(paths[1], purpose="user_data")
    await uploader.aclose()


async def stop(uploader: chunkup.AsyncUploader, paths: list[Path]) -> None:
    run = uploader.start(paths[0], purpose="user_data")
    await run.ready()
    run.stop()


async def leave_early(uploader: chunkup.AsyncUploader, paths: list[Path]) -> None:
    async for _ in uploader.upload_all(paths, purpose="user_data"):
        break


async def finish(uploader: chunkup.AsyncUploader, paths: list[Path]) -> None:
    uploader.start(paths[0], purpose="user_data")
    async for _ in uploader.upload_all(paths[1:], purpose="user_data"):
        pass


@pytest.mark.parametrize("ending", [forget, stop, leave_early, finish])
async def test_nothing_is_left(
    ending: Callable[[chunkup.AsyncUploader, list[Path]], "asyncio.Future[None]"],
    house: House,
    journal: Path,
    tmp_path: Path,
) -> None:
    paths = sources(tmp_path, 3)
    await asyncio.to_thread(int)  # the loop's own executor is nobody's leftover
    threads, files, tasks = count()
    async with house.uploader(journal, options=HASTY) as uploader:
        await ending(uploader, paths)
    await house.idle()
    await house.no_connections()
    after_threads, after_files, after_tasks = count()
    assert {name for name in after_threads if not name.startswith("chunkup-read")} == threads
    assert after_files == files
    assert after_tasks == tasks
