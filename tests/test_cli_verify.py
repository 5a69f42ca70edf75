"""``chunkup verify`` as a person and a script meet it: real processes, a real server."""

import asyncio
import json
import os
import shlex
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, drop
from test_cli import Result, Shell, shell
from test_verifying import described_as, on, saying, shelved

from chunkup.cli.main import run
from chunkup.manifest import Entry, line_of

__all__ = ["shell"]


@dataclass
class Kept:
    """A shell that has a manifest ``m.jsonl`` of three Files."""

    shell: Shell
    entries: list[Entry]

    @property
    def path(self) -> Path:
        return self.shell.folder / "m.jsonl"

    @property
    def house(self) -> House:
        return self.shell.house

    def write(self, *entries: Entry) -> None:
        self.entries = list(entries)
        self.path.write_text("".join(line_of(one) + "\n" for one in entries))

    async def verify(self, *words: str, **more: str) -> Result:
        done = await self.shell.run("verify", "m.jsonl", *words, **more)
        assert KEY not in done.out + done.err
        assert "\x1b" not in done.out + done.err
        return done


@pytest.fixture
def kept(shell: Shell) -> Kept:
    made = Kept(shell, [])
    entries = shelved(shell.house, shell.folder, 3)
    made.write(*[replace(one, given=Path(one.source).name) for one in entries])
    return made


def lines(kept: Kept, *states: str) -> str:
    pairs = zip(states, kept.entries, strict=True)
    return "".join(f"{state}\t{one.file}\t{one.shown}\n" for state, one in pairs)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- what it says -----------------------------------------------------------------------------


async def test_all_is_well(kept: Kept) -> None:
    before = sorted(kept.shell.folder.parent.rglob("*"))
    done = await kept.verify()
    assert (done.code, done.out) == (0, lines(kept, "ok", "ok", "ok"))
    assert done.err == "3 Files, 7.5 kB: 3 ok; content compared: 3\n"
    assert sorted(kept.shell.folder.parent.rglob("*")) == before


async def test_no_content_only_asks_and_quiet_is_results_alone(kept: Kept) -> None:
    first, second, third = kept.entries
    odd = replace(second, given=os.fsdecode(b"\xff.bin"))
    kept.write(replace(first, cut=True, source="/elsewhere/big.jsonl"), odd, third)
    done = await kept.verify("--no-content", "--quiet")
    assert (done.code, done.err) == (0, "")
    # A piece goes by its File's name, and a path that is no text is printed all the same.
    assert [line.split("\t")[2] for line in done.out.splitlines()] == [
        *("000.bin", "\\udcff.bin", "002.bin")
    ]
    assert kept.house.calls == ["retrieve"] * 3


async def test_what_is_wrong_is_said_and_stops_nothing(kept: Kept) -> None:
    kept.house.store.delete_file(kept.entries[0].file)
    first, second, third = kept.entries
    kept.write(first, replace(second, md5="0" * 32), third)
    done = await kept.verify()
    assert (done.code, done.out) == (1, lines(kept, "gone", "differs", "ok"))
    gone, differs, balance = done.err.splitlines()
    assert gone == f"gone: 000.bin ({first.file}): the server has no such File"
    assert differs.startswith(f"differs: 001.bin ({second.file}): its content has another MD5")
    assert balance == "3 Files, 7.5 kB: 1 ok, 1 gone, 1 differs; content compared: 2"


async def test_contents_that_are_not_given_back_are_no_failure(kept: Kept) -> None:
    on(kept.house, "content", saying(400, "Not allowed to download files of purpose: user_data"))
    done = await kept.verify()
    assert (done.code, done.out) == (0, lines(kept, "ok", "ok", "ok"))
    assert done.err == (
        "3 Files, 7.5 kB: 3 ok; content compared: 0 (not compared, such as: its content cannot be "
        "compared: the server would not give the File's content: 400 Not allowed to download "
        "files of purpose: user_data)\n"
    )


async def test_json_is_an_object_a_file_and_a_summary(kept: Kept) -> None:
    kept.house.store.delete_file(kept.entries[1].file)
    done = await kept.verify("--json")
    assert done.code == 1
    *found, summary = objects(done.out)
    for one, entry, state in zip(found, kept.entries, ("ok", "gone", "ok"), strict=True):
        assert list(one)[:3] == ["v", "time", "event"]
        assert (one["v"], one["event"], one["state"]) == (1, "verified", state)
        assert (one["path"], one["file"], one["job"]) == (entry.shown, entry.file, entry.job)
        assert (one["source"], one["start"], one["stop"]) == (entry.source, 0, 2500)
    assert (found[0]["message"], found[0]["compared"], found[0]["code"]) == (None, True, None)
    assert found[1]["message"] == "the server has no such File"
    del summary["time"]
    assert summary == {
        "v": 1,
        "event": "summary",
        "exit_code": 1,
        "files": 3,
        "ok": 2,
        "gone": 1,
        "differs": 0,
        "unknown": 0,
        "compared": 2,
        "bytes": 7500,
        "code": None,
        "message": None,
        "hint": None,
    }


async def test_what_a_file_or_a_server_says_turns_no_terminal(kept: Kept) -> None:
    (one, *_) = kept.entries
    ugly = "a\x1b[31m\n\u202e"
    on(kept.house, "retrieve", described_as(filename=ugly + "b"))
    kept.write(replace(one, given=ugly, filename=ugly), replace(one, file=ugly))
    done = await kept.verify()
    assert done.code == 1
    assert [len(line.split("\t")) for line in done.out.splitlines()] == [3, 3]
    assert len(done.err.splitlines()) == 3
    done = await kept.verify("--json")
    assert objects(done.out)[0]["path"] == ugly
    assert done.out.isascii()


async def test_a_reader_who_has_enough_is_no_error(kept: Kept) -> None:
    done = await kept.shell.paste("chunkup verify m.jsonl -q | head -n 1")
    assert done.out.startswith("ok\t")
    assert done.err == ""


# --- which account ----------------------------------------------------------------------------


async def test_entries_of_another_account_come_with_the_command_that_asks_there(
    kept: Kept,
) -> None:
    first, second, third = kept.entries
    theirs = replace(first.account, organization="org-1", project="proj_1")
    kept.write(first, replace(second, account=theirs), replace(third, account=theirs))
    done = await kept.verify()
    assert (done.code, done.out) == (1, lines(kept, "ok", "unknown", "unknown"))
    (hint,) = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert hint.count("verify") == 1
    again = await kept.shell.paste(hint.removeprefix("hint: "))
    assert (again.code, again.out) == (1, lines(kept, "unknown", "ok", "ok"))


# --- what cannot be ---------------------------------------------------------------------------


def test_a_file_that_is_no_manifest_is_a_wrong_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    Path("m.jsonl").write_text("file-1\n")
    assert run(["verify", "m.jsonl"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error[bad-option]: m.jsonl is no manifest: line 1 is no JSON\n\n")
    assert "hint: " in said.err
    assert run(["verify", "m.jsonl", "--json"]) == 2
    (summary,) = objects(capsys.readouterr().out)
    assert (summary["event"], summary["exit_code"], summary["files"]) == ("summary", 2, 0)
    assert summary["code"] == "bad-option"
    assert run(["verify", "none.jsonl"]) == 2
    assert "error[no-such-file]: there is no file none.jsonl" in capsys.readouterr().err
    monkeypatch.delenv("OPENAI_API_KEY")
    assert run(["verify", "m.jsonl", "--json"]) == 2
    assert objects(capsys.readouterr().out)[-1]["code"] == "no-key"


async def test_a_manifest_of_nothing_says_so(kept: Kept) -> None:
    kept.write()
    done = await kept.verify()
    assert (done.code, done.out, done.err) == (0, "", "the manifest names no File\n")


async def test_a_server_that_is_away_is_asked_later(kept: Kept) -> None:
    async def gone(request: web.Request, handler: Handler) -> web.StreamResponse:
        return drop(request)

    kept.house.intercept = gone
    done = await kept.verify(CHUNKUP_RETRIES="0")
    assert (done.code, done.out) == (75, lines(kept, *["unknown"] * 3))
    kept.write(*kept.entries * 5)
    done = await kept.verify("--json", CHUNKUP_RETRIES="0")
    assert done.code == 75
    *found, summary = objects(done.out)
    assert {one["state"] for one in found} == {"unknown"}
    assert {one["code"] for one in found} == {"unreachable"}
    assert (summary["exit_code"], summary["code"]) == (75, "unreachable")
    # The command that goes on is whole.
    assert shlex.split(summary["hint"])[:3] == ["chunkup", "verify", "m.jsonl"]
    kept.house.intercept = None
    assert (await kept.shell.paste(summary["hint"])).code == 0


async def test_gone_weighs_more_than_not_known(kept: Kept) -> None:
    kept.house.store.delete_file(kept.entries[2].file)
    first = kept.entries[0].file

    async def troubled(request: web.Request, handler: Handler) -> web.StreamResponse:
        if first in request.path:
            return web.Response(status=500)
        return await handler(request)

    kept.house.intercept = troubled
    done = await kept.verify(CHUNKUP_RETRIES="0")
    assert (done.code, done.out) == (1, lines(kept, "unknown", "ok", "gone"))


async def test_a_key_that_is_refused_is_one_error(kept: Kept) -> None:
    done = await kept.verify(OPENAI_API_KEY="sk-other")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("error[") == 1
    assert "error[unauthorized]" in done.err


async def test_a_signal_ends_it_and_says_how_to_ask_again(kept: Kept) -> None:
    arrived = asyncio.Event()

    async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content":
            arrived.set()
            await asyncio.Event().wait()
        return await handler(request)

    kept.house.intercept = slow
    process = await kept.shell.start("verify", "m.jsonl", "--json")
    async with asyncio.timeout(30):
        await arrived.wait()
    process.send_signal(signal.SIGTERM)
    done = await kept.shell.end(process)
    assert done.code == 143
    assert "stopped by SIGTERM" in done.err
    assert "hint: chunkup verify m.jsonl --base-url" in done.err
    assert objects(done.out)[-1]["exit_code"] == 143
