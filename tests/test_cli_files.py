"""``chunkup files`` as a person and a script meet it: real processes, a real server."""

import asyncio
import json
import re
import signal
import stat
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from house import KEY, Handler, call_of, drop
from test_cli import PIPE, Result, Shell, shell
from test_completion import words
from test_howtos import console, page, play, prepare
from test_terminal import Desk, desk, server
from wire import answering, listening, reply

from chunkup import Uploader
from chunkup.cli.files import _plain
from chunkup.cli.main import run
from chunkup.errors import BadOption

__all__ = ["desk", "server", "shell"]

UGLY = "a\x1b[31m\tb\u202e.jsonl"


@dataclass
class Shelf:
    """A shell whose server has three Files, the oldest first."""

    shell: Shell
    ids: list[str]

    async def run(self, *words: str, **more: str) -> Result:
        return await self.shell.run("files", *words, **more)


@pytest.fixture
async def shelf(shell: Shell) -> Shelf:
    ids = []
    async with shell.uploader() as uploader:
        for number, (name, purpose) in enumerate(
            (("one.jsonl", "batch"), (UGLY, "user_data"), ("three.txt", "user_data"))
        ):
            shell.house.clock.offset = float(number)
            content = f"content of {number}".encode()
            file = await uploader.files.create(content, filename=name, purpose=purpose)
            ids.append(file.id)
    shell.forget()
    return Shelf(shell, ids)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- list and show ----------------------------------------------------------------------------


async def test_a_list_is_a_table_for_people(shelf: Shelf) -> None:
    done = await shelf.run("list")
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split() == ["ID", "SIZE", "PURPOSE", "STATUS", "CREATED", "EXPIRES", "NAME"]
    assert [row.split()[0] for row in rows] == shelf.ids[::-1]
    third, second, first = rows
    assert re.search(r"12 bytes  user_data  processed  \d{4}-\d\d-\d\d \d\d:\d\d  -  ", third)
    assert re.search(r"  in 29 d 23 h  one\.jsonl$|  in 30 d  one\.jsonl$", first)
    # What somebody called a File turns no terminal.
    assert second.endswith(r"a\x1b[31m\tb\u202e.jsonl")
    assert KEY not in done.out + done.err


async def test_a_list_is_json_for_programs(shelf: Shelf) -> None:
    done = await shelf.run("list", "--json", "--order", "asc")
    assert (done.code, done.err) == (0, "")
    found = objects(done.out)
    assert [each["id"] for each in found] == shelf.ids
    assert found[1]["filename"] == UGLY
    assert set(found[0]) == {
        *("id", "bytes", "created_at", "filename", "purpose"),
        *("object", "status", "expires_at", "status_details"),
    }


async def test_a_list_can_be_of_a_purpose_and_of_a_length(shelf: Shelf) -> None:
    done = await shelf.run("list", "--purpose", "batch", "--json")
    assert [each["id"] for each in objects(done.out)] == shelf.ids[:1]
    done = await shelf.run("list", "--limit", "2", "--json")
    assert [each["id"] for each in objects(done.out)] == shelf.ids[:0:-1]
    done = await shelf.run("list", "--purpose", "vision")
    assert (done.code, done.out, done.err) == (0, "", "there are no Files for vision\n")


@pytest.mark.parametrize("flag", ["--limit=0", "--limit=x", "--order=up"])
def test_a_list_that_cannot_be_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["files", "list", flag]) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


async def test_a_reader_who_has_enough_is_no_error(shelf: Shelf) -> None:
    done = await shelf.shell.paste("chunkup files list --json | head -n 1; echo ${PIPESTATUS[0]}")
    assert len(done.out.splitlines()) == 2
    assert done.err == ""


async def test_moments_and_sizes_that_make_no_sense_are_shown_all_the_same(shell: Shell) -> None:
    file = {"id": "file-1", "object": "file", "filename": "", "purpose": ""}
    odd = {**file, "created_at": 2**52, "expires_at": 1, "bytes": None}
    page = reply({"object": "list", "data": [odd, {**file, "id": "file-2"}], "has_more": False})
    async with listening(answering(page)) as wire:
        done = await shell.run("files", "list", "--base-url", wire.url)
    assert done.code == 0
    assert [row.split() for row in done.out.splitlines()[1:]] == [
        ["file-1", "-", "-", "-", str(2**52), "over"],
        ["file-2", "-", "-", "-", "-", "-"],
    ]


async def test_show_says_what_is_known_of_each(shelf: Shelf) -> None:
    done = await shelf.run("show", *shelf.ids[:2])
    assert (done.code, done.err) == (0, "")
    first, second = done.out.split("\n\n")
    assert f"id:      {shelf.ids[0]}\nname:    one.jsonl\nsize:    12 bytes (12 bytes)\n" in first
    assert "expires: in " in first
    assert r"name:    a\x1b[31m\tb\u202e.jsonl" in second
    assert "expires" not in second


async def test_one_that_fails_stops_no_other(shelf: Shelf) -> None:
    done = await shelf.run("show", shelf.ids[0], "file-none", shelf.ids[1])
    assert done.code == 1
    assert all(file_id in done.out for file_id in shelf.ids[:2])
    assert done.err.startswith("error[not-found]: the server would not show the File: 404")
    assert "file-none" in done.err
    assert "hint: chunkup files list --base-url http" in done.err
    done = await shelf.run("show", shelf.ids[0], "file-none", "--json")
    known, unknown = objects(done.out)
    assert known["id"] == shelf.ids[0]
    assert (unknown["id"], unknown["code"]) == ("file-none", "not-found")
    assert unknown["hint"].startswith("chunkup files list")


async def test_the_hint_is_a_command_that_helps(shelf: Shelf) -> None:
    shelf.shell.house.intercept = troubled
    done = await shelf.run("show", shelf.ids[0])
    assert done.code == 75
    hint = done.err.rpartition("hint: ")[2].strip()
    assert hint.startswith(f"chunkup files show {shelf.ids[0]}")
    shelf.shell.forget()
    assert (await shelf.shell.paste(hint)).code == 0


async def troubled(request: web.Request, _: Handler) -> web.StreamResponse:
    return web.json_response({}, status=503, headers={"retry-after-ms": "1"})


async def test_what_is_waited_for_is_said_while_it_is(shelf: Shelf) -> None:
    shelf.shell.house.intercept = troubled
    done = await shelf.run("list", CHUNKUP_RETRIES="1")
    assert done.code == 75
    first, *_ = done.err.splitlines()
    assert re.match(r"retrying in [\d.]+ s: server-trouble the server would not list Files", first)
    assert len(re.findall("retrying in", done.err)) == 1


async def test_without_a_key_nothing_is_asked(shelf: Shelf) -> None:
    done = await shelf.run("list", OPENAI_API_KEY="")
    assert done.code == 2
    assert done.err.startswith("error[no-key]")
    assert shelf.shell.house.calls == []


async def test_a_wrong_key_is_said_and_not_shown(shelf: Shelf) -> None:
    done = await shelf.run("show", shelf.ids[0], OPENAI_API_KEY="sk-wrong-canary")
    assert done.code == 1
    assert done.err.startswith("error[unauthorized]")
    assert "canary" not in done.out + done.err


# --- download ---------------------------------------------------------------------------------


async def test_a_download_is_named_as_it_is_said(shelf: Shelf) -> None:
    done = await shelf.run("download", shelf.ids[0], "-o", "out.jsonl")
    assert (done.code, done.out, done.err) == (0, "out.jsonl\n", "")
    path = shelf.shell.folder / "out.jsonl"
    assert path.read_text() == "content of 0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_without_a_name_it_has_the_ids_and_never_the_servers(shelf: Shelf) -> None:
    done = await shelf.run("download", shelf.ids[1])
    assert (done.code, done.out) == (0, f"{shelf.ids[1]}\n")
    assert (shelf.shell.folder / shelf.ids[1]).read_text() == "content of 1"
    done = await shelf.run("download", "../../etc/passwd")
    assert done.code == 2
    assert "cannot be a file's name; say --output FILE" in done.err
    assert {path.name for path in shelf.shell.folder.iterdir()} == {"a.bin", shelf.ids[1]}


@pytest.mark.parametrize("hostile", ["../x", "-rf", ".bashrc", "a b", "a/b", "", "..", "x" * 300])
def test_an_id_that_is_no_plain_name_is_no_file_name(hostile: str) -> None:
    with pytest.raises(BadOption, match="say --output FILE"):
        _plain(hostile)


async def test_several_go_into_a_folder(shelf: Shelf) -> None:
    (shelf.shell.folder / "all").mkdir()
    done = await shelf.run("download", *shelf.ids, "file-none", "-o", "all")
    assert done.code == 1
    assert done.out.splitlines() == [f"{file_id}\tall/{file_id}" for file_id in shelf.ids]
    for number, file_id in enumerate(shelf.ids):
        path = shelf.shell.folder / "all" / file_id
        assert path.read_text() == f"content of {number}"
    done = await shelf.run("download", *shelf.ids, "-o", "one")
    assert done.code == 2
    assert "several IDs go into a folder" in done.err


async def test_programs_are_told_path_and_size(shelf: Shelf) -> None:
    done = await shelf.run("download", shelf.ids[0], "-o", "out", "--json")
    assert objects(done.out) == [{"id": shelf.ids[0], "path": "out", "bytes": 12}]


async def test_nothing_is_overwritten_unless_asked(shelf: Shelf) -> None:
    (shelf.shell.folder / "out").write_text("dear")
    done = await shelf.run("download", shelf.ids[0], "-o", "out")
    assert done.code == 2
    assert "out is there already" in done.err
    assert (shelf.shell.folder / "out").read_text() == "dear"
    assert (await shelf.run("download", shelf.ids[0], "-o", "out", "--overwrite")).code == 0
    assert (shelf.shell.folder / "out").read_text() == "content of 0"


async def test_standard_output_gets_the_bytes_and_nothing_else(shelf: Shelf) -> None:
    done = await shelf.run("download", shelf.ids[0], "-o", "-")
    assert (done.code, done.out, done.err) == (0, "content of 0", "")
    done = await shelf.run("download", *shelf.ids, "-o", "-")
    assert (done.code, done.out) == (2, "")


async def test_much_goes_through_a_pipe_whole_and_a_broken_pipe_is_no_error(shell: Shell) -> None:
    shell.make("big.bin", size=3_000_000)
    async with shell.uploader() as uploader:
        file = await uploader.files.create(shell.folder / "big.bin", purpose="user_data")
    done = await shell.paste(f"chunkup files download {file.id} -o - | cksum; echo $PIPESTATUS")
    assert done.out.split()[1] == "3000000"
    assert done.out.splitlines()[1] == "0"
    done = await shell.paste(
        f"chunkup files download {file.id} -o - | head -c 10 | wc -c; echo ${{PIPESTATUS[0]}}"
    )
    assert (done.out.split(), done.err) == (["10", "1"], "")


async def test_a_signal_stops_a_download_and_the_same_command_goes_on(shell: Shell) -> None:
    shell.make("big.bin", size=3_000_000)
    async with shell.uploader() as uploader:
        file = await uploader.files.create(shell.folder / "big.bin", purpose="user_data")
    content = (shell.folder / "big.bin").read_bytes()
    half = asyncio.Event()
    ranges: list[str | None] = []

    async def halting(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "content" or file.id not in request.path:
            return await handler(request)
        ranges.append(request.headers.get("Range"))
        if half.is_set():
            return await handler(request)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:2_000_000])
        half.set()
        await asyncio.Event().wait()
        raise AssertionError

    shell.house.intercept = halting
    async with shell.uploader() as uploader:
        small = await uploader.files.create(b"abc", filename="a", purpose="user_data")
    (shell.folder / "out").mkdir()
    process = await shell.start("files", "download", small.id, file.id, "-o", "out")
    await half.wait()
    while not (hidden := list((shell.folder / "out").glob(".chunkup-*"))) or (  # noqa: ASYNC110  (a folder tells nobody)
        hidden[0].stat().st_size < 1_000_000
    ):
        await asyncio.sleep(0)
    process.send_signal(signal.SIGTERM)
    done = await shell.end(process)
    assert done.code == 143
    hint = done.err.rpartition("hint: ")[2].strip()
    assert hint.startswith(f"chunkup files download --output out {file.id}")
    # What is there already is not asked for again.
    assert small.id not in hint
    assert {path.name for path in (shell.folder / "out").iterdir()} == {small.id, hidden[0].name}
    done = await shell.paste(hint)
    assert (done.code, done.out) == (0, f"out/{file.id}\n")
    assert (shell.folder / "out" / file.id).read_bytes() == content
    first, second = ranges
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= 900_000


# --- delete -----------------------------------------------------------------------------------


async def test_delete_asks_and_without_anybody_to_ask_it_refuses(shelf: Shelf) -> None:
    done = await shelf.run("delete", *shelf.ids[:2])
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: deleting asks first")
    assert shelf.shell.house.calls == []
    hint = done.err.rpartition("hint: ")[2].strip()
    done = await shelf.shell.paste(hint)
    assert (done.code, done.out.split()) == (0, shelf.ids[:2])
    assert [row.id for row in shelf.shell.house.files] == shelf.ids[2:]


async def test_delete_goes_on_after_one_that_is_not_there(shelf: Shelf) -> None:
    done = await shelf.run("delete", "--yes", "file-none", shelf.ids[0], shelf.ids[0], "--json")
    assert done.code == 1
    missing, gone = objects(done.out)
    assert missing["code"] == "not-found"
    assert gone == {"id": shelf.ids[0], "deleted": True}
    assert shelf.shell.house.calls == ["delete", "delete"]


async def test_a_deletion_whose_answer_is_lost_is_done_all_the_same(shelf: Shelf) -> None:
    async def lost(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        return drop(request) if shelf.shell.house.calls.count("delete") == 1 else answer

    shelf.shell.house.intercept = lost
    done = await shelf.run("delete", "--yes", shelf.ids[0])
    assert (done.code, done.out) == (0, f"{shelf.ids[0]}\n")


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\x03", 130, 2)]
)
def test_a_person_is_asked(desk: Desk, answer: str, code: int, left: int) -> None:
    with Uploader(
        base_url=desk.environ["OPENAI_BASE_URL"], api_key=KEY, progress=False
    ) as uploader:
        ids = [
            uploader.files.create(b"abc", filename="a", purpose="user_data").id for _ in range(2)
        ]
        with desk.open("files", "delete", *ids) as terminal:
            # The blank is the last thing before it reads: an earlier Ctrl-C can be lost in Python.
            terminal.until(lambda it: it.seen.endswith(b"delete these 2 Files for ever? [y/N]: "))
            assert all(file_id in terminal.text for file_id in ids)
            if answer == "\x03":
                assert terminal.insist(answer) == code
            else:
                terminal.type(answer)
                assert terminal.end() == code
        assert len(list(uploader.files.list())) == left


def test_a_terminal_gets_no_content(desk: Desk) -> None:
    with desk.open("files", "download", "file-1", "-o", "-") as terminal:
        assert terminal.end() == 2
    assert "a terminal would take what is in a File for its own" in terminal.text.replace("\n", " ")


# --- create -----------------------------------------------------------------------------------


async def test_create_is_one_request_and_a_job(shell: Shell) -> None:
    done = await shell.run("files", "create", "a.bin", "-p", "user_data")
    assert done.code == 0, done.err
    (row,) = shell.house.files
    assert done.out == f"{row.id}\n"
    assert shell.house.calls.count("post") == 1
    assert "create" not in shell.house.calls
    (line,) = (await shell.jobs()).values()
    assert line.job.method == "files"


async def test_create_takes_several_and_what_upload_takes_of_the_content(shell: Shell) -> None:
    shell.make("b.bin")
    done = await shell.run(
        *(
            "files",
            "create",
            "a.bin",
            "b.bin",
            "-p",
            "vision",
            "--expires-after",
            "2h",
            "--no-check",
        ),
        "--quiet",
    )
    assert (done.code, done.err) == (0, "")
    assert [line.split("\t")[1] for line in done.out.splitlines()] == ["a.bin", "b.bin"]
    assert {row.expires_at - row.created_at for row in shell.house.files if row.expires_at} == {
        7200
    }


# --- the shell --------------------------------------------------------------------------------


async def test_the_words_of_files_are_completed(shell: Shell) -> None:
    assert await words(shell, "files") == ["create", "delete", "download", "list", "show"]
    assert await words(shell, "files", "do") == ["download"]
    assert "--overwrite" in await words(shell, "files download", "--o")
    assert await words(shell, "files list --purpose", "ba") == ["batch"]
    assert "files" in await words(shell, "", "fi")


async def test_help_says_what_they_do_and_costs_little(shell: Shell) -> None:
    done = await shell.run("files", "--help")
    assert done.code == 0
    for word in ("create", "delete", "download", "list", "show"):
        assert re.search(rf"^  {word} ", done.out, re.MULTILINE), word
    process = await shell._started(
        [
            *(sys.executable, "-X", "importtime", "-m", "chunkup"),
            *("files", "list", "--help"),
        ],
        {},
        PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 0
    loaded = set(re.findall(r"\| +([\w.]+)$", err.decode(), re.MULTILINE))
    assert not {"aiohttp", "sqlite_utils", "rich", "chunkup.engine"} & loaded


# --- the how-to -------------------------------------------------------------------------------


async def test_the_how_to_was_run(shell: Shell) -> None:
    text = page("files.md")
    prepare(shell, text)
    real = {}
    shell.house.clock.offset = -9000.0
    for name, written in (
        ("a", "file-9mR4tYpLq2WzX8nVb6KdEf"),
        ("b", "file-Kx0cJ2cHk3Tq5vUo1sYw7A"),
    ):
        lines = b'{"custom_id": "%s", "url": "/v1/responses"}\n' % name.encode()
        content = (lines * 500)[: 20_500 - 20_500 % len(lines)]
        content += b" " * (20_500 - len(content) - 1) + b"\n"
        (shell.folder / f"{name}.jsonl").write_bytes(content)
        async with shell.uploader() as uploader:
            file = await uploader.files.create(content, filename=f"{name}.jsonl", purpose="batch")
        real[written] = file.id
        shell.house.clock.offset += 60
    for command, shown in console(text):
        for written, there in real.items():
            command = command.replace(written, there)  # noqa: PLW2901  (the same, as it is here)
        await play(shell, command, shown)
