"""``chunkup check``: what it says, where, and with which exit code; nothing is ever sent."""

import json
import os
import shlex
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_cli import Shell, shell
from test_terminal import Desk

from chunkup.cli.check import _Course
from chunkup.cli.main import run
from chunkup.render import schema

__all__ = ["shell"]

CANARY = "sk-canary-5up3r53cr37k3y"
URL = "http://127.0.0.1:9/v1"
LIMITED = """
[profiles.small]
base_url = "http://127.0.0.1:9/v1"
no_key = true
limits = { upload = "1kB" }

[profiles.single]
preset = "llama-stack"
base_url = "http://127.0.0.1:9/v1"
limits = { file = "1kB" }

[profiles.parts]
preset = "openai"
limits = { file = "1kB" }
"""


def line(number: object, **more: Any) -> str:
    """A line of a batch, as it should be."""
    body = {"model": "m", "messages": []}
    request = {"custom_id": f"{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps({**request, "body": body, **more})


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.out.splitlines()]


@dataclass(frozen=True)
class Bench:
    """Runs the command in this process; at every run it holds what holds for all."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, name: str, *lines: str) -> str:
        (self.folder / name).write_text("".join(f"{text}\n" for text in lines))
        return name

    def check(self, *arguments: str, purpose: str = "batch") -> Said:
        code = run(["check", *arguments, "--purpose", purpose])
        captured = self.capsys.readouterr()
        assert CANARY not in captured.out + captured.err
        assert "Traceback" not in captured.err
        said = Said(code, captured.out, captured.err)
        if "--json" in arguments:
            assert [event["event"] for event in said.events].count("summary") == 1
            assert said.events[-1]["event"] == "summary"
            assert said.events[-1]["exit_code"] == code
        assert not (self.folder.parent / "state").exists(), "there is a journal"
        return said


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Bench]:
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "CHUNKUP_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "config.toml").write_text(LIMITED)
    monkeypatch.setenv("CHUNKUP_CONFIG", str(tmp_path / "config.toml"))
    # Where a journal would be made, on Linux and on macOS.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "state"))
    yield Bench(folder, capsys)
    assert not list(folder.glob(".chunkup-*")), "something half-done is left"


# --- for people -------------------------------------------------------------------------------


def test_a_clean_file_is_one_line_and_exit_0(bench: Bench) -> None:
    path = bench.write("a.jsonl", *map(line, range(1203)))
    said = bench.check(path)
    assert (said.code, said.out, said.err) == (0, "a.jsonl: ok, 1,203 lines\n", "")


def test_findings_are_written_as_compilers_write_theirs(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1), "", line(3, method="GET"))
    said = bench.check(path)
    width = len(line(1)) + 1
    assert said.code == 2
    first, blank, method, verdict = said.lines
    assert first == (
        f'a.jsonl:2: error[duplicate_custom_id]: custom_id "1" is on line 1 as well (byte {width})'
    )
    assert blank.startswith("a.jsonl:3: warning[blank_line]: ")
    assert blank.endswith(f" (byte {2 * width})")
    assert method.startswith("a.jsonl:4: error[invalid_method]: ")
    assert verdict == (
        "a.jsonl: 2 errors (1 duplicate_custom_id, 1 invalid_method), 1 warning (blank_line) "
        "in 4 lines"
    )
    assert said.err == (
        "error[bad-content]: a.jsonl would be refused: "
        "2 errors (1 duplicate_custom_id, 1 invalid_method)\n"
    )


def test_warnings_alone_are_exit_0(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), "", line(2))
    said = bench.check(path)
    assert (said.code, said.err) == (0, "")
    assert said.lines[-1] == "a.jsonl: ok, 3 lines, 1 warning (blank_line)"


def test_the_first_twenty_are_shown_and_all_are_counted(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(0), *[line(0)] * 1200)
    said = bench.check(path)
    assert [text.split(":")[1] for text in said.lines[:20]] == [str(at) for at in range(2, 22)]
    assert said.lines[20:] == [
        "a.jsonl: and 1,180 more, all of them with --json",
        "a.jsonl: 1,200 errors (duplicate_custom_id) in 1,201 lines",
    ]


def test_what_is_not_read_is_said_to_be_so(bench: Bench) -> None:
    (bench.folder / "a.png").write_bytes(b"x" * 1500)
    said = bench.check("a.png", purpose="vision")
    assert (said.code, said.out) == (0, "a.png: ok, 1.5 kB, whose content is not looked at\n")


def test_what_a_file_or_its_name_says_reaches_no_terminal_as_it_is(bench: Bench) -> None:
    name = bench.write("\x1b[31ma\n.jsonl", line("\x1b]0;x\x07"), line("\x1b]0;x\x07"))
    said = bench.check(name)
    assert said.code == 2
    assert "\x1b" not in said.out + said.err
    assert "\x07" not in said.out + said.err
    assert len(said.lines) == 2
    hint = said.err.splitlines()[-1].removeprefix("hint: ")
    assert hint.isprintable()


def test_a_path_that_is_no_text_is_checked_like_any(bench: Bench) -> None:
    name = os.fsdecode(b"\xff.jsonl")
    bench.write(name, line(1))
    assert bench.check(name).lines == ["\\udcff.jsonl: ok, 1 line"]
    assert bench.check(name, "--json").events[0]["path"] == name


# --- several ----------------------------------------------------------------------------------


def test_with_several_a_bad_one_stops_no_other_and_is_exit_1(bench: Bench) -> None:
    bench.write("a.jsonl", line(1))
    bench.write("b.jsonl", line(1), line(1))
    bench.write("c.jsonl", line(1), line(2))
    said = bench.check("a.jsonl", "b.jsonl", "c.jsonl")
    assert said.code == 1
    assert [text for text in said.lines if "ok" in text] == [
        "a.jsonl: ok, 1 line",
        "c.jsonl: ok, 2 lines",
    ]
    assert said.err.startswith("error[bad-content]: 1 of 3 files would be refused\n")
    assert said.err.endswith("\nhint: chunkup check b.jsonl --purpose batch --fix\n")


def test_ids_are_unique_within_a_file_and_not_among_files(bench: Bench) -> None:
    bench.write("a.jsonl", line(1))
    bench.write("b.jsonl", line(1))
    assert bench.check("a.jsonl", "b.jsonl").code == 0


def test_all_are_looked_at_before_any_is_read(bench: Bench) -> None:
    bench.write("a.jsonl", line(1), line(1))
    (bench.folder / "empty.jsonl").touch()
    os.mkfifo(bench.folder / "pipe.jsonl")
    for other, code in [
        ("nowhere.jsonl", "no-such-file"),
        (".", "not-a-file"),
        ("pipe.jsonl", "not-a-file"),
        ("empty.jsonl", "empty-file"),
    ]:
        said = bench.check("a.jsonl", other)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"error[{code}]: ")
        assert "hint: " in said.err


def test_folders_and_lists_are_taken_as_upload_takes_them(bench: Bench) -> None:
    (bench.folder / "sub").mkdir()
    bench.write("sub/a.jsonl", line(1))
    bench.write("sub/b.jsonl", line(1), line(1))
    bench.write("sub/.hidden.jsonl", "x")
    said = bench.check("--recursive", "sub")
    assert said.code == 1
    assert "sub/a.jsonl: ok, 1 line" in said.lines
    assert "1 hidden file or folder was left out" in said.err
    bench.write("list", "sub/a.jsonl")
    assert bench.check("--from-file", "list").lines == ["sub/a.jsonl: ok, 1 line"]


def test_many_bad_ones_are_too_many_for_a_hint(bench: Bench) -> None:
    names = [bench.write(f"{number}.jsonl", line(1), line(1)) for number in range(11)]
    assert "hint" not in bench.check(*names).err
    assert "hint" in bench.check(*names[:10]).err


# --- for programs -----------------------------------------------------------------------------


def test_json_has_every_finding_then_each_file_then_the_summary(bench: Bench) -> None:
    bench.write("a.jsonl", line(0), *[line(0)] * 50)
    bench.write("b.jsonl", line(0), "")
    said = bench.check("--json", "a.jsonl", "b.jsonl")
    kinds = [event["event"] for event in said.events]
    assert kinds == [*["finding"] * 50, "checked", "finding", "checked", "summary"]
    first, last = said.events[0], said.events[-1]
    offset = len(line(0)) + 1
    assert first == {
        "v": 1,
        "time": first["time"],
        "event": "finding",
        "job": "",
        "path": "a.jsonl",
        "code": "duplicate_custom_id",
        "message": 'custom_id "0" is on line 1 as well',
        "line": 2,
        "offset": offset,
        "level": "error",
    }
    assert said.events[50]["counts"] == [
        {"code": "duplicate_custom_id", "level": "error", "count": 50}
    ]
    assert last == {
        "v": 1,
        "time": last["time"],
        "event": "summary",
        "exit_code": 1,
        "files": 2,
        "good": 1,
        "errors": 50,
        "warnings": 1,
        "code": "bad-content",
        "message": "1 of 2 files would be refused",
        "hint": "chunkup check a.jsonl --purpose batch --fix",
    }


def test_findings_and_failures_are_events_of_the_schema(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.write("a.jsonl", line(0), line(0), "")
    after(monkeypatch, lambda: bench.write("b.jsonl", line(1), line(2)))
    bench.write("b.jsonl", line(1))
    said = bench.check("--json", path, "b.jsonl")
    found = [event for event in said.events if event["event"] in {"finding", "failed"}]
    assert [event["event"] for event in found] == ["finding", "finding", "failed"]
    for event in found:
        jsonschema.validate(event, schema())


def after(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something when all files were looked at, and none is read yet."""
    described = _Course.described

    def then(*arguments: Any) -> Any:
        jobs = described(*arguments)
        act()
        return jobs

    monkeypatch.setattr(_Course, "described", then)


def test_a_file_that_changes_meanwhile_is_an_error_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        bench.write(name, line(1))

    def change() -> None:
        bench.write("a.jsonl", line(1), line(2))
        (bench.folder / "b.jsonl").unlink(missing_ok=True)

    after(monkeypatch, change)
    said = bench.check("a.jsonl", "b.jsonl", "c.jsonl")
    assert said.code == 1
    assert "error[source-changed]: " in said.err
    assert "error[source-gone]: " in said.err
    assert said.lines == ["c.jsonl: ok, 1 line"]
    single = bench.check("--json", "a.jsonl")
    assert single.code == 1
    assert single.events[-1]["code"] == "source-changed"


def test_errors_of_the_command_line_have_a_summary_too(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "a.jsonl", "--json"]) == 2
    (last,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (last["event"], last["code"], last["files"]) == ("summary", "usage", 0)
    said = bench.check("--json", "nowhere.jsonl")
    assert (said.code, said.events[-1]["code"]) == (2, "no-such-file")
    said = bench.check("--json", "--profile", "nobody", "x")
    assert said.events[-1]["code"] == "bad-option"


# --- the provider -----------------------------------------------------------------------------


def test_limits_are_those_of_the_profile_and_the_hint_cuts_there(bench: Bench) -> None:
    path = bench.write("a.jsonl", *map(line, range(20)))
    assert bench.check(path).code == 0
    said = bench.check(path, "--profile", "small")
    assert said.code == 2
    assert "error[file_too_large]" in said.out
    hint = f"chunkup upload a.jsonl --purpose batch --split --profile small --base-url {URL}"
    assert said.err.splitlines()[-1].startswith(f"hint: {hint}")


def test_where_files_go_in_one_request_its_limit_counts(bench: Bench) -> None:
    path = bench.write("a.jsonl", *map(line, range(20)))
    said = bench.check(path, "--profile", "single", purpose="assistants")
    assert said.code == 2
    assert "more than the 1 kB" in said.out
    assert bench.check(path, "--profile", "parts", purpose="assistants").code == 0


def test_a_file_that_is_one_line_too_long_is_to_be_cut(bench: Bench) -> None:
    path = bench.write("a.jsonl", *(line(number) for number in range(50_001)))
    said = bench.check(path)
    assert said.code == 2
    assert "error[too_many_tasks]" in said.out
    assert said.err.splitlines()[-1] == "hint: chunkup upload a.jsonl --purpose batch --split"
    assert bench.check(path, "--split").code == 0


def test_what_can_be_mended_comes_before_the_cut(bench: Bench) -> None:
    path = bench.write("a.jsonl", *map(line, range(20)), line(0))
    said = bench.check(path, "--profile", "small")
    assert "hint: chunkup check a.jsonl --purpose batch --fix" in said.err


def test_a_url_that_nobody_knows_is_an_error_only_where_all_are_known(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1, url="/v1/else"))
    assert bench.check(path).code == 2
    assert bench.check(path, "--base-url", URL).code == 0


def test_a_base_url_that_is_none_is_refused_and_not_repeated(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1))
    said = bench.check(path, "--base-url", "https://me:hunter2@files.example/v1")
    assert (said.code, said.out) == (2, "")
    assert "error[bad-option]" in said.err
    assert "hunter2" not in said.err


def test_a_key_and_headers_are_neither_needed_nor_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.write("a.jsonl", line(1), line(1))
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    said = bench.check(path, "--header", f"X-Door: {CANARY}", "--header", "X-Open: env:NOWHERE")
    assert said.code == 2
    assert "--header 'X-Open: env:NOWHERE'" in said.err


def test_a_given_type_is_the_one_that_is_checked(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1))
    said = bench.check(path, "--mime-type", "image/png")
    assert "warning[mime_type_mismatch]" in said.out
    assert "check a.jsonl --purpose batch --mime-type image/png --fix" in said.err


# --- cutting ----------------------------------------------------------------------------------


def test_split_says_which_pieces_there_would_be(bench: Bench) -> None:
    path = bench.write("big.jsonl", *(line(f"{number:04}") for number in range(1001)))
    said = bench.check(path, "--split-lines", "500")
    each = len(line("0000")) + 1
    assert said.code == 0
    assert said.lines == [
        "big.jsonl: ok, 1,001 lines, in 3 pieces, each within 200 MB and 500 lines",
        f"big-00001-of-00003.jsonl: lines 1 to 500, {each * 500 / 1000:.1f} kB",
        f"big-00002-of-00003.jsonl: lines 501 to 1,000, {each * 500 / 1000:.1f} kB",
        f"big-00003-of-00003.jsonl: line 1,001, {each} bytes",
    ]
    (checked, _) = bench.check(path, "--split-size", f"{each * 600}", "--json").events
    assert checked["pieces"] == [
        {
            "filename": f"big-0000{number}-of-00002.jsonl",
            "start": each * first,
            "stop": each * (first + lines),
            "first_line": first + 1,
            "lines": lines,
        }
        for number, first, lines in ((1, 0, 600), (2, 600, 401))
    ]


def test_what_fits_is_one_piece(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1))
    assert bench.check(path, "--split").lines == ["a.jsonl: ok, 1 line, one piece"]


def test_a_record_that_no_cut_makes_small_enough_is_named_and_nothing_is_cut(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line("x" * 300), line(2))
    said = bench.check(path, "--split-size", "200")
    assert said.code == 2
    assert said.lines[0].startswith("a.jsonl:2: error[record_too_large]: ")
    assert "hint" not in said.err
    bench.write("b.jsonl", line(1), line(1))
    said = bench.check("b.jsonl", "--split-lines", "1")
    assert said.code == 2
    # Nobody is shown the pieces of what would not be sent.
    assert len(said.lines) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a.jsonl", "--split-size", "201MB"], "bad-option"),
        (["a.jsonl", "--split-lines", "50001"], "bad-option"),
        (["a.jsonl", "--split-lines", "0"], "usage"),
        (["a.bin", "--split"], "bad-option"),
        (["-"], "bad-option"),
        ([], "usage"),
        (["a.jsonl", "--output", "b.jsonl"], "usage"),
        (["a.jsonl", "--fix", "--output", "."], "usage"),
        (["a.jsonl", "--fix", "--output", ""], "usage"),
        (["a.jsonl", "--fix", "--output", "nowhere/b.jsonl"], "bad-option"),
        (["a.jsonl", "--fix", "--output", "a.bin"], "bad-option"),
        (["a.jsonl", "a.bin", "--fix", "--output", "b.jsonl"], "usage"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence_with_a_hint(
    bench: Bench, arguments: list[str], code: str
) -> None:
    bench.write("a.jsonl", line(1))
    bench.write("a.bin", "x")
    said = bench.check(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error[{code}]: ")
    assert "\nhint: " in said.err


# --- mending ----------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text("utf-8").splitlines()]


def test_fix_prints_the_path_of_what_can_be_uploaded(bench: Bench) -> None:
    crooked = f"\ufeff{line(1)}\r\n\n{line(1)}"
    (bench.folder / "a.jsonl").write_bytes(crooked.encode())
    (bench.folder / "a.jsonl").chmod(0o640)
    said = bench.check("a.jsonl", "--fix")
    assert (said.code, said.out) == (0, "a.fixed.jsonl\n")
    assert said.err.splitlines() == [
        "a.jsonl: mended in a.fixed.jsonl, with 1 new custom_id, see a.fixed.ids.jsonl",
        "a.fixed.jsonl: ok, 2 lines",
    ]
    assert (bench.folder / "a.jsonl").read_bytes() == crooked.encode()
    made = rows(bench.folder / "a.fixed.jsonl")
    (told,) = rows(bench.folder / "a.fixed.ids.jsonl")
    assert [row["custom_id"] for row in made] == ["1", told["custom_id"]]
    assert (told["line"], told["was"]) == (3, "1")
    assert stat.S_IMODE((bench.folder / "a.fixed.jsonl").stat().st_mode) == 0o640
    assert bench.check("a.fixed.jsonl").code == 0


def test_fix_writes_nothing_where_nothing_is_to_be_mended(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1))
    said = bench.check(path, "--fix")
    assert (said.code, said.out, said.err) == (0, "a.jsonl\n", "a.jsonl: ok, 1 line\n")
    assert [each.name for each in bench.folder.iterdir()] == ["a.jsonl"]


def test_without_new_ids_there_is_no_list_of_them(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), "", line(2))
    said = bench.check(path, "--fix", "--output", "b.jsonl")
    assert (said.code, said.out) == (0, "b.jsonl\n")
    assert said.err.splitlines()[0] == "a.jsonl: mended in b.jsonl"
    assert sorted(each.name for each in bench.folder.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_what_only_a_person_can_mend_stays_and_is_found_in_the_new_file(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1), line(2, method="GET"))
    said = bench.check(path, "--fix")
    assert (said.code, said.out) == (2, "")
    assert "a.fixed.jsonl:3: error[invalid_method]" in said.err
    assert "error[bad-content]: a.fixed.jsonl would be refused" in said.err
    assert "hint" not in said.err


def test_fix_never_writes_over_anything(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1))
    clean = bench.write("b.jsonl", line(1))
    for taken in ("a.fixed.jsonl", "a.fixed.ids.jsonl"):
        bench.write(taken, "mine")
        said = bench.check(clean, path, "--fix")
        assert (said.code, said.out) == (2, "")
        assert f"error[bad-option]: {taken} is there already\n\nhint: move it away" in said.err
        assert (bench.folder / taken).read_text() == "mine\n"
        (bench.folder / taken).unlink()


def test_fix_of_several_prints_each_in_its_place(bench: Bench) -> None:
    bench.write("a.jsonl", line(1), line(1))
    bench.write("b.jsonl", line(1))
    bench.write("c.jsonl", "no JSON")
    said = bench.check("a.jsonl", "b.jsonl", "c.jsonl", "--fix")
    assert (said.code, said.out) == (1, "a.fixed.jsonl\nb.jsonl\n")
    assert "c.jsonl:1: error[invalid_json_line]" in said.err


def test_fix_with_json_and_a_cut_tells_of_the_new_file(bench: Bench) -> None:
    path = bench.write("a.jsonl", line(1), line(1), line(2, method="GET"))
    made, found, checked, last = bench.check(path, "--fix", "--json").events
    assert (made["event"], made["path"], made["target"]) == ("mended", path, "a.fixed.jsonl")
    assert (made["ids"], made["mapping"]) == (1, "a.fixed.ids.jsonl")
    assert (found["path"], found["line"]) == ("a.fixed.jsonl", 3)
    assert (checked["path"], checked["errors"]) == ("a.fixed.jsonl", 1)
    assert last["hint"] is None
    bench.write("b.jsonl", line(1), line(1))
    said = bench.check("b.jsonl", "--fix", "--split-lines", "1")
    assert (said.code, said.out) == (0, "b.fixed.jsonl\n")
    assert "b.fixed-00002-of-00002.jsonl: line 2, " in said.err


def test_a_file_of_blank_lines_alone_leaves_nothing_to_upload(bench: Bench) -> None:
    path = bench.write("a.jsonl", "", "")
    assert bench.check(path).code == 2
    said = bench.check(path, "--fix")
    assert (said.code, said.out) == (2, "")
    (bench.folder / "a.fixed.jsonl").unlink(missing_ok=True)
    said = bench.check(path, bench.write("b.jsonl", line(1)), "--fix")
    assert (said.code, said.out) == (1, "b.jsonl\n")


def test_what_could_not_be_mended_is_not_to_be_mended_again(bench: Bench) -> None:
    # So many places at which the id could stand that it is no longer looked for.
    crowded = json.dumps({"note": [{"custom_id": "1"}] * 200, **json.loads(line(1))})
    path = bench.write("a.jsonl", line(1), crowded)
    assert "--fix" in bench.check(path).err
    said = bench.check(path, "--fix")
    assert said.code == 2
    assert "error[duplicate_custom_id]" in said.err
    assert "hint" not in said.err


# --- real processes ---------------------------------------------------------------------------


def large(path: Path, size: int = 600_000_000) -> None:
    """A file that takes a while, of lines that are hard to read and nothing is wrong with."""
    block = b"".join(
        b'{"custom_id":"%d","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":%s}}\n'
        % (number, b"[" + b",".join([b"1"] * 400) + b"]")
        for number in range(1000)
    )
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


async def test_ctrl_c_ends_it_at_once(shell: Shell) -> None:
    # Endless as far as anybody can wait: only a signal ends it.
    with (shell.folder / "a.jsonl").open("wb") as sparse:
        sparse.truncate(1 << 40)
    process = await shell.start("check", "a.jsonl", "-p", "evals", "--json")
    # It is in the middle of it once the file is open.
    while not any(link.endswith("a.jsonl") for link in links(Path(f"/proc/{process.pid}/fd"))):
        assert process.returncode is None
    process.send_signal(signal.SIGINT)
    done = await shell.end(process)
    assert done.code == 130
    assert "error[interrupted]: stopped by SIGINT" in done.err
    # It is too large as well, which is known at once.
    found, last = [json.loads(text) for text in done.out.splitlines()]
    assert (found["event"], found["code"]) == ("finding", "file_too_large")
    assert (last["event"], last["exit_code"], last["code"]) == ("summary", 130, "interrupted")


def links(folder: Path) -> list[str]:
    found = []
    for entry in folder.iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue  # closed since
    return found


async def test_nothing_is_asked_of_the_server_and_no_journal_is_made(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_text(line(1) + "\n")
    done = await shell.run("check", "a.jsonl", "-p", "batch", OPENAI_API_KEY="")
    assert (done.code, done.out, done.err) == (0, "a.jsonl: ok, 1 line\n", "")
    assert shell.house.calls == []
    assert not shell.journal.parent.exists()


async def test_a_reader_who_has_enough_is_told_nothing(shell: Shell) -> None:
    lines = [line(0)] * 5000
    (shell.folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    done = await shell.paste("chunkup check a.jsonl a.jsonl -p batch --json | head -n 1")
    assert len(done.out.splitlines()) == 1
    assert done.err == ""


async def test_a_full_standard_output_is_said(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_text(line(1) + "\n")
    done = await shell.paste("chunkup check a.jsonl -p batch > /dev/full; echo $? >&2")
    assert "error[failed]: standard output takes nothing: " in done.err
    assert done.err.endswith("\n1\n")


async def test_the_hint_can_be_pasted(shell: Shell) -> None:
    (shell.folder / "a b.jsonl").write_text(f"{line(1)}\n{line(1)}\n")
    done = await shell.run("check", "a b.jsonl", "-p", "batch")
    hint = done.err.splitlines()[-1].removeprefix("hint: ")
    assert shlex.split(hint)[:3] == ["chunkup", "check", "a b.jsonl"]
    mended = await shell.paste(hint)
    assert (mended.code, mended.out) == (0, "a b.fixed.jsonl\n")


async def test_the_hints_of_upload_lead_to_the_files(shell: Shell) -> None:
    config = shell.folder.parent / "config.toml"
    config.write_text('[profiles.little]\nlimits = { purposes = { batch = "1kB" } }\n')
    shell.environ["CHUNKUP_CONFIG"] = str(config)
    lines = [*map(line, range(20)), line(0)]
    (shell.folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    little = ("--profile", "little", "--quiet")
    refused = await shell.run("upload", "a.jsonl", "-p", "batch", "--expires-after", "2h", *little)
    assert (refused.code, refused.err[:16]) == (2, "error[too-large]")
    hint = refused.err.splitlines()[-1].removeprefix("hint: ")
    assert "--expires-after 7200s --split --profile little" in hint
    bad = await shell.paste(hint)
    assert (bad.code, bad.out) == (2, "")
    assert "error[bad-content]: " in bad.err
    mended = await shell.paste(bad.err.splitlines()[-1].removeprefix("hint: "))
    assert mended.code == 2
    assert "file_too_large" in mended.err
    assert shell.house.files == []
    done = await shell.paste(mended.err.splitlines()[-1].removeprefix("hint: "))
    assert done.code == 0, done.err
    assert [text.split("\t")[1] for text in done.out.splitlines()] == [
        f"a.fixed-0000{number}-of-00003.jsonl" for number in (1, 2, 3)
    ]


def test_on_a_terminal_it_says_how_far_it_is_and_takes_that_away(tmp_path: Path) -> None:
    large(tmp_path / "a.jsonl")
    desk = Desk(tmp_path, {**os.environ, "TERM": "xterm"})
    with desk.open("check", "a.jsonl", "-p", "evals") as terminal:
        terminal.until(lambda it: "checking a.jsonl: " in it.text)
        terminal.until(lambda it: "ok, " in it.text)
        assert terminal.end() == 0
    assert [row for row in terminal.rows if row] == [terminal.rows[0]]
    assert terminal.rows[0].startswith("a.jsonl: ok, ")
    with desk.open("check", "a.jsonl", "-p", "evals", "--quiet") as terminal:
        assert terminal.end() == 0
    assert b"checking" not in terminal.seen
