"""The two faces of the library are one: the blocking one does what the other promises."""

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import typing
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from elsewhere import in_a_thread
from gates import PATIENCE, holding
from house import HASTY, KEY, Handler, House, call_of, drop, make_source, open_house

import chunkup
from chunkup import events
from chunkup.blocking_files import BlockingFiles, BlockingUploads
from chunkup.errors import Rejected, TooLarge
from chunkup.files import Files
from chunkup.files.uploads import Uploads
from chunkup.settings import Changes, Settings

SIZE = 10_500

# Named differences between the faces, each with its reason.
RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
ONLY_ASYNC = {
    "journal": "for programs that read the journal themselves, in the loop that opened it",
    "account": "the same",
    "plan": "speaks in values that are not public yet",
}
RUN_ONLY_ASYNC = {
    "task": "a task means nothing outside of its loop",
    "when_over": "the uploader's own",
    "__await__": "the blocking one has result()",
}
RUN_ONLY_BLOCKING = {"result": "the other one is awaited"}
TIMEOUTS = {"wait": "an await has asyncio.timeout() around it"}


# --- signatures -------------------------------------------------------------------------------


def public(kind: type) -> dict[str, Any]:
    named = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    special = {name: vars(kind)[name] for name in ("__await__", *RENAMED) if name in vars(kind)}
    renamed = {RENAMED.get(name, name): member for name, member in special.items()}
    blocking = {name: vars(kind)[name] for name in RENAMED.values() if name in vars(kind)}
    return {RENAMED.get(name, name): member for name, member in named.items()} | renamed | blocking


def blocking_form(annotation: object) -> object:
    """What the blocking face says where the other one says this."""
    twins: dict[object, object] = {
        AsyncGenerator[chunkup.Result]: Iterator[chunkup.Result],
        AsyncGenerator[chunkup.RemoteFile]: Iterator[chunkup.RemoteFile],
        AsyncGenerator[bytes]: Iterator[bytes],
        AsyncGenerator[chunkup.Verified]: Iterator[chunkup.Verified],
        chunkup.AsyncRun: chunkup.Run,
        "AsyncUploader": "Uploader",
    }
    return twins.get(annotation, annotation)


def shape(function: Callable[..., object]) -> tuple[object, object]:
    signature = inspect.signature(getattr(function, "__func__", function))  # of a classmethod
    parameters = [
        (one.name, one.kind, one.default, one.annotation) for one in signature.parameters.values()
    ]
    return parameters, blocking_form(signature.return_annotation)


# Each face, its blocking twin, and what is only on the first.
FACES = [
    (chunkup.AsyncUploader, chunkup.Uploader, set(ONLY_ASYNC)),
    (Files, BlockingFiles, set[str]()),
    (Uploads, BlockingUploads, set[str]()),
]
every_face = pytest.mark.parametrize(
    ("theirs", "ours", "alone"), FACES, ids=[face.__name__ for face, _, _ in FACES]
)


def methods(kind: type) -> dict[str, Any]:
    """Its public methods, those that it has of its base class among them."""
    found = {
        name: each for base in reversed(kind.__mro__[:-1]) for name, each in public(base).items()
    }
    return {name: each for name, each in found.items() if not isinstance(each, property)}


@every_face
def test_every_method_of_one_face_is_on_the_other_with_the_same_signature(
    theirs: type, ours: type, alone: set[str]
) -> None:
    assert set(methods(theirs)) - set(methods(ours)) == alone
    assert set(methods(ours)) <= set(methods(theirs))
    for name, member in methods(ours).items():
        if (ours, name) != (BlockingFiles, "start"):  # its handle is whatever the face holds
            assert shape(member) == shape(methods(theirs)[name]), name


@every_face
def test_no_method_of_the_blocking_face_is_awaited_and_the_other_ones_are(
    theirs: type, ours: type, alone: set[str]
) -> None:
    for name, member in methods(ours).items():
        assert not inspect.iscoroutinefunction(member), name
        assert not inspect.isasyncgenfunction(member), name
    at_once = {"start", "with_options", "plan", "from_openai"}
    for name, member in methods(theirs).items():
        waits = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        assert waits == (name not in at_once), name


def test_runs_have_the_same_face_too() -> None:
    theirs, ours = public(chunkup.AsyncRun), public(chunkup.Run)
    # One is set in the constructor there and a property here: to read it is the same.
    ours.pop("path")
    assert set(theirs) - set(ours) == set(RUN_ONLY_ASYNC)
    assert set(ours) - set(theirs) == set(RUN_ONLY_BLOCKING)
    for name in set(ours) & set(theirs) - set(TIMEOUTS):
        pair = [getattr(one[name], "fget", one[name]) for one in (ours, theirs)]
        assert shape(pair[0]) == shape(pair[1]), name


def test_constructors_and_settings_are_the_same() -> None:
    assert shape(chunkup.Uploader.__init__) == shape(chunkup.AsyncUploader.__init__)
    parameters = inspect.signature(chunkup.AsyncUploader.__init__).parameters
    wanted = {name: one.annotation for name, one in parameters.items() if name != "self"}
    assert list(Settings.__annotations__) == list(wanted)
    for name, annotation in wanted.items():
        # The dictionary wraps what is written as text; both name the same type.
        assert str(Settings.__annotations__[name]) == str(annotation), name


@pytest.mark.parametrize("name", ["upload", "resume"])
def test_the_functions_take_what_the_method_and_the_constructor_take(name: str) -> None:
    function = inspect.signature(getattr(chunkup, name))
    method = inspect.signature(getattr(chunkup.Uploader, name))
    taken = [one for one in function.parameters.values() if one.name != "settings"]
    assert taken == list(method.parameters.values())[1:]
    assert function.return_annotation == method.return_annotation
    assert typing.get_args(function.parameters["settings"].annotation) == (Settings,)


def test_changes_are_the_part_size_the_md5_and_every_option() -> None:
    options = {one.name: one.type for one in fields(chunkup.Options)}
    assert Changes.__annotations__ == {"part_size": int, "md5": bool, **options}


# --- behaviour --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[House]:
    with in_a_thread(lambda: open_house(tmp_path / "server")) as house:
        yield house


@pytest.fixture
def uploader(server: House, journal: Path) -> Iterator[chunkup.Uploader]:
    opened = make(server, journal)
    yield opened
    opened.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sources(tmp_path, 1)[0]


def make(server: House, journal: Path, part_size: int = 1000) -> chunkup.Uploader:
    return chunkup.Uploader(
        base_url=server.url, api_key=KEY, journal=journal, part_size=part_size, options=HASTY
    )


def sources(folder: Path, count: int, size: int = SIZE) -> list[Path]:
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        make_source(path, size, seed=number)
    return paths


class Watch:
    """A listener that tells when it has heard of so many events of a kind."""

    def __init__(self, count: int, kind: type[events.Event] = events.PartAccepted) -> None:
        self.enough = threading.Event()
        self.seen: list[events.Event] = []
        self._count, self._kind = count, kind

    def __call__(self, event: events.Event) -> None:
        self.seen.append(event)
        if sum(isinstance(one, self._kind) for one in self.seen) >= self._count:
            self.enough.set()

    def wait(self) -> None:
        assert self.enough.wait(PATIENCE)


def begun(uploader: chunkup.Uploader, source: Path, parts: int) -> tuple[chunkup.Run, Watch]:
    """A run that was started, and has this many parts through."""
    watch = Watch(parts)
    run = uploader.start(source, purpose="user_data", on_event=watch)
    watch.wait()
    return run, watch


def test_a_started_run_can_be_watched_and_stopped_and_the_same_call_goes_on(
    server: House, uploader: chunkup.Uploader, source: Path
) -> None:
    with holding(server, after=4) as gate:
        run, _ = begun(uploader, source, 4)
        gate.wait()
        job_id = run.ready()
        assert run.path == str(source)
        assert job_id is not None
        assert job_id == run.job_id
        assert not run.done
        assert run.progress is not None
        assert (run.progress.done, run.progress.size) == (4000, SIZE)
        assert not run.wait(timeout=0)
        with pytest.raises(TimeoutError, match=source.name):
            run.result(timeout=0)
        run.stop()
        with pytest.raises(chunkup.Stopped) as caught:
            run.result()
    assert caught.value.job_id == job_id
    assert caught.value.hint == f"chunkup resume {job_id}"
    assert run.wait(timeout=0)
    (job,) = uploader.jobs()
    assert (job.id, job.state, job.done) == (job_id, "stopped", 4000)
    file = uploader.upload(source, purpose="user_data")
    assert server.content(file.id) == source.read_bytes()
    assert [job.state for job in uploader.jobs()] == ["completed"]
    assert server.calls.count("create") == 1


def test_a_started_run_gives_its_file(uploader: chunkup.Uploader, source: Path) -> None:
    run = uploader.start(source, purpose="user_data")
    assert run.result().bytes == SIZE
    assert run.wait(timeout=0)
    assert run.result(timeout=PATIENCE) == run.result()
    assert run.progress is not None
    assert run.progress.done == SIZE


def test_a_run_that_is_refused_is_ready_without_a_job(uploader: chunkup.Uploader) -> None:
    run = uploader.start("nowhere", purpose="user_data")
    assert run.ready() is None
    with pytest.raises(chunkup.Refused):
        run.result()


def test_results_come_in_order_and_one_that_fails_stops_no_other(
    server: House, uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 4, size=3000)
    rest = threading.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"1.bin" in await request.read():
            return web.json_response({"error": {"message": "not that one"}}, status=400)
        return await handler(request)

    def watch(event: events.Event) -> None:
        if isinstance(event, events.Completed) and event.path.endswith("3.bin"):
            rest.set()

    server.intercept = intercept
    given = uploader.upload_all(paths, purpose="user_data", on_event=watch)
    results = [next(given)]
    # They go on while the caller is busy with the first one.
    assert rest.wait(PATIENCE)
    results += given
    assert [result.path for result in results] == [str(path) for path in paths]
    assert isinstance(results[1].error, Rejected)
    assert results[1].file is None
    for place in (0, 2, 3):
        file = results[place].file
        assert file is not None
        assert server.content(file.id) == paths[place].read_bytes()


def test_whatever_a_signal_raises_in_the_waiting_stops_the_run(
    server: House, uploader: chunkup.Uploader, source: Path
) -> None:
    class Enough(Exception):
        pass

    def raises(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGUSR1, raises)
    main = threading.main_thread().ident
    assert main is not None
    left = [4]

    def watch(event: events.Event) -> None:
        left[0] -= isinstance(event, events.PartAccepted)
        if isinstance(event, events.PartAccepted) and not left[0]:
            signal.pthread_kill(main, signal.SIGUSR1)

    try:
        with holding(server, after=4), pytest.raises(Enough):
            uploader.upload(source, purpose="user_data", on_event=watch)
    finally:
        signal.signal(signal.SIGUSR1, before)
    (job,) = uploader.jobs()
    assert (job.state, job.parts) == ("stopped", 4)


def test_leaving_the_loop_early_stops_the_rest_and_the_same_call_gives_all(
    server: House, uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 3)
    short = tmp_path / "short.bin"
    make_source(short, 500)
    names = [short, *paths]
    # The others begin when the first is done: what is held of them would keep its part waiting
    # for a slot. Of each of them two parts pass, as far as what is held leaves slots.
    watch, done = Watch(1 + 2), asyncio.Event()
    with holding(server, after=2) as gate:

        async def one_first(request: web.Request, handler: Handler) -> web.StreamResponse:
            if call_of(request) == "create" and (await request.json())["filename"] != short.name:
                await done.wait()
            answer = await gate(request, handler)
            if call_of(request) == "complete":
                done.set()
            return answer

        server.intercept = one_first
        for result in uploader.upload_all(names, purpose="user_data", on_event=watch):
            watch.wait()
            first = result
            break
        jobs = uploader.jobs()
    assert [job.state for job in jobs] == ["completed", "stopped", "stopped", "stopped"]
    assert sum(job.parts for job in jobs) >= 2
    server.arrivals.clear()
    results = list(uploader.upload_all(names, purpose="user_data"))
    assert [result.reused for result in results] == [True, False, False, False]
    assert results[0].file == first.file
    assert server.whole_bytes == 3 * SIZE - sum(job.done for job in jobs[1:])


def test_one_that_cannot_be_uploaded_refuses_all_before_anything_is_sent(
    server: House, uploader: chunkup.Uploader, source: Path, tmp_path: Path
) -> None:
    sparse = tmp_path / "big.jsonl"
    with sparse.open("wb") as handle:
        handle.truncate(200_000_001)
    with pytest.raises(TooLarge):
        next(uploader.upload_all([source, sparse], purpose="batch"))
    assert server.calls == []


def test_resume_and_resume_all_go_on_with_what_stopped(
    server: House, uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 3)
    for path in paths:
        with holding(server, after=3):
            run, _ = begun(uploader, path, 3)
            run.stop()
            run.wait()
    jobs = uploader.jobs()
    assert [job.state for job in jobs] == ["stopped"] * 3
    seen: list[events.Event] = []
    file = uploader.resume(jobs[0].id[:4], on_event=seen.append)
    assert server.content(file.id) == paths[0].read_bytes()
    assert isinstance(seen[0], events.JobStarted)
    assert seen[0].done == 3000
    results = list(uploader.resume_all())
    assert [result.job_id for result in results] == [job.id for job in jobs[1:]]
    assert [job.state for job in uploader.jobs()] == ["completed"] * 3
    assert list(uploader.resume_all()) == []


def test_an_uploader_stops_what_another_one_runs(
    server: House, uploader: chunkup.Uploader, source: Path, journal: Path
) -> None:
    with holding(server, after=2), make(server, journal) as other:
        run, _ = begun(uploader, source, 2)
        assert run.job_id is not None
        assert other.stop(run.job_id)
        assert [job.state for job in other.jobs()] == ["stopped"]
        with pytest.raises(chunkup.Stopped):
            run.result()
        assert not other.stop(run.job_id)


def test_a_job_is_cancelled_here_and_on_the_server(
    server: House, uploader: chunkup.Uploader, source: Path
) -> None:
    with holding(server, after=2):
        run, _ = begun(uploader, source, 2)
        run.stop()
        run.wait()
    assert run.job_id is not None
    assert uploader.cancel(run.job_id) is None
    assert [job.state for job in uploader.jobs()] == ["cancelled"]
    assert server.store.uploads()[0].status == "cancelled"


def test_a_job_in_doubt_is_settled(server: House, uploader: chunkup.Uploader, source: Path) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        match call_of(request):
            case "complete":
                return drop(request)
            case "list":
                return web.json_response({"object": "list", "data": [], "has_more": False})
            case _:
                return answer

    server.intercept = intercept
    with pytest.raises(chunkup.OutcomeUnknown) as caught:
        uploader.upload(source, purpose="user_data")
    job_id = caught.value.job_id
    assert job_id is not None
    assert [job.state for job in uploader.jobs()] == ["in-doubt"]
    with pytest.raises(Rejected):
        uploader.settle(job_id, accept="file-of-nobody")
    file = uploader.settle(job_id, accept=server.files[0].id)
    assert file.id == server.files[0].id
    assert uploader.resume(job_id) == file


def test_with_options_sends_otherwise_and_its_end_is_not_the_others_end(
    server: House, uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    one, two = sources(tmp_path, 2)
    with holding(server, after=2) as gate:
        run, _ = begun(uploader, one, 2)
        with uploader.with_options(part_size=5000, workers=1, md5=False) as slow:
            other = slow.start(two, purpose="user_data")
            assert other.ready() is not None
            assert [job.id for job in slow.jobs()] == [run.job_id, other.job_id]
            assert not run.done
            gate.open()
            assert other.result().bytes == SIZE
    assert run.result().bytes == SIZE
    assert [arrival.bytes for arrival in server.arrivals].count(5000) == 2
    with pytest.raises(ValueError, match="workers"):
        uploader.with_options(workers=0)


def in_thread(work: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Do it in a thread; what is returned waits for its end and tells its error."""
    ends: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            ends.append(error)
        else:
            ends.append(None)

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> BaseException | None:
        thread.join(PATIENCE)
        return ends[0]

    return end


def test_close_stops_what_runs_in_whatever_thread_it_is_waited_for(
    server: House, journal: Path, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 4)
    uploader = make(server, journal)
    begun = Watch(3, events.UploadCreated)  # of the two, one fills the slots
    with holding(server):
        run = uploader.start(paths[0], purpose="user_data", on_event=begun)
        one = in_thread(lambda: uploader.upload(paths[1], purpose="user_data", on_event=begun))
        many = in_thread(
            lambda: list(uploader.upload_all(paths[2:], purpose="user_data", on_event=begun))
        )
        begun.wait()
        uploader.close(grace=PATIENCE)
        assert run.done
        assert isinstance(one(), chunkup.Stopped)
        assert isinstance(many(), chunkup.Stopped)
    # It opens again at the next use, and all was given back.
    with uploader:
        assert {job.state for job in uploader.jobs()} == {"stopped"}
        assert len(list(uploader.resume_all())) == 4


def test_leaving_with_by_an_exception_stops_and_normally_waits(
    server: House, journal: Path, source: Path
) -> None:
    runs: list[chunkup.Run] = []

    def leave_by_an_exception() -> None:
        with make(server, journal) as one:
            runs.append(begun(one, source, 3)[0])
            raise ZeroDivisionError

    with holding(server, after=3), pytest.raises(ZeroDivisionError):
        leave_by_an_exception()
    with pytest.raises(chunkup.Stopped):
        runs[0].result()
    with holding(server, after=3) as gate, make(server, journal) as two:
        runs.append(begun(two, source, 3)[0])
        gate.open()
    assert runs[1].done
    assert runs[1].result().bytes == SIZE


def test_several_threads_use_one_uploader(
    server: House, uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 8)
    found: dict[Path, str] = {}

    def one(path: Path) -> None:
        found[path] = uploader.upload(path, purpose="user_data").id
        uploader.jobs()

    ends = [in_thread(lambda path=path: one(path)) for path in paths]  # type: ignore[misc]  # mypy does not infer lambdas with defaults
    assert [end() for end in ends] == [None] * len(paths)
    for path in paths:
        assert server.content(found[path]) == path.read_bytes()


def test_a_listener_that_would_wait_for_its_own_thread_is_told_so(
    uploader: chunkup.Uploader, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def listen(_: events.Event) -> None:
        uploader.jobs()

    assert uploader.upload(source, purpose="user_data", on_event=listen).bytes == SIZE
    assert "engine's own thread" in caplog.text


def test_a_listener_can_stop_its_run(uploader: chunkup.Uploader, source: Path) -> None:
    watch = Watch(2)
    runs: list[chunkup.Run] = []
    known = threading.Event()

    def listen(event: events.Event) -> None:
        watch(event)
        if watch.enough.is_set():
            known.wait(PATIENCE)
            runs[0].stop()

    runs.append(uploader.start(source, purpose="user_data", on_event=listen))
    known.set()
    with pytest.raises(chunkup.Stopped):
        runs[0].result()


def test_a_loop_forgotten_in_a_cycle_may_be_collected_on_the_engine_thread(
    uploader: chunkup.Uploader, tmp_path: Path
) -> None:
    paths = sources(tmp_path, 3)
    given = uploader.upload_all(paths[:2], purpose="user_data")
    assert next(given).file is not None
    collected = threading.Event()
    weakref.finalize(given, collected.set)

    def listen(_: events.Event) -> None:
        gc.collect()

    gc.disable()
    try:
        cycle: list[object] = [given]
        cycle.append(cycle)
        del given, cycle
        assert not collected.is_set()
        assert uploader.upload(paths[2], purpose="user_data", on_event=listen).bytes == SIZE
    finally:
        gc.enable()
    assert collected.is_set()


# --- leftovers --------------------------------------------------------------------------------


def count(server: House) -> tuple[set[str], int]:
    """Our threads, and the open files of this process, when all has come to rest."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("chunkup-read"):
            thread.join(PATIENCE)  # told to end, and not waited for
    assert server.runner is not None
    assert server.runner.server is not None
    while server.runner.server.connections:
        continue  # the server sees on its own thread that they are closed, and tells nobody
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if name.startswith("chunkup")}, len(os.listdir("/dev/fd"))  # noqa: PTH208  (a Path would open one more)


def succeed(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    uploader.upload(paths[0], purpose="user_data")


def succeed_with_all(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    list(uploader.upload_all(paths, purpose="user_data"))


def leave_early(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    for _ in uploader.upload_all(paths, purpose="user_data"):
        break


def stop(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    run = uploader.start(paths[0], purpose="user_data")
    run.ready()
    run.stop()


def forget(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    uploader.start(paths[0], purpose="user_data")
    uploader.with_options(workers=1).start(paths[1], purpose="user_data")
    uploader.close()


def fail(uploader: chunkup.Uploader, paths: list[Path]) -> None:
    uploader.start("nowhere", purpose="user_data")
    uploader.start(paths[0], purpose="no such purpose")


@pytest.mark.parametrize("ending", [succeed, succeed_with_all, leave_early, stop, forget, fail])
def test_a_closed_uploader_leaves_nothing_but_the_engine_thread(
    ending: Callable[[chunkup.Uploader, list[Path]], None],
    server: House,
    uploader: chunkup.Uploader,
    journal: Path,
    tmp_path: Path,
) -> None:
    paths = sources(tmp_path, 3)
    uploader.jobs()
    uploader.close()
    before = count(server)
    with make(server, journal) as used:
        ending(used, paths)
    assert count(server) == before
    assert before[0] == {"chunkup-engine"}


def test_one_that_nobody_has_any_more_is_closed_without_being_told(
    server: House, uploader: chunkup.Uploader, journal: Path, source: Path
) -> None:
    uploader.upload(source, purpose="user_data")
    uploader.close()
    before = count(server)
    make(server, journal).upload(source, purpose="user_data")
    with holding(server, after=3) as gate:
        # Who has a run, or a loop over results, needs no name for the uploader.
        run = make(server, journal).start(source, purpose="user_data")
        results = make(server, journal).upload_all([source], purpose="user_data")
        gate.wait()
        gc.collect()
        gate.open()
        assert run.result().bytes == SIZE
        assert [result.error for result in results] == [None]
    del run, results
    while count(server) != before:
        continue  # the engine closes it on its own thread, and tells nobody


END_WITHOUT_CLOSING = """
import os, sys, threading, chunkup
url, journal, source = sys.argv[1:]
enough = threading.Event()
def watch(event):
    if type(event).__name__ == "PartAccepted" and event.done >= 3000:
        enough.set()
uploader = chunkup.Uploader(base_url=url, api_key=os.environ["KEY"], journal=journal,
    part_size=1000)
run = uploader.start(source, purpose="user_data", on_event=watch)
enough.wait()
"""


def test_a_program_that_ends_without_closing_stops_its_runs_and_complains_of_nothing(
    server: House, uploader: chunkup.Uploader, source: Path, journal: Path
) -> None:
    with holding(server, after=3):
        done = subprocess.run(
            [sys.executable, "-c", END_WITHOUT_CLOSING, server.url, str(journal), str(source)],
            capture_output=True,
            text=True,
            env={**os.environ, "KEY": KEY},
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    (job,) = uploader.jobs()
    assert (job.state, job.done) == ("stopped", 3000)
    assert uploader.resume(job.id).bytes == SIZE
