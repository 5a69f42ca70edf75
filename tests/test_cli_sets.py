"""Many files in one command: their order, their set, their names, and how they fail."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, call_of
from test_cli import AS_USED, Result, Shell, hint_of, hold_parts_after, list_of, shell

from chunkup.machine import Phase

__all__ = ["shell"]

MANY = [f"{number:02}.bin" for number in range(12)]


def pairs(out: str) -> list[tuple[str, ...]]:
    """Id and path of each line."""
    return [tuple(line.split("\t")) for line in out.splitlines()]


def ids_by_name(shell: Shell) -> dict[str, str]:
    assert len({row.filename for row in shell.house.files}) == len(shell.house.files)
    return {row.filename: row.id for row in shell.house.files}


class Holding:
    """Holds the creation of some files' Uploads."""

    def __init__(self, shell: Shell, *names: str) -> None:
        self._names = [name.encode() for name in names]
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        shell.house.intercept = self

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create":
            body = await request.read()
            if any(name in body for name in self._names):
                self.held.set()
                await self.go.wait()
        return await handler(request)


async def all_completed(shell: Shell, count: int) -> None:
    """Wait until the journal has so many Files: its rows come from a process that tells nobody."""
    while sum(line.phase is Phase.COMPLETED for line in (await shell.jobs()).values()) < count:
        continue


async def killed_after(shell: Shell, done: int, number: signal.Signals = signal.SIGKILL) -> Result:
    """Upload many files and signal the process once some of them are Files."""
    shell.make(*MANY)
    holding = Holding(shell, *MANY[done:])
    process = await shell.start("upload", *MANY, *AS_USED)
    await holding.held.wait()
    await all_completed(shell, done)
    process.send_signal(number)
    ended = await shell.end(process)
    shell.house.intercept = None
    holding.go.set()
    await shell.house.idle()
    shell.forget()
    return ended


# --- order ------------------------------------------------------------------------------------


async def test_lines_come_in_the_order_of_the_arguments_and_not_of_the_ends(shell: Shell) -> None:
    shell.make("b.bin", "c.bin")
    holding = Holding(shell, "a.bin")
    process = await shell.start("upload", "a.bin", "c.bin", "b.bin", *AS_USED)
    await all_completed(shell, 2)
    holding.go.set()
    done = await shell.end(process)
    assert done.code == 0, done.err
    ids = ids_by_name(shell)
    assert pairs(done.out) == [(ids[name], name) for name in ("a.bin", "c.bin", "b.bin")]


async def test_a_line_comes_as_soon_as_those_before_it_are_settled(shell: Shell) -> None:
    shell.make("b.bin", "c.bin")
    holding = Holding(shell, "c.bin")
    process = await shell.start("upload", "a.bin", "b.bin", "c.bin", *AS_USED)
    assert process.stdout is not None
    early = [await process.stdout.readline() for _ in range(2)]
    assert [line.decode().strip().split("\t")[1] for line in early] == ["a.bin", "b.bin"]
    holding.go.set()
    assert (await shell.end(process)).out.endswith("\tc.bin\n")


async def test_one_file_named_twice_is_sent_once_and_printed_as_it_was_named(shell: Shell) -> None:
    done = await shell.upload("a.bin", "./a.bin", "a.bin", str(shell.folder / "a.bin"))
    assert done.code == 0, done.err
    (row,) = shell.house.files
    named = ["a.bin", "./a.bin", "a.bin", str(shell.folder / "a.bin")]
    assert pairs(done.out) == [(row.id, name) for name in named]


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["upload", "resume"])
async def test_killed_at_file_k_of_n_the_rest_is_sent_and_all_are_printed(
    shell: Shell, again: str
) -> None:
    await killed_after(shell, 4)
    before = {row.id for row in shell.house.files}
    assert len(before) == 4
    words = ["upload", *MANY, *AS_USED] if again == "upload" else ["resume"]
    done = await shell.run(*words)
    assert done.code == 0, done.err
    ids = ids_by_name(shell)
    assert pairs(done.out) == [(ids[name], name) for name in MANY]
    assert before <= set(ids.values())
    assert shell.house.calls.count("complete") == 8
    assert shell.house.whole_bytes == 8 * 3000
    for name in MANY:
        assert shell.house.content(ids[name]) == (shell.folder / name).read_bytes()


async def test_a_finished_set_is_sent_again_and_resume_has_nothing_to_do(shell: Shell) -> None:
    shell.make("b.bin")
    first = await shell.upload("a.bin", "b.bin")
    resumed = await shell.run("resume")
    assert (resumed.code, resumed.out) == (0, "")
    second = await shell.upload("a.bin", "b.bin")
    assert second.code == 0
    assert {file for file, _ in pairs(first.out)}.isdisjoint(file for file, _ in pairs(second.out))


@pytest.mark.parametrize("folder", ["plain", "it's  odd"])
async def test_a_signal_in_a_set_says_one_command_that_works_as_pasted(
    shell: Shell, tmp_path: Path, folder: str
) -> None:
    shell.environ["CHUNKUP_JOURNAL"] = str(tmp_path / folder / "journal.db")
    (tmp_path / folder).mkdir(mode=0o700)
    stopped = await killed_after(shell, 2, signal.SIGINT)
    assert stopped.code == 130
    assert "error[interrupted]: stopped by SIGINT" in stopped.err
    # The hint says where, whatever the terminal that it is pasted into has in its variables.
    elsewhere = {"OPENAI_BASE_URL": "", "CHUNKUP_JOURNAL": ""}
    done = await shell.paste(hint_of(stopped.err), **elsewhere)
    assert done.code == 0, done.err
    ids = ids_by_name(shell)
    assert pairs(done.out) == [(ids[name], name) for name in MANY]
    assert shell.house.calls.count("complete") == 10


async def test_the_same_set_started_twice_is_run_by_one(shell: Shell) -> None:
    # More than run at once: those that wait for their turn are held as well.
    shell.make(*MANY)
    holding = Holding(shell, *MANY)
    first = await shell.start("upload", *MANY, *AS_USED)
    await holding.held.wait()
    second = await shell.upload(*MANY)
    assert (second.code, second.out) == (3, "")
    assert second.err.count("error[busy]") == 12
    assert f"process {first.pid}" in second.err
    holding.go.set()
    assert (await shell.end(first)).code == 0
    assert len(ids_by_name(shell)) == 12


async def test_fresh_ends_what_is_unfinished_and_sends_all_of_it_again(shell: Shell) -> None:
    job = await shell.half_sent()
    shell.make("b.bin")
    done = await shell.upload("a.bin", "b.bin", "--fresh")
    assert done.code == 0, done.err
    assert "continuing" not in done.err
    assert shell.house.whole_bytes == 20_500 + 3000
    assert (await shell.jobs())[job].phase is Phase.CANCELLED
    assert [row.status for row in shell.house.store.uploads()].count("cancelled") == 1
    assert (await shell.run("resume")).out == ""


async def test_fresh_sends_what_the_unfinished_set_had_finished_too(shell: Shell) -> None:
    await killed_after(shell, 5)
    done = await shell.upload(*MANY, "--fresh")
    assert done.code == 0, done.err
    assert shell.house.whole_bytes == 12 * 3000
    assert len(shell.house.files) == 17


async def test_fresh_sends_what_was_done_beside_one_that_failed(shell: Shell) -> None:
    shell.make("rejected.bin")
    Failing(shell)
    first = await shell.upload("a.bin", "rejected.bin")
    assert first.code == 1
    shell.forget()
    done = await shell.upload("a.bin", "rejected.bin", "--fresh")
    assert done.code == 0, done.err
    assert shell.house.whole_bytes == 20_500 + 3000
    assert first.out.split("\t")[0] not in done.out


async def test_new_content_is_never_taken_for_that_of_a_job_in_doubt(shell: Shell) -> None:
    await shell.in_doubt()
    (old,) = shell.house.files
    (shell.folder / "a.bin").write_bytes(b"new")
    done = await shell.upload("a.bin")
    assert done.code == 0, done.err
    assert done.out.strip() != old.id
    assert shell.house.content(done.out.strip()) == b"new"


async def test_members_that_changed_are_sent_anew_and_the_others_are_not(shell: Shell) -> None:
    await killed_after(shell, 5)
    longer, other, touched, unsent = (shell.folder / MANY[at] for at in (0, 1, 2, 7))
    longer.write_bytes(b"longer" * 1000)
    other.write_bytes(b"as long but other".ljust(3000))
    os.utime(touched, ns=(1, 1))
    unsent.write_bytes(b"not sent yet")
    old = ids_by_name(shell)
    done = await shell.upload(*MANY)
    assert done.code == 0, done.err
    assert shell.house.whole_bytes == 6000 + 3000 + 12 + 6 * 3000
    found = {name: file for file, name in pairs(done.out)}
    assert list(found) == MANY
    for name in MANY:
        assert shell.house.content(found[name]) == (shell.folder / name).read_bytes()
    assert [name for name in MANY[:5] if found[name] != old[name]] == [longer.name, other.name]


async def test_resume_refuses_the_one_that_changed_and_sends_the_others(shell: Shell) -> None:
    shell.make("b.bin")
    jobs = [await shell.half_sent("a.bin"), await shell.half_sent("b.bin", 1)]
    (shell.folder / "a.bin").write_bytes(b"changed")
    done = await shell.run("resume")
    assert done.code == 1
    (row,) = shell.house.files
    assert pairs(done.out) == [(row.id, str(shell.folder / "b.bin"))]
    assert f"error[source-changed]: {shell.folder}/a.bin" in done.err
    hint = hint_of(done.err)
    assert hint.startswith(f"chunkup upload {shell.folder}/a.bin --purpose user_data")
    again = await shell.paste(hint)
    assert again.code == 0, again.err
    assert shell.house.content(again.out.strip()) == b"changed"
    assert (await shell.jobs())[jobs[0]].phase is not Phase.SENDING


async def test_after_a_change_the_hint_names_the_job_that_there_is_now(shell: Shell) -> None:
    old = await shell.half_sent()
    shell.make("a.bin", size=9000)
    held, go = hold_parts_after(shell.house, 2)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    process.send_signal(signal.SIGINT)
    stopped = await shell.end(process)
    go.set()
    assert stopped.code == 130
    assert "the file changed since" in stopped.err
    assert old not in hint_of(stopped.err)
    done = await shell.paste(hint_of(stopped.err))
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()


# --- names ------------------------------------------------------------------------------------


async def test_odd_names_take_one_line_each_and_json_has_them_whole(shell: Shell) -> None:
    odd = os.fsdecode(b"caf\xe9 folder")
    (shell.folder / odd).mkdir()
    names = {
        "two words.bin": "two words.bin",
        'it\'s "quoted".bin': 'it\'s "quoted".bin',
        "-n.bin": "./-n.bin",
        "line\nend\ttab.bin": "line\\nend\\ttab.bin",
        "größe 数据 😀.bin": "größe 数据 😀.bin",
        "\x1b[2Jclear.bin": "\\x1b[2Jclear.bin",
        f"{odd}/plain.bin": "caf\\udce9 folder/plain.bin",
    }
    for number, name in enumerate(names):
        (shell.folder / name).write_bytes(b"x" * (number + 1))
    asked = [f"./{name}" if name.startswith("-") else name for name in names]
    done = await shell.upload(*asked)
    assert done.code == 0, done.err
    found = pairs(done.out)
    assert [name for _, name in found] == list(names.values())
    assert "\x1b" not in done.out + done.err
    for (file, _), name in zip(found, names, strict=True):
        assert shell.house.content(file) == (shell.folder / name).read_bytes()
    told = await shell.upload(*asked, "--json")
    assert told.code == 0, told.err
    lines = [json.loads(line) for line in told.out.splitlines()]
    paths = {os.fsencode(line["path"]) for line in lines if line["event"] == "completed"}
    assert paths == {os.fsencode(shell.folder / name) for name in names}


async def test_a_name_that_is_no_text_is_refused_and_said(shell: Shell) -> None:
    name = os.fsdecode(b"caf\xe9.bin")
    (shell.folder / name).write_bytes(b"x")
    done = await shell.upload("a.bin", name)
    assert (done.code, done.out) == (2, "")
    assert "error[bad-option]: the name of caf\\udce9.bin is no valid text" in done.err
    assert shell.house.calls == []
    named = await shell.upload(name, "--filename", "coffee.bin", "--format", "tsv")
    assert named.code == 0, named.err
    assert pairs(named.out) == [(shell.house.files[0].id, "caf\\udce9.bin")]


# --- failing ----------------------------------------------------------------------------------


async def test_one_that_cannot_be_is_said_before_anything_is_sent(shell: Shell) -> None:
    done = await shell.upload("a.bin", "nowhere.bin", "b.bin")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[no-such-file]: there is no file nowhere.bin")
    assert shell.house.calls == []
    assert not shell.journal.exists()


class Failing:
    """Fails what is about files of certain names, each in its own way."""

    def __init__(self, shell: Shell) -> None:
        self._house = shell.house
        shell.house.intercept = self

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call, body = call_of(request), b""
        if call == "create":
            body = await request.read()
        if b"rejected.bin" in body:
            return web.json_response({"error": {"message": "not that one"}}, status=400)
        if b"stopped.bin" in body:
            return web.Response(status=503, headers={"retry-after-ms": "1"})
        doubtful = self._name_of(request) == "doubtful.bin"
        if call == "complete" and doubtful:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if call == "list":
            # Two that fit are none.
            return list_of("file-1", "file-2", filename="doubtful.bin", size=3000)
        return await handler(request)

    def _name_of(self, request: web.Request) -> str | None:
        upload_id = request.path.split("/")[3] if request.path.count("/") > 3 else ""
        names = {row.id: row.filename for row in self._house.store.uploads()}
        return names.get(upload_id)


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["doubtful", "rejected", "busy", "stopped", "good"], 4),
        (["rejected", "busy", "stopped", "good"], 1),
        (["busy", "stopped", "good"], 3),
        (["stopped", "good"], 75),
    ],
)
async def test_the_worst_of_several_failures_is_the_exit_code(
    shell: Shell, kinds: list[str], code: int
) -> None:
    names = [f"{kind}.bin" for kind in kinds]
    shell.make(*names)
    process = None
    if "busy" in kinds:
        holding = Holding(shell, "busy.bin")
        process = await shell.start("upload", "busy.bin", *AS_USED)
        await holding.held.wait()
    Failing(shell)
    done = await shell.upload(*names, CHUNKUP_RETRIES="0")
    assert done.code == code, done.err
    assert [path for _, path in pairs(done.out)] == ["good.bin"]
    said = {"doubtful": "outcome-unknown", "rejected": "rejected", "stopped": "server-trouble"}
    for kind in kinds:
        if kind in said:
            assert f"error[{said[kind]}]: {kind}.bin: " in done.err
    if process is not None:
        assert "error[busy]: busy.bin: job" in done.err
        process.kill()
        holding.go.set()


async def test_a_signal_outweighs_every_failure(shell: Shell) -> None:
    shell.make("rejected.bin", "held.bin")
    failing = Failing(shell)
    holding = Holding(shell, "held.bin")

    async def both(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await holding(request, lambda request: failing(request, handler))

    shell.house.intercept = both
    process = await shell.start("upload", "rejected.bin", "held.bin", *AS_USED)
    assert process.stderr is not None
    said = b""
    while b"error[rejected]: rejected.bin: " not in said:
        said += await process.stderr.readline()
    await holding.held.wait()
    process.send_signal(signal.SIGTERM)
    stopped = await shell.end(process)
    holding.go.set()
    assert stopped.code == 143
    assert "error[interrupted]" in stopped.err


async def test_a_single_file_that_fails_needs_no_name_before_its_error(shell: Shell) -> None:
    shell.make("rejected.bin")
    Failing(shell)
    done = await shell.upload("rejected.bin")
    assert done.code == 1
    assert "\nerror[rejected]: the server" in f"\n{done.err}"


# --- what is said of a set ------------------------------------------------------------------------


async def test_what_was_there_already_is_counted(shell: Shell) -> None:
    shell.make(*MANY[:4])
    assert (await shell.run("upload", *MANY[:3], *AS_USED)).code == 0
    done = await shell.run("upload", *MANY[:4], *AS_USED, "--skip-existing")
    assert done.code == 0, done.err
    assert "3 of 4 files were there already and not sent" in done.err
    assert len(pairs(done.out)) == len(shell.house.files) == 4
    again = await shell.run("upload", *MANY[:4], *AS_USED, "--skip-existing", "--quiet")
    assert (again.out, again.err) == (done.out, "")


async def test_pieces_of_one_file_are_called_so(shell: Shell) -> None:
    body = {"model": "m", "input": "x" * 2000}
    request = {"method": "POST", "url": "/v1/responses", "body": body}
    lines = [json.dumps({"custom_id": f"r{number}", **request}) for number in range(40)]
    (shell.folder / "big.jsonl").write_text("\n".join(lines) + "\n")
    held, go = hold_parts_after(shell.house, 5)
    words = ("big.jsonl", "-p", "batch", "--part-size", "1000", "--split-lines", "8")
    process = await shell.start("upload", *words)
    await held.wait()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    shell.house.intercept = None
    go.set()
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert f"continue 5 pieces of {shell.folder}/big.jsonl (" in done.err
    assert [name for _, name in pairs(done.out)] == [
        f"big-0000{number}-of-00005.jsonl" for number in range(1, 6)
    ]
