"""The page about errors and the tree of errors say the same."""

import ast
import re
import shlex
import signal
from pathlib import Path

import click
import pytest
from test_advice import JOB, WHERE, environment
from test_errors import ALL, drawn

import chunkup
from chunkup.cli.advice import advise
from chunkup.cli.main import Usage, cli
from chunkup.errors import BadContent, ChunkupError, Failed, OutcomeUnknown

__all__ = ["environment"]

PAGE = (Path(__file__).parent.parent / "docs" / "errors.md").read_text("utf-8")
FIELDS = [
    "Exit code",
    "What happened",
    "What is kept",
    "The same command again",
    "What to do",
]
SIGNALS = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
# The command line's own, for what click finds out before anything else runs.
USAGE = Usage.code


def sections() -> list[tuple[str, str]]:
    """Each heading of the page with the text below it."""
    found = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    return list(zip(found[::2], found[1::2], strict=True))


SECTIONS = dict(sections())
TABLE = re.findall(r"^\| ([\d, ]+) \| \[(.*?)\]\((.*?)\) \|.*\|.*\|$", PAGE, re.MULTILINE)


def exits(kind: type[ChunkupError]) -> set[int]:
    # One of several files that must not be sent is no refusal of the whole command.
    own = {"Interrupted": SIGNALS, "BadContent": {BadContent.exit_code, Failed.exit_code}}
    return own.get(kind.__name__, {kind.exit_code})


def numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def in_order() -> list[str]:
    """Every code as the tree is drawn, which is from the command line to its end."""
    code_of = {kind.__name__: kind.code for kind in ALL}
    return ["error", USAGE, *(code_of[name] for name in drawn())]


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(chunkup [^`]*)`", text)
    return [line for block in blocks for line in block.splitlines()] + inline


def test_every_code_has_exactly_one_section_and_no_section_has_no_code() -> None:
    assert [heading for heading, _ in sections()] == in_order()


def test_codes_are_unique_and_none_is_the_command_lines_own() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert USAGE not in codes


def test_the_tree_is_in_one_file() -> None:
    names = {kind.__name__ for kind in ALL}
    package = Path(chunkup.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and path.name != "errors.py":
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert not bases & names or node.name == Usage.__name__, f"{node.name} is no part"


@pytest.mark.parametrize("code", in_order())
def test_a_heading_is_its_own_anchor(code: str) -> None:
    # GitHub makes an anchor of a heading by lowering its case and dropping punctuation.
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert PAGE.count(f"](#{code})") >= 1


def test_every_link_within_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(#(.*?)\)", PAGE):
        assert target in SECTIONS


def test_the_table_has_every_code_in_the_order_of_the_sections() -> None:
    assert [code for _, code, _ in TABLE] == list(SECTIONS)
    assert all(link == f"#{code}" for _, code, link in TABLE)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_the_exit_code_is_the_classes_in_the_table_and_in_the_section(
    kind: type[ChunkupError],
) -> None:
    (in_table,) = (numbers(exit_code) for exit_code, code, _ in TABLE if code == kind.code)
    stated = re.search(r"^- \*\*Exit code:\*\* (.*)$", SECTIONS[kind.code], re.MULTILINE)
    assert stated is not None
    assert in_table == numbers(stated[1]) == exits(kind)


def test_the_command_lines_own_code_exits_as_it_does() -> None:
    assert f"- **Exit code:** {Usage('?').exit_code}\n" in SECTIONS[USAGE]


@pytest.mark.parametrize("code", in_order())
def test_each_section_answers_the_same_five_questions(code: str) -> None:
    asked = re.findall(r"^- \*\*(.*?):\*\* \S", SECTIONS[code], re.MULTILINE)
    assert asked == FIELDS


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_the_section_shows_the_command_that_the_hint_gives(kind: type[ChunkupError]) -> None:
    error = OutcomeUnknown("?", candidates=("file-1",)) if kind is OutcomeUnknown else kind("?")
    hint = advise(error, WHERE, JOB)
    if hint is None:
        return
    words = shlex.split(hint)
    wanted = set(words[:2]) | {
        word for word in words if word in {"--source", "--accept", "--fresh"}
    }
    shown = [set(shlex.split(command)) for command in commands(SECTIONS[kind.code])]
    assert any(wanted <= words for words in shown), f"{kind.code}: {hint}"


@pytest.mark.parametrize("line", sorted(set(commands(PAGE))))
def test_every_command_on_the_page_is_one_that_the_command_line_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line)
    if program != "chunkup":
        assert program in {"export", "chmod"}
        return
    if words[-1] == "--help":
        words.pop()
        words += ["train.jsonl", "--purpose", "batch"]
    root = click.Context(cli)
    command = cli.get_command(root, words[0])
    assert command is not None
    command.make_context(words[0], words[1:], parent=root).close()


def test_the_example_on_top_is_what_the_command_would_say() -> None:
    example = re.search(r"^```console\n\$ (.*)\n(.*)\n\n(.*)\n```$", PAGE, re.MULTILINE)
    assert example is not None
    code = re.match(r"error\[(.*?)\]: ", example[2])
    assert code is not None
    (kind,) = (kind for kind in ALL if kind.code == code[1])
    hint = advise(kind("?"), WHERE, JOB) or ""
    destination = hint.partition(" --base-url")[0]
    assert example[3] == f"hint: {destination}"
