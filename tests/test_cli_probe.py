"""``chunkup probe`` as a person or a script meets it."""

import asyncio
import json
import signal
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of
from oddities import odd_server
from test_cli import Result, Shell, shell

from chunkup.config import load
from chunkup.errors import BadOption
from chunkup.probe import QUESTIONS
from chunkup.probe.keeping import add, table

__all__ = ["shell"]

CANARY = "sk-canary-pr0be-53cr37"
HEADER = "canary-header-v4lu3"


@pytest.fixture(autouse=True)
def somebody(shell: Shell, tmp_path: Path) -> None:
    """Nobody's own profiles: the file is where a test's user would have it, and not there yet."""
    shell.environ["HOME"] = str(tmp_path)
    shell.environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")


def written(tmp_path: Path) -> Path:
    (path,) = tmp_path.rglob("config.toml")
    return path


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def pending(house: House) -> list[str]:
    return [upload.id for upload in house.store.uploads() if upload.status == "pending"]


async def test_the_embedded_server_is_as_expected_and_everything_is_deleted(shell: Shell) -> None:
    done = await shell.run("probe", "--expect", "openai")
    assert done.code == 0, done.err
    header, *rows = done.out.splitlines()
    assert header.split() == ["QUESTION", "FACT", "OFFICIAL", "API", "CHUNKUP"]
    named = [row.split()[0] for row in rows if not row.startswith(" ")]
    assert named == [question.name for question in QUESTIONS]
    first, last = done.err.splitlines()
    assert first.startswith(f"asking {shell.house.url} {len(QUESTIONS)} questions")
    assert last.endswith("Uploads were made; nothing of them is left")
    assert shell.house.files == []
    assert pending(shell.house) == []
    # It is no upload, and the journal hears nothing of it.
    assert not Path(shell.environ["CHUNKUP_JOURNAL"]).exists()


async def test_json_has_a_line_for_each_question_and_a_summary_last(shell: Shell) -> None:
    done = await shell.run("probe", "--json")
    *found, summary = lines(done)
    assert {line["event"] for line in found} == {"finding"}
    assert [line["question"] for line in found] == [question.name for question in QUESTIONS]
    assert all(line["v"] == 1 and line["time"] for line in [*found, summary])
    by_name = {line["question"]: line for line in found}
    assert by_name["orphan"]["official"] == "unknown"
    assert by_name["orphan"]["agrees"] is None
    assert by_name["order"] | {"time": 0} == {
        "v": 1,
        "time": 0,
        "event": "finding",
        "question": "order",
        "asks": "Is the listed order honoured?",
        "finding": "listed",
        "fact": "Parts are put together as they are listed.",
        "seen": by_name["order"]["seen"],
        "official": "documented",
        "source": "API reference",
        "expected": ["listed", "unseen"],
        "agrees": True,
        "chunkup": "sends them in any order",
    }
    assert (summary["event"], summary["exit_code"]) == ("summary", 0)
    assert (summary["left_files"], summary["left_uploads"], summary["differences"]) == ([], [], [])
    assert summary["questions"] == len(QUESTIONS)


async def test_what_differs_is_a_verdict_where_one_is_asked_for(shell: Shell) -> None:
    async with odd_server("no-md5", "second-file", "for-ever") as odd:
        done = await shell.run("probe", "--base-url", odd.url, "--expect", "openai", "--json")
        assert done.code == 1
        *_, summary = lines(done)
        # What nobody knows of the official API is no difference.
        assert "complete-twice" not in summary["differences"]
        assert {"md5-wrong", "list-more"} <= set(summary["differences"])
        assert (summary["code"], summary["exit_code"]) == ("failed", 1)
        assert "error[failed]: this is not what openai does: " in done.err
        assert "md5-wrong" in done.err
        assert odd.files == {}


async def test_what_could_not_be_told_is_no_agreement_and_open_uploads_are_named(
    shell: Shell,
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "cancel":
            return web.json_response({"error": {"message": "overloaded"}}, status=503)
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.run("probe", "--expect", "openai", "--json")
    assert done.code == 1
    *_, summary = lines(done)
    assert summary["differences"] == ["cancel", "part-cancelled"]
    assert summary["left_uploads"] == sorted(pending(shell.house))
    for upload_id in pending(shell.house):
        assert f"not cancelled, and ends by itself: {upload_id}" in done.err
    assert "no File is left, and " in done.err


async def test_what_could_not_be_deleted_is_named_with_the_command_that_does(
    shell: Shell,
) -> None:
    async with odd_server("undeletable") as odd:
        done = await shell.run("probe", "--base-url", odd.url)
        assert done.code == 1
        for file_id in odd.files:
            assert f"not deleted: {file_id} chunkup-probe-" in done.err
        assert "hint: chunkup files delete file-" in done.err
        assert f"--yes --base-url {odd.url}" in done.err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
async def test_a_signal_in_the_middle_leaves_nothing(shell: Shell, name: str, code: int) -> None:
    reached = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(shell.house.calls) >= 40:
            reached.set()
        return await handler(request)

    shell.house.intercept = intercept
    process = await shell.start("probe")
    await reached.wait()
    process.send_signal(signal.Signals[name])
    done = await shell.end(process)
    assert done.code == code, done.err
    assert f"error[interrupted]: stopped by {name}" in done.err
    assert "nothing of them is left" in done.err
    assert shell.house.files == []
    assert pending(shell.house) == []


async def test_a_second_signal_leaves_at_once_and_names_what_is_left(shell: Shell) -> None:
    deleting, never = asyncio.Event(), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "delete":
            deleting.set()
            await never.wait()
        return await handler(request)

    shell.house.intercept = intercept
    process = await shell.start("probe")
    await deleting.wait()
    process.send_signal(signal.SIGINT)
    # Only once the first was heard is the next a second one.
    assert process.stderr is not None
    said = b""
    while b"deleting what was made" not in said:
        said += await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = await shell.end(process)
    assert done.code == 130
    for file in shell.house.files:
        assert f"not deleted: {file.id} " in done.err
    assert shell.house.files


async def test_a_wrong_key_ends_it_before_anything_is_made(shell: Shell) -> None:
    done = await shell.run("probe", "--json", OPENAI_API_KEY=CANARY)
    assert done.code == 1
    assert "error[unauthorized]" in done.err
    (summary,) = lines(done)
    assert (summary["code"], summary["questions"]) == ("unauthorized", 0)
    assert set(shell.house.calls) == {"list"}
    assert CANARY not in done.out + done.err


async def test_the_time_is_over_and_it_says_how_to_take_more(shell: Shell) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        slow = {"part", "cancel", "retrieve", "content", "list"}
        if call_of(request) in slow and len(shell.house.calls) > 1:
            await asyncio.Event().wait()
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.run("probe", "--timeout", "4s")
    assert done.code == 75
    assert "error[stopped]: not all could be asked in 4 s" in done.err
    assert "hint: chunkup probe --timeout 8s --base-url" in done.err
    assert "there was no time left" in " ".join(done.out.split())
    assert shell.house.files == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--timeout", "soon"],
        ["--purpose", " "],
        ["--expect", "azure"],
        ["--write-profile", "a b"],
        ["--write-profile", "openai"],
        ["--no-such-flag"],
        ["file.jsonl"],
    ],
    ids=" ".join,
)
async def test_what_cannot_be_is_refused_and_nothing_is_sent(
    shell: Shell, arguments: list[str]
) -> None:
    done = await shell.run("probe", *arguments)
    assert (done.code, done.out) == (2, ""), done.err
    assert shell.house.calls == []


async def test_a_server_that_is_not_there(shell: Shell) -> None:
    done = await shell.run("probe", "--base-url", "http://127.0.0.1:1/v1")
    assert done.code == 75
    assert "error[unreachable]: cannot reach 127.0.0.1" in done.err


async def test_without_standard_output_everything_is_deleted_all_the_same(shell: Shell) -> None:
    done = await shell.paste("chunkup probe --json >&-")
    assert done.code == 1
    assert "standard output takes nothing" in done.err
    assert shell.house.files == []
    done = await shell.paste("chunkup probe --json | head -n 1")
    assert json.loads(done.out)["question"] == "uploads"
    assert (shell.house.files, pending(shell.house)) == ([], [])


async def test_a_hostile_text_reaches_no_terminal(shell: Shell) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            said = {"error": {"message": "\x1b]0;gotcha\x07 [red]no[/red] \u202e"}}
            return web.json_response(said, status=400)
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.run("probe")
    assert done.code == 0
    for char in ("\x1b", "\x07", "\u202e"):
        assert char not in done.out + done.err
    assert "[red]no[/red]" in done.out


async def test_no_key_and_no_header_is_shown_or_written_anywhere(
    shell: Shell, tmp_path: Path
) -> None:
    shell.house.intercept = None
    seen: list[bytes] = []
    async with odd_server() as odd:

        async def before(request: web.Request) -> web.StreamResponse | None:
            assert request.headers["Authorization"] == f"Bearer {CANARY}"
            assert request.headers["X-Token"] == HEADER
            if len(odd.calls) == 5:
                seen.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
            return None

        odd.before = before
        done = await shell.run(
            *("-vv", "probe", "--base-url", odd.url, "--write-profile", "lab"),
            *("--header", "X-Token: env:TOKEN"),
            OPENAI_API_KEY=CANARY,
            TOKEN=HEADER,
            CHUNKUP_HEADERS=f"X-Other: {HEADER}",
        )
    assert done.code == 0, done.err
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert seen
    for text in [done.out.encode(), done.err.encode(), *seen, *files]:
        assert CANARY.encode() not in text
        assert HEADER.encode() not in text
    assert "left out of the profile: the value of X-Other" in done.err
    table = tomllib.loads(written(tmp_path).read_text())["profiles"]["lab"]
    assert table["headers"] == {"X-Token": "env:TOKEN"}
    assert table["api_key"] == "env:OPENAI_API_KEY"


# --- the profile ------------------------------------------------------------------------------


async def test_a_written_profile_works_afterwards(shell: Shell, tmp_path: Path) -> None:
    done = await shell.run("probe", "--write-profile", "lab", "--project", "proj_1")
    assert done.code == 0, done.err
    path = written(tmp_path)
    assert f"wrote the profile lab to {path}" in done.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert KEY not in path.read_text()
    del shell.environ["OPENAI_BASE_URL"]
    shell.house.calls.clear()
    done = await shell.upload("a.bin", "--profile", "lab")
    assert done.code == 0, done.err
    assert [row.id for row in shell.house.files] == [done.out.strip()]


async def test_a_place_without_uploads_is_written_so_that_uploads_work_there(
    shell: Shell, tmp_path: Path
) -> None:
    async with odd_server("no-uploads") as odd:
        done = await shell.run("probe", "--base-url", odd.url, "--write-profile", "small")
        assert done.code == 0, done.err
        table = tomllib.loads(written(tmp_path).read_text())["profiles"]["small"]
        assert table == {
            "base_url": odd.url,
            "api_key": "env:OPENAI_API_KEY",
            "method": "files",
        }


async def test_a_profile_that_is_there_is_never_overwritten(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[profiles.lab]\n")
    done = await shell.run("probe", "--write-profile", "lab", CHUNKUP_CONFIG=str(path))
    assert done.code == 2
    assert "error[bad-option]: there is a profile lab already" in done.err
    assert shell.house.calls == []
    assert path.read_text() == "[profiles.lab]\n"


async def test_a_file_that_takes_no_more_tables_is_left_alone_and_the_profile_is_shown(
    shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "inline.toml"
    before = 'profiles = { lab = { base_url = "http://127.0.0.1:1/v1" } }\n'
    path.write_text(before)
    done = await shell.run("probe", "--json", "--write-profile", "other", CHUNKUP_CONFIG=str(path))
    assert done.code == 2
    shown = f'what was to be written:\n[profiles.other]\nbase_url = "{shell.house.url}"'
    assert shown in done.err
    assert "is written so that nothing can be appended to it" in done.err
    assert lines(done)[-1]["code"] == "bad-option"
    assert path.read_text() == before
    assert shell.house.files == []


TABLE = table("other", {"base_url": "https://a.example/v1", "no_key": True})


def test_what_stands_in_the_file_stays_as_it_is(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    before = '# mine\n[profiles.lab] # here\nbase_url = "https://b.example/v1"'
    real.write_text(before)
    real.chmod(0o644)
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    environ = {"CHUNKUP_CONFIG": str(link)}
    assert add("other", TABLE, environ) == real
    assert real.read_text() == f"{before}\n\n{TABLE}"
    assert stat.S_IMODE(real.stat().st_mode) == 0o644
    assert link.is_symlink()
    with pytest.raises(BadOption, match="a profile other already"):
        add("other", TABLE, environ)
    add("third", table("third", {"no_key": True}), environ)
    assert load("other", environ).base_url == "https://a.example/v1"
    assert load("lab", environ).base_url == "https://b.example/v1"
    assert sorted(path.name for path in tmp_path.glob("*.toml*")) == ["dotfiles.toml", "link.toml"]


async def test_a_disk_that_takes_nothing_leaves_the_file_as_it_was(
    shell: Shell, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    path = folder / "config.toml"
    path.write_text("# mine\n")
    code = (
        "import sys; from chunkup.errors import Failed; from chunkup.probe.keeping import add\n"
        "try: add('other', sys.argv[1])\n"
        "except Failed as error: print(error.message)"
    )
    # What goes to the pipe does not count.
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'ulimit -f 0; exec "$@"', "bash", sys.executable, "-c", code, TABLE),
        env={**shell.environ, "CHUNKUP_CONFIG": str(path)},
        stdout=asyncio.subprocess.PIPE,
    )
    shell.started.append(process)
    out, _ = await process.communicate()
    assert out.decode() == f"{path} cannot be written: File too large\n"
    assert [name.name for name in folder.iterdir()] == ["config.toml"]
    assert path.read_text() == "# mine\n"


def test_the_table_is_toml_whatever_stands_in_it() -> None:
    said = {
        "base_url": 'https://a.example/"ü"\\',
        "nothing": None,
        "empty": {},
        "workers": 1,
        "no_key": True,
        "headers": {"X-A.b": "env:A"},
    }
    kept = {name: value for name, value in said.items() if value not in (None, {})}
    assert tomllib.loads(table("a-b_1", said)) == {"profiles": {"a-b_1": kept}}
