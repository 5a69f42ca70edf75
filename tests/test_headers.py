"""More headers: from the command line, a variable and a profile, and their values nowhere else."""

import shlex
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, call_of
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict
from test_cli import Shell, shell

from chunkup.cli.destination import noted
from chunkup.journal import Journal

__all__ = ["shell"]

CANARY = "canary-h34d3r-v4lu3"


def watch(house: House) -> CIMultiDict[str]:
    """The headers of the last request that arrives from now on."""
    seen: CIMultiDict[str] = CIMultiDict()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.clear()
        seen.extend(request.headers)
        return await handler(request)

    house.intercept = intercept
    return seen


async def noted_commands(shell: Shell) -> list[str]:
    journal = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
    try:
        lines = await journal.lines()
        return [note.command for line in lines for note in await journal.runs(line.job.id)]
    finally:
        await journal.close()


# --- what is sent ---------------------------------------------------------------------------


async def test_headers_go_with_every_request_wherever_they_were_said(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text(
        "[profiles.gw]\n"
        'headers = { X-One = "profile", X-Two = "profile", X-Three = "profile", X-Gone = "env:NO" }'
    )
    seen = watch(shell.house)
    done = await shell.upload(
        *("a.bin", "--profile", "gw", "-H", "x-one: flag", "--header", "X-Env: env:SECRET"),
        *("-Hx-gone: flag",),
        CHUNKUP_CONFIG="config.toml",
        CHUNKUP_HEADERS="X-ONE: variable\nX-Two: a variable, with: blanks\n",
        OPENAI_CUSTOM_HEADERS="X-Three: ambient\nX-Four: ambient",
        SECRET=f" {CANARY} ",
    )
    assert done.code == 0, done.err
    assert seen["X-One"] == "flag"
    assert seen["X-Two"] == "a variable, with: blanks"
    assert seen["X-Three"] == "profile"
    assert seen["X-Four"] == "ambient"
    assert seen["X-Env"] == CANARY
    assert seen["X-Gone"] == "flag"
    names = [name.lower() for name in seen]
    assert len(names) == len(set(names))


async def test_the_variable_alone_is_read_line_by_line(shell: Shell) -> None:
    seen = watch(shell.house)
    lines = "X-One: with several blanks\n\nX-Two: env:SECRET\n"
    done = await shell.upload("a.bin", CHUNKUP_HEADERS=lines, SECRET=CANARY)
    assert done.code == 0, done.err
    assert (seen["X-One"], seen["X-Two"]) == ("with several blanks", CANARY)


@pytest.mark.parametrize(
    "flags",
    [
        ["-H", CANARY],
        ["-H", f"Bearer {CANARY}: x"],
        ["-H", f"X-A: {CANARY}\x07y"],
        ["-H", f"X-A: {CANARY}é"],
        ["-H", f"X-A: env:{CANARY}"],
        ["-H", "X-A: env:UNSET_HERE"],
        ["-H", f"Authorization: Basic {CANARY}"],
        ["-H", f"Content-Length: {CANARY}"],
        ["-H", f"Transfer-Encoding: {CANARY}"],
    ],
)
async def test_a_bad_header_is_refused_before_anything_is_sent_and_not_shown(
    shell: Shell, flags: list[str]
) -> None:
    done = await shell.run("-vv", "upload", "a.bin", "-p", "user_data", *flags)
    assert done.code == 2
    assert done.err.startswith("error[bad-option]: ")
    assert "\n\nhint: " in done.err
    assert CANARY not in done.err + done.out
    assert shell.house.calls == []
    if flags[1].startswith("X-A"):
        assert "X-A" in done.err
    again = await shell.run("upload", "a.bin", "-p", "user_data", CHUNKUP_HEADERS=flags[1])
    assert (again.code, shell.house.calls) == (2, [])
    assert CANARY not in again.err + again.out


# --- where their values are not -------------------------------------------------------------

FORMS = [
    ["-H", f"X-Token: {CANARY}"],
    [f"-HX-Token: {CANARY}"],
    [f"-H  X-Token :{CANARY}"],
    ["--header", f"X-Token: {CANARY}"],
    [f"--header=X-Token: {CANARY}"],
    [f"-qHX-Token: {CANARY}"],
    ["-qH", f"X-Token: {CANARY}"],
    ["-H", f"X-Token: {CANARY}", "-H", f"X-Token: {CANARY}2"],
]


@pytest.mark.parametrize("form", FORMS)
async def test_the_command_is_noted_without_the_value_however_it_was_written(
    shell: Shell, form: list[str]
) -> None:
    done = await shell.upload("a.bin", *form)
    assert done.code == 0, done.err
    (command,) = await noted_commands(shell)
    assert CANARY not in command
    assert "X-Token: ***" in command
    assert "a.bin" in command


@pytest.mark.parametrize("ending", ["refused", "gone", "completed"])
async def test_a_headers_value_is_in_no_journal_log_error_or_process_list(
    shell: Shell, ending: str
) -> None:
    processes: list[bytes] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        assert request.headers["X-Token"] == CANARY
        assert request.headers["X-Other"] == f"{CANARY}-too"
        processes.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
        if ending == "refused" and call_of(request) == "part":
            return web.json_response({"error": {"message": "no"}}, status=400)
        if ending == "gone" and call_of(request) == "part":
            return web.Response(status=503, headers={"retry-after-ms": "1"})
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.run(
        *("-vv", "upload", "a.bin", "-p", "user_data", "-H", "X-Token: env:SECRET"),
        SECRET=CANARY,
        CHUNKUP_HEADERS=f"X-Other: {CANARY}-too",
    )
    assert done.code == {"refused": 1, "gone": 75, "completed": 0}[ending], done.err
    assert "DEBUG" in done.err
    assert CANARY not in done.err + done.out
    assert not any(CANARY.encode() in line for line in processes)
    state = Path(shell.environ["CHUNKUP_JOURNAL"]).parent
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    assert not any(CANARY.encode() in path.read_bytes() for path in files)
    (command,) = await noted_commands(shell)
    assert "'X-Token: env:SECRET'" in command
    for line in ("jobs", "show"):
        job = (await shell.run("jobs")).out.splitlines()[1].split()[0]
        told = await shell.run(line, *([job] if line == "show" else []))
        assert CANARY not in told.out + told.err


async def test_a_line_end_in_a_headers_value_is_refused(shell: Shell) -> None:
    done = await shell.upload("a.bin", "-H", f"X-A: {CANARY}\nX-B: y")
    assert (done.code, shell.house.calls) == (2, [])
    assert CANARY not in done.err


async def test_the_hint_names_variables_and_leaves_literal_values_away(shell: Shell) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(status=503, headers={"retry-after-ms": "1"})

    shell.house.intercept = intercept
    done = await shell.upload(
        *("a.bin", "-H", f"X-Literal: {CANARY}", "-H", "X-Named: env:SECRET"),
        SECRET=CANARY,
    )
    assert done.code == 75
    assert "--header 'X-Named: env:SECRET'" in done.err
    assert "X-Literal" not in done.err
    assert CANARY not in done.err


# --- notes, from inside ---------------------------------------------------------------------

NAMES = st.text("abcXYZ-", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4), st.sampled_from(["-H", "--header=", "-qH"]))
@example([("a", "x"), ("a", "xy")], "-H")
def test_no_value_is_left_in_a_note(pairs: list[tuple[str, str]], flag: str) -> None:
    secrets = [(name, f"{CANARY}{value}") for name, value in pairs]
    headers = [f"{name}: {value}" for name, value in secrets]
    note = noted(["chunkup", "upload", *(flag + header for header in headers)], headers)
    shown = [f"{flag}{name}: ***" for name, _ in pairs]
    assert note == shlex.join(["chunkup", "upload", *shown])


def test_a_header_that_names_a_variable_may_stay() -> None:
    header = "X-Token: env:SECRET"
    assert noted(["chunkup", "jobs", "-H", header], [header]) == f"chunkup jobs -H '{header}'"
