"""What a run does when the server, the clock, the source or the account are not as hoped."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from house import KEY, Handler, House, Intercept, call_of, drop, open_house
from test_uploader import PARTS, SIZE, assert_is, refuse_after, source, stop_half_way

from chunkup import Options, OutcomeUnknown, SourceChanged, events
from chunkup.errors import NotFound, OtherAccount, Rejected, ServerTrouble, SourceGone, TooSlow
from chunkup.machine import Phase

__all__ = ["source"]

# One part after another, so that the first five have the receipts.
ONE = Options(workers=1, retries=3, looks=(0.0,), patience=0.0)


def drop_answers(house: House, call: str, times: int) -> None:
    """Let the server do it, and break the connection instead of answering."""
    left = times

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal left
        answer = await handler(request)
        if call_of(request) == call and left > 0:
            left -= 1
            return drop(request)
        return answer

    house.intercept = intercept


# --- lost answers -----------------------------------------------------------------------------


async def test_lost_answers_to_parts_leave_one_id_per_part(
    house: House, journal: Path, source: Path
) -> None:
    drop_answers(house, "part", 3)
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert_is(house, file, source)
    assert len(house.store.parts()) == PARTS + 3


async def test_a_server_that_counts_orphans_gets_a_new_upload_said_aloud(
    house: House, journal: Path, source: Path
) -> None:
    lost = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal lost
        if call_of(request) == "complete":
            upload = request.path.split("/")[3]
            stored = sum(part.bytes for part in house.store.parts(upload))
            if stored != SIZE:
                text = f"Total uploaded bytes {stored} do not match {SIZE}"
                return web.json_response({"error": {"message": text}}, status=400)
        answer = await handler(request)
        if call_of(request) == "part" and not lost:
            lost = True
            return drop(request)
        return answer

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert [e.reason for e in seen if isinstance(e, events.UploadExpired)] == ["miscounted"]
    assert len(house.files) == 1


async def test_a_crash_may_have_left_orphans_that_the_server_counts(
    house: House, journal: Path, source: Path
) -> None:
    async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            upload = request.path.split("/")[3]
            if sum(part.bytes for part in house.store.parts(upload)) != SIZE:
                text = "total bytes do not match"
                return web.json_response({"error": {"message": text}}, status=400)
        return await handler(request)

    stored = asyncio.Event()

    async def stored_and_never_answered(
        request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "part":
            stored.set()
            await asyncio.Event().wait()
        return answer

    house.intercept = stored_and_never_answered
    async with house.uploader(journal, options=ONE) as uploader:
        task = asyncio.create_task(uploader.upload(source, purpose="user_data"))
        await stored.wait()
        task.cancel()
        await asyncio.wait([task])
    house.intercept = counting
    seen: list[events.Event] = []
    async with house.uploader(journal, options=ONE) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert [e.reason for e in seen if isinstance(e, events.UploadExpired)] == ["miscounted"]


async def test_a_size_complaint_without_any_lost_answer_is_final(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            return web.json_response({"error": {"message": "wrong bytes"}}, status=400)
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(Rejected, match="wrong bytes"):
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
    assert line.phase is Phase.FAILED
    assert house.calls.count("create") == 1


async def test_lost_answer_to_complete_finds_that_file_and_makes_no_second(
    house: House, journal: Path, source: Path
) -> None:
    drop_answers(house, "complete", 1)
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [True]
    assert len(house.files) == 1
    assert house.calls.count("complete") == 1


async def test_an_older_file_of_equal_name_and_size_is_never_taken_for_ours(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with house.uploader(tmp_path / "other" / "j.db") as stranger:
        house.clock.offset -= 100
        theirs = await stranger.upload(source, purpose="user_data")
        house.clock.offset += 100
    answered = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal answered
        if call_of(request) == "complete" and not answered:
            answered += 1
            return drop(request)  # before it was done
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        ours = await uploader.upload(source, purpose="user_data")
    assert ours.id != theirs.id
    assert len(house.files) == 2


async def test_two_files_that_fit_are_left_to_a_person(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "complete":
            async with house.uploader(tmp_path / "other" / "j.db") as stranger:
                house.intercept = None
                await stranger.upload(source, purpose="user_data")
            return drop(request)
        return answer

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(OutcomeUnknown) as caught:
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
    assert set(caught.value.candidates) == {file.id for file in house.files}
    assert caught.value.exit_code == 4
    assert line.phase is Phase.ASKED


async def test_a_job_in_doubt_is_settled_without_its_source(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) in {"complete", "list"}:
            return web.json_response({"error": {"message": "down"}}, status=503)
        return await handler(request)

    house.intercept = intercept
    content = source.read_bytes()
    async with house.uploader(journal) as uploader:
        with pytest.raises(ServerTrouble):
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.ASKED
        house.intercept = None
        source.unlink()
        file = await uploader.resume(line.job.id)
    assert house.content(file.id) == content
    assert len(house.files) == 1


async def test_a_job_in_doubt_is_not_taken_for_the_upload_of_new_content(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "list":
            return web.json_response({"error": {"message": "down"}}, status=503)
        answer = await handler(request)
        return drop(request) if call_of(request) == "complete" else answer

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(ServerTrouble):
            await uploader.upload(source, purpose="user_data")
        house.intercept = None
        old = house.files[0].id
        source.write_bytes(source.read_bytes()[::-1])
        file = await uploader.upload(source, purpose="user_data")
        assert_is(house, file, source)
        assert file.id != old
        first, second = await (await uploader.journal()).lines()
    assert (first.file_id, second.file_id) == (old, file.id)


async def test_complete_refused_for_the_key_is_asked_again_with_the_same_proof(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            return web.json_response({"error": {"message": "revoked"}}, status=401)
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(Rejected, match="revoked"):
            await uploader.upload(source, purpose="user_data")
        house.intercept = None
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.SENDING
        content = source.read_bytes()
        house.calls.clear()
        file = await uploader.resume(line.job.id)
    assert house.content(file.id) == content
    assert "part" not in house.calls


# --- time -------------------------------------------------------------------------------------


async def test_an_upload_that_expires_midway_is_replaced_and_said_aloud(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5:
            house.clock.offset += 3601
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal, options=Options(workers=1)) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    (expired,) = [event for event in seen if isinstance(event, events.UploadExpired)]
    assert expired.reason == "expired"
    assert house.calls.count("create") == 2


async def test_an_upload_that_expired_between_runs_is_replaced_before_anything_is_sent(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
    house.clock.offset += 3601
    async with house.uploader(journal) as uploader:
        file = await uploader.resume(job)
    assert_is(house, file, source)
    # The server's time was asked for, then a new Upload; no part went to the dead one.
    assert house.calls[:2] == ["list", "create"]
    assert house.calls.count("part") == PARTS


@pytest.mark.parametrize("hours", [-5, 5])
async def test_the_servers_clock_decides_and_not_ours(
    house: House, journal: Path, source: Path, hours: int
) -> None:
    house.clock.offset = hours * 3600.0
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
    async with house.uploader(journal) as uploader:
        assert_is(house, await uploader.resume(job), source)
    assert "create" not in house.calls


async def test_uploads_that_keep_expiring_end_in_too_slow(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            house.clock.offset += 1000
        return await handler(request)

    house.intercept = intercept
    options = Options(workers=1, generations=3)
    async with house.uploader(journal, options=options) as uploader:
        with pytest.raises(TooSlow):
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
    assert house.calls.count("create") <= 3
    assert line.phase is Phase.NEW
    assert house.files == []


# --- the source -------------------------------------------------------------------------------


async def test_resume_refuses_a_source_of_another_size_and_keeps_the_job(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
        whole = source.read_bytes()
        times = source.stat()
        source.write_bytes(whole + b"more")
        with pytest.raises(SourceChanged):
            await uploader.resume(job)
        assert "part" not in house.calls
        # Put back as it was, it goes on.
        source.write_bytes(whole)
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert_is(house, await uploader.resume(job), source)
    assert "create" not in house.calls


async def test_a_moved_time_and_other_content_is_refused_before_anything_is_sent(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal, options=ONE) as uploader:
        job = await stop_half_way(house, uploader, source)
        source.write_bytes(source.read_bytes()[::-1])
        with pytest.raises(SourceChanged):
            await uploader.resume(job)
    assert house.calls == []


async def test_resume_refuses_an_edit_that_kept_size_and_time(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal, options=ONE) as uploader:
        job = await stop_half_way(house, uploader, source)
        edit_in_secret(source, at=1)
        with pytest.raises(SourceChanged) as caught:
            await uploader.resume(job)
    assert caught.value.exit_code == 1
    assert house.files == []


def edit_in_secret(path: Path, at: int) -> None:
    """Change one byte, and let size, time and inode be as they were."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    with path.open("r+b") as handle:
        handle.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


async def test_upload_of_changed_content_drops_the_old_job_and_sends_the_new(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal, options=ONE) as uploader:
        for change in ("size", "secret"):
            old = await stop_half_way(house, uploader, source)
            if change == "size":
                source.write_bytes(source.read_bytes()[::-1] + b"more")
            else:
                edit_in_secret(source, at=1)
            file = await uploader.upload(source, purpose="user_data")
            assert_is(house, file, source)
            lines = {line.job.id: line for line in await (await uploader.journal()).lines()}
            assert lines[old].phase in {Phase.CANCELLED, Phase.FAILED}


async def test_a_touched_or_remounted_source_goes_on_after_proof(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
        copy = tmp_path / "copy"
        shutil.copyfile(source, copy)
        copy.replace(source)  # another inode, another time, the same content
        (line,) = await (await uploader.journal()).lines()
        assert_is(house, await uploader.resume(job), source)
    assert house.whole_bytes == SIZE - line.done


async def test_an_edit_under_the_run_completes_nothing(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5:
            with source.open("r+b") as handle:
                handle.seek(SIZE - 1)
                handle.write(b"!")
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal, options=Options(workers=1)) as uploader:
        with pytest.raises(SourceChanged) as caught:
            await uploader.upload(source, purpose="user_data")
    assert not caught.value.between_runs
    assert house.files == []


async def test_a_vanished_source_stops_the_run_and_keeps_the_job(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
        aside = source.rename(source.with_name("aside"))
        with pytest.raises(SourceGone):
            await uploader.resume(job)
        aside.rename(source)
        assert_is(house, await uploader.resume(job), source)


# --- the account ------------------------------------------------------------------------------


async def test_another_account_may_use_the_old_upload_but_never_makes_one(
    tmp_path: Path, journal: Path, source: Path
) -> None:
    async with open_house(tmp_path / "open", key=None) as house:
        async with house.uploader(journal) as uploader:
            job = await stop_half_way(house, uploader, source)
        async with house.uploader(journal, key="sk-other") as other:
            refuse_after(house, house.calls.count("part") + 1)
            with pytest.raises(Rejected):
                await other.resume(job)
            house.intercept = None
            house.clock.offset += 3601
            house.calls.clear()
            with pytest.raises(OtherAccount):
                await other.resume(job)
            assert "create" not in house.calls
        async with house.uploader(journal) as uploader:
            assert_is(house, await uploader.resume(job), source)


async def test_an_upload_that_another_account_cannot_see_is_kept_for_its_owner(
    tmp_path: Path, journal: Path, source: Path
) -> None:
    async with open_house(tmp_path / "open", key=None) as house:
        async with house.uploader(journal) as uploader:
            job = await stop_half_way(house, uploader, source)

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            theirs = request.headers["Authorization"] != f"Bearer {KEY}"
            if theirs and call_of(request) == "part":
                return web.json_response({"error": {"message": "No such Upload"}}, status=404)
            return await handler(request)

        house.intercept = intercept
        async with house.uploader(journal, key="sk-other") as other:
            with pytest.raises(OtherAccount):
                await other.resume(job)
        async with house.uploader(journal) as uploader:
            assert_is(house, await uploader.resume(job), source)
        assert "create" not in house.calls


async def as_ever(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


def owned(owners: dict[str, str]) -> Callable[[Intercept], Intercept]:
    """Say in each answer whose key it was, as the real API does."""

    def through(intercept: Intercept) -> Intercept:
        async def said(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await intercept(request, handler)
            answer.headers["openai-organization"] = "org"
            answer.headers["openai-project"] = owners[request.headers["Authorization"]]
            return answer

        return said

    return through


@pytest.mark.parametrize("theirs", ["proj_a", "proj_b"])
async def test_a_key_that_was_replaced_is_its_owners_by_the_servers_own_word(
    tmp_path: Path, journal: Path, source: Path, theirs: str
) -> None:
    async with open_house(tmp_path / "open", key=None) as house:
        said = owned({f"Bearer {KEY}": "proj_a", "Bearer sk-new": theirs})
        async with house.uploader(journal) as uploader:
            job = await stop_half_way(house, uploader, source, said)
        house.intercept = said(as_ever)
        house.clock.offset += 3601
        house.calls.clear()
        async with house.uploader(journal, key="sk-new") as uploader:
            if theirs == "proj_a":
                assert_is(house, await uploader.resume(job), source)
            else:
                with pytest.raises(OtherAccount):
                    await uploader.resume(job)
        assert house.calls.count("create") == (theirs == "proj_a")


async def test_a_key_that_speaks_for_another_project_now_makes_no_upload_there(
    tmp_path: Path, journal: Path, source: Path
) -> None:
    async with open_house(tmp_path / "open", key=None) as house:
        owners = {f"Bearer {KEY}": "proj_a"}
        async with house.uploader(journal) as uploader:
            job = await stop_half_way(house, uploader, source, owned(owners))
        owners[f"Bearer {KEY}"] = "proj_b"
        house.intercept = owned(owners)(as_ever)
        house.clock.offset += 3601
        house.calls.clear()
        async with house.uploader(journal) as uploader:
            with pytest.raises(OtherAccount):
                await uploader.resume(job)
        assert "create" not in house.calls


async def test_the_same_file_for_another_account_is_another_job(
    tmp_path: Path, journal: Path, source: Path
) -> None:
    async with open_house(tmp_path / "open", key=None) as house:
        async with house.uploader(journal) as uploader:
            await stop_half_way(house, uploader, source)
        async with house.uploader(journal, key="sk-other") as other:
            assert_is(house, await other.upload(source, purpose="user_data"), source)
            assert len(await (await other.journal()).lines()) == 2


# --- stopping ---------------------------------------------------------------------------------


async def test_cancelling_the_task_keeps_receipts_and_gives_the_job_back(
    house: House, journal: Path, source: Path
) -> None:
    enough = asyncio.Event()

    def watch(event: events.Event) -> None:
        if isinstance(event, events.PartAccepted) and event.done >= 3000:
            enough.set()

    async with house.uploader(journal, options=Options(workers=1)) as uploader:
        task = asyncio.create_task(uploader.upload(source, purpose="user_data", on_event=watch))
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (line,) = await (await uploader.journal()).lines()
        assert line.done >= 3000
        assert line.owner is None
        assert line.why == "interrupted"
        before = house.whole_bytes
        assert_is(house, await uploader.resume(line.job.id), source)
        assert house.whole_bytes - before == SIZE - line.done


async def test_a_404_on_a_part_opens_a_new_upload_for_the_same_account(
    house: House, journal: Path, source: Path
) -> None:
    gone = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal gone
        if call_of(request) == "part" and not gone:
            gone = True
            return web.json_response({"error": {"message": "No such Upload"}}, status=404)
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        assert_is(house, await uploader.upload(source, purpose="user_data"), source)
    assert house.calls.count("create") == 2


async def test_a_server_without_uploads_is_said_so(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(status=404, text="<html>no</html>")

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(NotFound):
            await uploader.upload(source, purpose="user_data")


def test_options_bound_memory_by_slots_and_not_by_parts() -> None:
    for workers in (1, 4, 16, 64):
        options = Options(workers=workers)
        assert 128 * 1024 <= options.read_size <= 1 << 20
        assert workers * options.read_size <= 8 << 20
