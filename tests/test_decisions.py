"""What a person decides about a job: which File it became, to send it again, to end it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, call_of, drop, make_source
from many import USER_DATA, job_of, lines_of, silent, upload_all, working

from chunkup import events
from chunkup.asked import asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import (
    BadOption,
    ChunkupError,
    Forbidden,
    JobEnded,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerTrouble,
    Unauthorized,
)
from chunkup.intake import Content
from chunkup.machine import Fact, Phase
from chunkup.models import Job, RemoteFile
from chunkup.selection import unfinished

SIZE = 2500


@dataclass
class Doubt:
    """A job whose outcome nobody knows, and a server that lists nothing until told to."""

    house: House
    engine: Engine
    job: Job
    path: Path
    seen: list[events.Event] = field(default_factory=list)

    async def phase(self) -> Phase:
        return (await (await self.engine.journal()).line(self.job.id)).phase

    async def facts(self) -> list[Fact]:
        return await (await self.engine.journal()).facts(self.job.id)

    async def resume(self, *, accept: str | None = None, again: bool = False) -> RemoteFile:
        orders = Orders(accept=accept, again=again)
        return await self.engine.carry_out(self.job, self.seen.append, orders=orders)

    async def another(self, name: str, content: Content = USER_DATA) -> RemoteFile:
        """A File of another job; it leaves the list of the doubtful one's as it is."""
        path = self.path.parent / name
        if not path.exists():
            make_source(path, SIZE, seed=9)
        (result,) = await self.all_of(path, content)
        return result

    async def all_of(self, path: Path, content: Content) -> list[RemoteFile]:
        adopted = await self.engine.adopt([self.engine.describe(path, content)[0]])
        intercept, self.house.intercept = self.house.intercept, None
        try:
            found = [await self.engine.upload(member, member.job, silent) for member in adopted]
        finally:
            self.house.intercept = intercept
        return [file for _, file in found]


def blind(house: House, *, done: bool, times: int = 1 << 30) -> None:
    """Answers to complete are lost, ``done`` or not, and the list shows nothing."""
    asked = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal asked
        match call_of(request):
            case "complete":
                asked += 1
                if asked <= times:
                    if done:
                        await handler(request)
                    return drop(request)
            case "list":
                return web.json_response({"data": [], "has_more": False})
            case _:
                pass
        return await handler(request)

    house.intercept = intercept


@asynccontextmanager
async def doubted(house: House, journal: Path, folder: Path, *, done: bool) -> AsyncIterator[Doubt]:
    """A job in doubt; ``done`` if its File exists, although nobody can see it."""
    path = folder / "a.bin"
    make_source(path, SIZE)
    blind(house, done=done)
    async with working(house, journal) as engine:
        (result,) = await upload_all(engine, [str(path)])
        assert isinstance(result.error, OutcomeUnknown)
        assert result.error.exit_code == 4
        made = Doubt(house, engine, await job_of(engine, str(path)), path)
        assert (await lines_of(engine))["a.bin"].doubted
        house.calls.clear()
        yield made


# --- looking, and nothing else ------------------------------------------------------------------


async def test_after_a_doubt_the_program_only_looks(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        facts = await doubt.facts()
        for _ in range(3):
            with pytest.raises(OutcomeUnknown) as caught:
                await doubt.resume()
            assert caught.value.candidates == ()
            assert caught.value.job_id == doubt.job.id
        assert set(house.calls) == {"list"}
        assert await doubt.facts() == facts
        assert [type(event).__name__ for event in doubt.seen].count("Unknown") == 3


async def test_the_same_command_only_looks_too(house: House, journal: Path, tmp_path: Path) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        (result,) = await upload_all(doubt.engine, [str(doubt.path)])
        assert isinstance(result.error, OutcomeUnknown)
        assert set(house.calls) == {"list"}


async def test_the_one_file_that_is_seen_later_is_recovered(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        with pytest.raises(OutcomeUnknown):
            await doubt.resume()
        house.intercept = None
        doubt.path.unlink()
        file = await doubt.resume()
        assert [file.id] == [row.id for row in house.files]
        assert await doubt.phase() is Phase.COMPLETED
        (completed,) = [event for event in doubt.seen if isinstance(event, events.Completed)]
        assert completed.recovered
        assert "complete" not in house.calls


async def test_two_files_that_fit_are_named_and_neither_is_taken(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        house.intercept = None
        async with working(house, tmp_path / "other" / "journal.db") as stranger:
            (theirs,) = await upload_all(stranger, [str(doubt.path)])
        house.calls.clear()
        with pytest.raises(OutcomeUnknown) as caught:
            await doubt.resume()
        assert set(caught.value.candidates) == {row.id for row in house.files}
        assert len(house.files) == 2
        assert await doubt.phase() is Phase.ASKED
        # A person tells them apart.
        (ours,) = {row.id for row in house.files} - {theirs.file.id if theirs.file else ""}
        assert (await doubt.resume(accept=ours)).id == ours


async def test_a_job_in_doubt_is_gone_on_with_by_looking_when_nothing_is_named(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        house.intercept = None
        selection = await unfinished(doubt.engine, any_age=False)
        assert [line.job.id for line in selection.taken] == [doubt.job.id]


# --- accept ---------------------------------------------------------------------------------------


async def test_a_file_that_a_person_names_is_taken(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        (row,) = house.files
        doubt.path.unlink()
        file = await doubt.resume(accept=row.id)
        assert (file.id, file.bytes) == (row.id, SIZE)
        assert house.calls == ["retrieve"]
        assert await doubt.phase() is Phase.COMPLETED
        (completed,) = [event for event in doubt.seen if isinstance(event, events.Completed)]
        assert (completed.file, completed.recovered) == (file, True)
        # From now on it is that File.
        assert await doubt.resume() == file
        assert house.calls == ["retrieve"]
        with pytest.raises(BadOption, match="not in doubt"):
            await doubt.resume(accept=row.id)


@pytest.mark.parametrize(
    ("name", "content", "size", "why"),
    [
        ("a.bin", Content("user_data", filename="b.bin"), SIZE, "name"),
        ("a.bin", Content("vision"), SIZE, "purpose"),
        ("below/a.bin", USER_DATA, SIZE + 1, "size"),
        ("below/a.bin", USER_DATA, SIZE, "another job"),
    ],
)
async def test_a_file_that_cannot_be_the_one_is_not_taken(
    house: House, journal: Path, tmp_path: Path, name: str, content: Content, size: int, why: str
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        if name != "a.bin":
            (tmp_path / "below").mkdir()
            make_source(tmp_path / name, size)
        other = await doubt.another(name, content)
        facts = await doubt.facts()
        with pytest.raises(BadOption, match=why) as caught:
            await doubt.resume(accept=other.id)
        assert caught.value.job_id == doubt.job.id
        assert other.id in caught.value.message
        assert await doubt.facts() == facts


async def test_a_file_that_the_server_does_not_know_is_not_taken(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        with pytest.raises(NotFound):
            await doubt.resume(accept="file-unheard-of")
        assert await doubt.phase() is Phase.ASKED


async def test_a_file_whose_size_is_not_told_is_taken_on_a_persons_word(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        (row,) = house.files

        async def vague(request: web.Request, handler: Handler) -> web.StreamResponse:
            return web.json_response(
                {"id": row.id, "bytes": None, "created_at": 1, "filename": "a.bin"}
            )

        house.intercept = vague
        assert (await doubt.resume(accept=row.id)).id == row.id


@pytest.mark.parametrize("order", [{"accept": "file-1"}, {"again": True}])
@pytest.mark.parametrize("phase", [Phase.NEW, Phase.SENDING, Phase.CANCELLED])
async def test_where_there_is_no_doubt_there_is_nothing_to_decide(
    house: House, journal: Path, tmp_path: Path, phase: Phase, order: dict[str, object]
) -> None:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.json_response({"error": {"message": "no"}}, status=401)
        return await handler(request)

    house.intercept = intercept
    async with working(house, journal) as engine:
        if phase is Phase.SENDING:
            await upload_all(engine, [str(path)])
        else:
            await asked_for(engine, [str(path)], USER_DATA)
        job = await job_of(engine, str(path))
        if phase is Phase.CANCELLED:
            await engine.cancel(job)
        house.calls.clear()
        with pytest.raises(BadOption, match="not in doubt") as caught:
            await engine.carry_out(job, silent, orders=Orders(**order))  # type: ignore[arg-type]  # one field of several types
        assert caught.value.job_id == job.id
        assert caught.value.hint
        assert (await lines_of(engine))["a.bin"].phase is phase
    assert house.calls == []


# --- again --------------------------------------------------------------------------------------


async def test_again_cancels_what_is_pending_and_sends_it_once_more(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        house.intercept = None
        file = await doubt.resume(again=True)
        assert house.content(file.id) == doubt.path.read_bytes()
        assert [row.id for row in house.files] == [file.id]
        assert sorted(row.status for row in house.store.uploads()) == ["cancelled", "completed"]
        (ended,) = [event for event in doubt.seen if isinstance(event, events.UploadExpired)]
        assert (ended.reason, ended.lost) == ("given up", SIZE)
        assert house.calls[:2] == ["cancel", "create"]


async def test_again_makes_a_second_file_where_there_was_one_after_all(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        (first,) = house.files
        house.intercept = None
        file = await doubt.resume(again=True)
        assert file.id != first.id
        assert len(house.files) == 2
        assert house.content(file.id) == doubt.path.read_bytes()
        assert await doubt.phase() is Phase.COMPLETED


@pytest.mark.parametrize(
    ("status", "error"),
    [(0, ChunkupError), (503, ServerTrouble), (401, Unauthorized), (403, Forbidden)],
)
async def test_where_the_server_does_not_hear_of_it_again_changes_nothing(
    house: House, journal: Path, tmp_path: Path, status: int, error: type[ChunkupError]
) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        facts = await doubt.facts()

        async def deaf(request: web.Request, handler: Handler) -> web.StreamResponse:
            if status == 0:
                return drop(request)
            return web.json_response({"error": {"message": "no"}}, status=status)

        house.intercept = deaf
        with pytest.raises(error):
            await doubt.resume(again=True)
        assert await doubt.facts() == facts
        assert set(house.calls) == {"cancel"}


@pytest.mark.parametrize("status", [404, 405, 400, 422])
async def test_an_upload_that_the_server_does_not_cancel_does_not_stand_in_the_way(
    house: House, journal: Path, tmp_path: Path, status: int
) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:

        async def unable(request: web.Request, handler: Handler) -> web.StreamResponse:
            if call_of(request) == "cancel":
                return web.json_response({"error": {"message": "not here"}}, status=status)
            return await handler(request)

        house.intercept = unable
        file = await doubt.resume(again=True)
        assert house.content(file.id) == doubt.path.read_bytes()


async def test_again_of_content_that_changed_sends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """The person decided about what was sent, and that is no more."""
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        house.intercept = None
        doubt.path.write_bytes(b"another size")
        with pytest.raises(ChunkupError) as caught:
            await doubt.resume(again=True)
        assert caught.value.code == "source-changed"
        assert "create" not in house.calls


# --- cancel -------------------------------------------------------------------------------------


async def test_cancel_in_doubt_without_a_file_cancels_the_upload(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=False) as doubt:
        house.intercept = None
        assert await doubt.engine.cancel(doubt.job) is None
        assert await doubt.phase() is Phase.CANCELLED
        assert [row.status for row in house.store.uploads()] == ["cancelled"]
        assert house.calls == ["list", "cancel"]


async def test_cancel_in_doubt_keeps_the_file_that_there_is(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        house.intercept = None
        file = await doubt.engine.cancel(doubt.job)
        assert file is not None
        assert [file.id] == [row.id for row in house.files]
        assert await doubt.phase() is Phase.COMPLETED
        assert "cancel" not in house.calls
        # A second time it is known.
        house.calls.clear()
        assert await doubt.engine.cancel(doubt.job) == file
        assert house.calls == []


async def test_cancel_of_what_ended_without_a_file_to_see_ends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        with pytest.raises(OutcomeUnknown) as caught:
            await doubt.engine.cancel(doubt.job)
        assert caught.value.job_id == doubt.job.id
        assert caught.value.candidates == ()
        assert await doubt.phase() is Phase.ASKED


async def test_cancel_where_several_files_fit_ends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        house.intercept = None
        async with working(house, tmp_path / "other" / "journal.db") as stranger:
            await upload_all(stranger, [str(doubt.path)])
        house.calls.clear()
        with pytest.raises(OutcomeUnknown) as caught:
            await doubt.engine.cancel(doubt.job)
        assert set(caught.value.candidates) == {row.id for row in house.files}
        assert await doubt.phase() is Phase.ASKED
        assert "cancel" not in house.calls


@pytest.mark.parametrize("done", [True, False])
async def test_cancel_that_reaches_no_server_ends_nothing(
    house: House, journal: Path, tmp_path: Path, *, done: bool
) -> None:
    async with doubted(house, journal, tmp_path, done=done) as doubt:
        facts = await doubt.facts()

        async def down(request: web.Request, handler: Handler) -> web.StreamResponse:
            return web.json_response({"error": {"message": "down"}}, status=503)

        house.intercept = down
        with pytest.raises(ServerTrouble):
            await doubt.engine.cancel(doubt.job)
        assert await doubt.facts() == facts


async def test_cancel_of_a_job_that_sent_nothing_asks_nobody(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    async with working(house, journal) as engine:
        await asked_for(engine, [str(path)], USER_DATA)
        job = await job_of(engine, str(path))
        assert await engine.cancel(job) is None
        assert await engine.cancel(job) is None
        assert (await lines_of(engine))["a.bin"].phase is Phase.CANCELLED
    assert house.calls == []


async def test_cancel_of_a_job_that_failed_says_so(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)

    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response({"error": {"message": "never"}}, status=400)

    house.intercept = refuse
    async with working(house, journal) as engine:
        (result,) = await upload_all(engine, [str(path)])
        assert isinstance(result.error, Rejected)
        with pytest.raises(JobEnded, match="never"):
            await engine.cancel(await job_of(engine, str(path)))


async def test_what_is_decided_is_claimed_meanwhile(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with doubted(house, journal, tmp_path, done=True) as doubt:
        inside, go = asyncio.Event(), asyncio.Event()

        async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
            inside.set()
            await go.wait()
            return await handler(request)

        house.intercept = slow
        (row,) = house.files
        task = asyncio.create_task(doubt.resume(accept=row.id))
        await inside.wait()
        async with working(house, journal) as other:
            for deciding in (
                other.cancel(doubt.job),
                other.carry_out(doubt.job, silent, orders=Orders(again=True)),
            ):
                with pytest.raises(ChunkupError) as caught:
                    await deciding
                assert caught.value.exit_code == 3
        go.set()
        assert (await task).id == row.id
